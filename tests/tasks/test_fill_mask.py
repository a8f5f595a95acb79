import numpy as np
import pytest

from regard.errors import CheckpointError, ConfigError, InputError
from regard.tasks.fill_mask import MaskFiller


@pytest.fixture
def filler(reader, words):
    """Expects at each place the token before it, twice as likely as the one after it, and all others not."""

    def neighbours(ids):
        logits = np.full((len(ids), words.vocab_size), -50.0)
        for place in range(1, len(ids) - 1):
            logits[place, ids[place + 1]] = 0
            logits[place, ids[place - 1]] = np.log(2)
        return {"logits": logits}

    def make(**config):
        return MaskFiller(reader(neighbours, "BertForMaskedLM", **config), words)

    return make


def test_the_candidates_of_a_mask_come_best_first_with_the_text_that_they_make(filler):
    (mask,) = filler()("ada [MASK] london", top_k=2).masks
    assert [(entry.token, entry.text) for entry in mask] == [("ada", "ada ada london"), ("london", "ada london london")]
    assert [entry.score for entry in mask] == pytest.approx([2 / 3, 1 / 3])


def test_each_of_several_masks_has_its_own_candidates_and_leaves_the_others(filler):
    first, second = filler()("Ada [MASK] x [MASK] London!", top_k=1).masks
    assert [entry.text for entry in (*first, *second)] == ["Ada ada x [MASK] London!", "Ada [MASK] x x London!"]


def test_a_piece_that_goes_on_a_word_joins_it_and_chinese_keeps_its_place(filler):
    (mask,) = filler()("a [MASK] cafes", top_k=1).masks
    assert mask[0].text == "a a cafes"
    (mask,) = filler()("cafes [MASK] x", top_k=1).masks  # the token before is ##s
    assert (mask[0].token, mask[0].text) == ("s", "cafess x")
    (mask,) = filler()("😀天[MASK]好", top_k=1).masks
    assert mask[0].text == "😀天天好"


@pytest.mark.parametrize("place", [0, 5, 17, 39])
def test_a_mask_is_filled_wherever_it_stands_in_a_text_of_several_windows(filler, place):
    names = ["a", "b"] * 20
    names[place : place + 1] = ["ada", "[MASK]", "london"]
    text = " ".join(names)
    (mask,) = filler(positions=9)(text, top_k=2).masks
    assert [entry.token for entry in mask] == ["ada", "london"]
    assert mask[0].text == text.replace("[MASK]", "ada")


def test_batches_keep_the_order_and_one_window_a_mask_is_read(filler):
    own = filler(positions=8)
    texts = ["x [MASK] y", "a " * 30 + "ada [MASK] london", "paris [MASK] b"]
    assert [filled.masks[0][0].token for filled in own(texts)] == ["x", "ada", "paris"]
    assert sum(len(batch["input_ids"]) for batch in own.engine.batches) == 3


def test_a_text_without_a_mask_is_refused_by_its_number_and_top_k_is_one_at_least(filler):
    with pytest.raises(InputError, match=r"text 2 has no mask: write \[MASK\] where"):
        filler()(["a [MASK]", "a"])
    with pytest.raises(ConfigError, match="top_k must be at least 1"):
        filler()("a [MASK]", top_k=0)


def test_a_tokenizer_without_a_mask_is_refused(filler, words, monkeypatch):
    monkeypatch.delitem(words.special_tokens, "mask")
    with pytest.raises(CheckpointError, match="has no mask_token"):
        filler()
