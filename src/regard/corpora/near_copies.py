"""Texts that nearly equal one another, found exactly and without comparing all pairs.

Two texts are near copies if the sets of `GRAM` successive characters of their keys have a Jaccard index (shared over
all) of at least `BOUND`. The search filters by prefixes: of two such sets, in any common order of the grams, the first
`size - ceil(BOUND * size) + 1` grams of each must share one (Chaudhuri et al. 2006; Bayardo et al. 2007). With rare
grams first, few candidates are left to compare.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

GRAM = 4  # characters
BOUND = 0.6


def grams(key: str) -> frozenset[str]:
    """The character n-grams of a key; a shorter key is its own only gram."""
    return frozenset(key[start : start + GRAM] for start in range(max(1, len(key) - GRAM + 1)))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def near_copies(keys: Sequence[str], held_out: Iterable[str]) -> set[str]:
    """Those of `keys` that are near copies of, or equal to, a key of `held_out`."""
    references = [grams(key) for key in dict.fromkeys(held_out)]
    frequency = Counter(gram for reference in references for gram in reference)
    index: dict[str, list[int]] = defaultdict(list)
    for number, reference in enumerate(references):
        for gram in _prefix(reference, frequency):
            index[gram].append(number)
    return {key for key in set(keys) if _has_copy(grams(key), references, index, frequency)}


def _prefix(entry: frozenset[str], frequency: Counter[str]) -> list[str]:
    ordered = sorted(entry, key=lambda gram: (frequency[gram], gram))
    return ordered[: len(entry) - math.ceil(BOUND * len(entry)) + 1]


def _has_copy(
    entry: frozenset[str], references: list[frozenset[str]], index: dict[str, list[int]], frequency: Counter[str]
) -> bool:
    candidates = {number for gram in _prefix(entry, frequency) for number in index.get(gram, ())}
    least, most = BOUND * len(entry), len(entry) / BOUND  # sizes outside cannot reach the bound
    return any(
        jaccard(entry, references[number]) >= BOUND for number in candidates if least <= len(references[number]) <= most
    )
