"""Short examples first: for some batches from a share of the shortest that grows to all (Platanios et al. 2019)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


class Curriculum(NamedTuple):
    """The first `batches` batches of training; the first of them are among this share of the shortest."""

    batches: int
    share: float

    def competence(self, number: NDArray[np.int64]) -> NDArray[np.float64]:
        """Which share of the shortest batches the batches with these numbers are drawn from: the paper's square root,
        sqrt(t (1 - c0^2) / T + c0^2), at most 1."""
        way = number * (1 - self.share**2) / self.batches
        return np.minimum(1.0, np.sqrt(way + self.share**2))

    def turns(self, sizes: NDArray[np.int64], turn: Rows, before: int, bits: NDArray[np.uint64]) -> Rows:
        """The batches of an epoch in their order: `turn`, (n,), where the curriculum is over; before it, drawn anew.

        sizes: the length of each batch's rows. before: batches of all earlier epochs. bits: (n,), what is drawn from.
        """
        number = before + np.arange(len(turn))
        shortest = np.argsort(sizes, kind="stable")
        among = np.maximum(1, (self.competence(number) * len(turn)).astype(np.int64))
        drawn = shortest[(bits % among.astype(np.uint64)).astype(np.int64)]
        return np.where(number < self.batches, drawn, turn)
