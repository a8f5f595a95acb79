"""Rows that are done leave a batch, so that the others do not wait for them; what was found is put together again."""

import numpy as np

from regard.decoding.options import Generation

WORTH_CUTTING = 0.75  # rows go when at most this share of them is open


class Compaction:
    """Which rows of a batch a search still has, and what it found of those that it has no more."""

    def __init__(self, batch: int) -> None:
        self.batch, self.rows = batch, np.arange(batch)
        self.found: Generation | None = None

    def worth(self, is_open: np.ndarray) -> np.ndarray | None:
        """The places of the open rows (B',) among those that the search has, where the others should go; else None."""
        still = np.flatnonzero(is_open)
        return still if 0 < len(still) <= WORTH_CUTTING * len(self.rows) else None

    def keep(self, places: np.ndarray, now: Generation) -> None:
        """Go on with the rows at `places` alone; `now` is what there is of all."""
        self.found, self.rows = self.whole(now), self.rows[places]

    def whole(self, now: Generation) -> Generation:
        """What there is of the whole batch, `now` being of the rows that the search has."""
        if self.found is None and len(self.rows) == self.batch:
            return now
        before = (None,) * len(now) if self.found is None else self.found
        return Generation(*(self._placed(old, new) for old, new in zip(before, now, strict=True)))

    def _placed(self, old: np.ndarray | None, new: np.ndarray | None) -> np.ndarray | None:
        if new is None:
            return None
        array = np.zeros((self.batch, *new.shape[1:]), new.dtype) if old is None else np.array(old)
        array[self.rows] = new
        return array
