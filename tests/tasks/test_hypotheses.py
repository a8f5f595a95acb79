import numpy as np
import pytest

from regard.decoding.options import Generation, GenerationOptions
from regard.errors import ConfigError
from regard.tasks.hypotheses import check_seeds, hypotheses, is_finished, item_seeds

OPTIONS = GenerationOptions(max_new_tokens=4, eos_token_id=3, num_beams=3, num_return_sequences=3)


@pytest.fixture
def generation(words):
    """Row 1: a sentence with its end, one without, and a hypothesis that the beam did not find."""
    ada, wrote, end = words.token_id("ada"), words.token_id("wrote"), words.sep_id
    sequences = np.zeros((2, 3, 4), np.int32)
    sequences[1, :2] = [[ada, wrote, end, 0], [wrote, wrote, wrote, ada]]
    scores = np.array([[0, 0, 0], [-1.5, -2.5, -np.inf]], np.float32)
    token_scores = -np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    return Generation(sequences, np.array([[0, 0, 0], [3, 4, 0]], np.int32), scores, token_scores)


def test_the_hypotheses_of_a_row_are_those_that_were_found_with_their_texts_and_scores(generation, words):
    best, second = hypotheses(generation, 1, words, OPTIONS)
    assert (best.text, best.tokens, best.score) == ("ada wrote", ("ada", "wrote", "[SEP]"), -1.5)
    assert best.token_scores == (-12, -13, -14)
    assert best.token_ids == tuple(generation.sequences[1, 0, :3].tolist())
    assert (second.text, second.finished, best.finished) == ("wrote wrote wrote ada", False, True)
    assert best.as_json() == {
        "text": "ada wrote",
        "score": -1.5,
        "tokens": ("ada", "wrote", "[SEP]"),
        "token_scores": (-12, -13, -14),
        "finished": True,
    }


def test_a_row_without_any_hypothesis_is_an_empty_text(generation, words):
    (only,) = hypotheses(generation._replace(scores=None, token_scores=None), 0, words, OPTIONS)
    assert (only.text, only.token_ids, only.score, only.token_scores, only.finished) == ("", (), None, None, False)


@pytest.mark.parametrize(
    ("ids", "options", "finished"),
    [
        ([7, 3], {}, True),
        ([7, 7], {}, True),  # whatever it was, something stopped it early
        ([7, 7, 7, 3], {}, True),
        ([7, 7, 7, 7], {}, False),
        ([7, 7, 7, 3], {"forced_eos_token_id": 3}, False),
        ([7, 7, 8, 9], {"stop_sequences": [[5], [8, 9]]}, True),
        ([7, 8, 9, 7], {"stop_sequences": [[8, 9]]}, False),
        ([], {}, False),
    ],
)
def test_a_text_is_finished_if_the_model_ended_it_itself(ids, options, finished):
    assert is_finished(ids, OPTIONS.merged(**options)) is finished


def test_each_item_of_a_stream_has_a_seed_of_its_own():
    assert item_seeds(None, 5, 2) is None
    assert item_seeds(100, 5, 2) == (105, 106)
    assert item_seeds((4, 5, 6, 7), 1, 2) == (5, 6)
    with pytest.raises(ConfigError, match=r"one an item \(at least 5\), but has 4"):
        item_seeds((4, 5, 6, 7), 3, 2)
    check_seeds((1, 2), 2)
    check_seeds(7, 2)
    with pytest.raises(ConfigError, match=r"one an item \(1\), but has 2"):
        check_seeds((1, 2), 1)
