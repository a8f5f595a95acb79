from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from regard.metrics.translation import score
from regard.nn.losses import cross_entropy
from regard.training.validation import Stopped, Validator
from regard.training.writing_scores import TranslationScores, padded

WORDS = ["</s>", "one", "two", "three", "four", "five", "six", "<pad>"]
PAIRS = [
    ([1, 2, 3, 4, 0], "one two three four", "de"),
    ([2, 0], "two", "zh"),
    ([6, 5, 4, 3, 2, 1, 2, 3, 4, 0], "six five four three two one two three four", "de"),
    ([3, 3, 3, 3, 0], "four four four four", "zh"),
]


class Shards:
    def __len__(self) -> int:
        return len(PAIRS)

    def row(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return np.array(PAIRS[index][0], np.int32), np.array(PAIRS[index][0], np.int32)

    def text(self, index: int) -> tuple[str, str, str, str]:
        return "source", PAIRS[index][1], "en", PAIRS[index][2]


def decode(ids: Sequence[int]) -> str:
    return " ".join(WORDS[number] for number in ids if 0 < number < 7)


def echo(batch: dict[str, np.ndarray]) -> Any:
    """A translator that repeats its source."""
    return SimpleNamespace(sequences=batch["input_ids"][:, None])


def validator(model: Any, batches: list[Any], examples: int, streams: int = 1) -> Validator:
    model.generate = echo
    tokenizer = SimpleNamespace(pad_id=7, decode=decode)
    scores = TranslationScores(model, Shards(), tokenizer, examples)
    made = SimpleNamespace(epoch=lambda: iter(batches), rows=lambda: [[]] * len(batches))
    return Validator(model, made, scores, streams=streams)


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_the_loss_is_the_mean_over_all_labels_of_the_split_without_smoothing(
    toy: Callable[..., Any], random_batch: Callable[..., Any], streams: int
) -> None:
    model = toy(dropout=0.5)
    batches = [random_batch(rows=rows, length=rows, seed=rows) for rows in (3, 8)]
    sums = [[float(value) for value in cross_entropy(model(each).logits, each["labels"])] for each in batches]
    expected = (sums[0][0] + sums[1][0]) / (sums[0][1] + sums[1][1])
    scores = validator(model, batches, examples=0, streams=streams).measure()
    assert scores["loss"] == pytest.approx(expected, rel=1e-6)
    assert scores["perplexity"] == pytest.approx(np.exp(expected), rel=1e-6)
    assert (scores["bleu"], scores["chrf"]) == (None, None)


def test_translations_meet_their_own_references_and_each_language_its_own_tokenizer(
    toy: Callable[..., Any], random_batch: Callable[..., Any]
) -> None:
    scores = validator(toy(), [random_batch()], examples=99).measure()
    german = score([PAIRS[0][1], PAIRS[2][1]], [PAIRS[0][1], PAIRS[2][1]], "de")
    chinese = score(["two", "three three three three"], ["two", "four four four four"], "zh")
    assert german.bleu == pytest.approx(100)
    assert scores["bleu"] == pytest.approx((german.bleu + chinese.bleu) / 2)
    assert scores["chrf"] == pytest.approx((german.chrf + chinese.chrf) / 2)


def test_only_the_first_examples_are_translated(toy: Callable[..., Any], random_batch: Callable[..., Any]) -> None:
    scores = validator(toy(), [random_batch()], examples=1).measure()
    assert scores["bleu"] == pytest.approx(100)


def test_validation_stops_when_asked_to(toy: Callable[..., Any], random_batch: Callable[..., Any]) -> None:
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        validator(toy(), [random_batch(), random_batch()], examples=2).measure(lambda: next(asked))


def test_sources_are_padded_right_to_the_longest_and_not_beyond() -> None:
    batch = padded([[5, 6, 0], [1] * 9], pad_id=7)
    assert batch["input_ids"].shape == (2, 9)
    assert batch["input_ids"][0].tolist() == [5, 6, 0] + [7] * 6
    assert batch["attention_mask"].sum(axis=1).tolist() == [3, 9]
