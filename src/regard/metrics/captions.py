"""CIDEr-D: how much a caption agrees with people's, n-gram by n-gram, rare ones weighing more (Vedantam et al. 2015).

As the authors' own code has it: term frequencies are counts, not divided by the caption's length, and the score is of
captions of one data set, whose references say how rare an n-gram is.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from math import exp, log, sqrt
from typing import NamedTuple

from regard.errors import InputError

ORDERS, SIGMA = 4, 6.0

Ngram = tuple[str, ...]
Counts = Sequence[Counter[Ngram]]  # an entry an order

_HAN = r"\u3400-\u9fff\uf900-\ufaff\u3040-\u30ff"
_WORDS = re.compile(rf"[{_HAN}]|[^\W{_HAN}]+")


class _Vector(NamedTuple):
    """A caption's weights by order, the length of each, and the caption's own in words."""

    weights: Sequence[dict[Ngram, float]]
    norms: Sequence[float]
    words: int


def caption_words(caption: str) -> list[str]:
    """Lower-case words without punctuation; of Chinese and Japanese each character."""
    return _WORDS.findall(caption.lower())


def cider_d(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr-D of each caption among its references, 0..10; the score of the data set is their mean.

    How rare an n-gram is comes from `references`: the number of images with it in any reference. Raises InputError
    where there is not a caption for each image, or an image has no reference.
    """
    if len(captions) != len(references):
        raise InputError(f"there must be a caption for each of the {len(references)} images, not {len(captions)}")
    if not all(references):
        raise InputError("each image needs a reference at least")
    theirs = [[_counts(caption) for caption in own] for own in references]
    rarity = _Rarity(theirs)
    return [
        _agreement(rarity.vector(_counts(caption)), [rarity.vector(counts) for counts in own])
        for caption, own in zip(captions, theirs, strict=True)
    ]


def _counts(caption: str) -> Counts:
    words = caption_words(caption)
    return [
        Counter(tuple(words[place : place + order]) for place in range(len(words) - order + 1))
        for order in range(1, ORDERS + 1)
    ]


class _Rarity:
    """log(images / images with the n-gram in a reference)."""

    def __init__(self, references: Sequence[Sequence[Counts]]) -> None:
        self.images = len(references)
        self.having = Counter(ngram for own in references for ngram in _distinct(own))

    def vector(self, counts: Counts) -> _Vector:
        weights = [{ngram: number * self._of(ngram) for ngram, number in order.items()} for order in counts]
        norms = [sqrt(sum(weight**2 for weight in order.values())) for order in weights]
        return _Vector(weights, norms, counts[0].total())

    def _of(self, ngram: Ngram) -> float:
        return log(self.images / max(1, self.having[ngram]))


def _distinct(captions: Iterable[Counts]) -> set[Ngram]:
    return {ngram for counts in captions for order in counts for ngram in order}


def _agreement(caption: _Vector, references: Sequence[_Vector]) -> float:
    """Equation 4 of the paper: the mean over orders and references, times 10. A weight counts at most as much as the
    reference has of it, and captions of other lengths pay, so that repeating a word gains nothing."""
    total = 0.0
    for reference in references:
        penalty = exp(-((caption.words - reference.words) ** 2) / (2 * SIGMA**2))
        total += penalty * sum(_cosine(caption, reference, order) for order in range(ORDERS)) / ORDERS
    return 10 * total / len(references)


def _cosine(caption: _Vector, reference: _Vector, order: int) -> float:
    ours, theirs = caption.weights[order], reference.weights[order]
    norms = caption.norms[order] * reference.norms[order]
    product = sum(min(weight, theirs.get(ngram, 0.0)) * theirs.get(ngram, 0.0) for ngram, weight in ours.items())
    return product / norms if norms else 0.0
