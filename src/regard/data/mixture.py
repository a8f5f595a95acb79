"""Several corpora in one epoch: a temperature draws their shares towards equal ones (Arivazhagan et al. 2019)."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

_PURPOSE = 0x6D69  # keeps these numbers apart from those of an epoch's order


def quotas(counts: Sequence[int], temperature: float) -> list[int]:
    """How many rows of an epoch each corpus gives: in proportion to count**(1 / temperature), in all as many as there
    are; what rounding leaves goes to the largest remainders."""
    total = sum(counts)
    weights = [count ** (1 / temperature) for count in counts]
    exact = [total * weight / sum(weights) for weight in weights]
    found = [int(each) for each in exact]
    by_remainder = sorted(range(len(counts)), key=lambda corpus: found[corpus] - exact[corpus])
    for corpus in by_remainder[: total - sum(found)]:
        found[corpus] += 1
    return found


class Mixture:
    """Which rows an epoch is made of; a pure function of the counts, the temperature, the seed and the epoch.

    A corpus is gone through from end to end, in a new order each time, and each epoch goes on where the one before
    stopped: so no row is left out for long, and of two rows of a corpus none comes more than once more than the other.
    """

    def __init__(self, counts: Sequence[int], temperature: float, seed: int) -> None:
        """counts: rows of each corpus; the rows of all corpora stand one after another."""
        self.counts, self.temperature, self.seed = list(counts), temperature, seed
        self.quotas = quotas(counts, temperature)
        self._order = lru_cache(maxsize=2 * len(self.counts))(self._drawn)

    def rows(self, epoch: int) -> Rows:
        """The rows of an epoch, ascending; one that comes more than once is repeated."""
        firsts = np.cumsum([0, *self.counts])
        parts = [first + self._of_corpus(corpus, epoch) for corpus, first in enumerate(firsts[:-1])]
        return np.sort(np.concatenate(parts))

    def describe(self, names: Sequence[str]) -> str:
        """What an epoch is made of, for people; names: of the corpora."""
        total = sum(self.quotas)
        lines = [
            f"{name}: {quota:,} of an epoch's {total:,} rows ({quota / total:.1%}), each {quota / count:.2f} times"
            for name, count, quota in zip(names, self.counts, self.quotas, strict=True)
            if count
        ]
        return "\n".join([f"corpora are mixed at temperature {self.temperature:g}", *lines])

    def _of_corpus(self, corpus: int, epoch: int) -> Rows:
        count, quota = self.counts[corpus], self.quotas[corpus]
        if not quota:
            return np.zeros(0, np.int64)
        first = epoch * quota
        rounds = range(first // count, (first + quota - 1) // count + 1)
        passed = np.concatenate([self._order(corpus, number) for number in rounds])
        begin = first - rounds[0] * count
        return passed[begin : begin + quota]

    def _drawn(self, corpus: int, number: int) -> Rows:
        """The order in which a corpus is gone through for the `number`th time."""
        bits = np.random.Philox(np.random.SeedSequence([self.seed, _PURPOSE, corpus, number]))
        return np.argsort(bits.random_raw(self.counts[corpus]), kind="stable")
