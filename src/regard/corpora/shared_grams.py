"""Held-out texts that share a run of words with a text to train on."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from regard.corpora.splits import text_key

GRAM = 13  # words


def word_grams(text: str) -> Iterator[str]:
    """Every run of GRAM words of a text's key; a shorter text has none."""
    words = text_key(text).split()
    return (" ".join(words[start : start + GRAM]) for start in range(len(words) - GRAM + 1))


def sharing(held_out: Sequence[str], train: Iterable[str]) -> set[int]:
    """Which of the held-out texts share a run with one to train on, by their places."""
    holders: dict[str, set[int]] = defaultdict(set)
    for place, text in enumerate(held_out):
        for gram in word_grams(text):
            holders[gram].add(place)
    return {place for text in train for gram in word_grams(text) for place in holders.get(gram, ())}
