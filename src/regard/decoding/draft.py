"""Guesses by a smaller model of the same vocabulary: speculative decoding (Leviathan et al. 2023; Chen et al. 2023)."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from regard.decoding.lookahead import Ahead, in_use, places_of
from regard.decoding.options import GenerationOptions
from regard.specs import ModelSpec

ReadOn = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""The smaller model: ids (B, T) and their positions, read into the last T of the cache's slots, of which `real` (B, S)
are the row's; and (B,) of which row of the read before each row is -> the likeliest next tokens (B,), and their
log-probabilities."""


class Draft:
    """A `Guesser`: what a smaller model would write, as long as it is sure of it.

    Its cache is led as the large model's: what it wrote and nobody took stays there, masked like padding, until it is
    written over.
    """

    def __init__(
        self, read: ReadOn, spec: ModelSpec, rows: int, options: GenerationOptions, overwrites: bool = False
    ) -> None:
        """rows: of the batch. options: of the search. overwrites: whether `read` writes over slots that were filled
        where `real` ends before them."""
        self.read, self.overwrites = read, overwrites
        self.least = math.log(max(options.assistant_confidence_threshold, 1e-30))  # of a guess's log-probability
        self.ends = options.eos_ids
        positions = spec.text.positions
        self.room = None if positions.kind == "none" else positions.max_positions
        self.rows = list(range(rows))  # which the cache has
        self.cut = np.arange(rows, dtype=np.int32)  # where each of them is in it
        self.real = np.zeros((rows, 0), np.int32)
        self.known: list[list[int]] = [[] for _ in range(rows)]  # of each row of the batch, what the cache has of it
        self.slots: list[list[int]] = [[] for _ in range(rows)]  # and where

    def __call__(self, rows: Sequence[Ahead], counts: Sequence[int]) -> list[list[int]]:
        """At most so many tokens after each row's text; the rows may only become fewer from call to call."""
        self._keep([one.row for one in rows])
        most = [self._most(len(one.text), count) for one, count in zip(rows, counts, strict=True)]
        new = [self._unread(place, one.text) if most[place] > 0 else [] for place, one in enumerate(rows)]
        guesses: list[list[int]] = [[] for _ in rows]
        while any(new):
            tokens, log_probs = self._next(new)
            for place in np.flatnonzero([bool(part) for part in new]).tolist():
                token, new[place] = int(tokens[place]), []
                if log_probs[place] >= self.least:
                    guesses[place].append(token)
                    if len(guesses[place]) < most[place] and token not in self.ends:
                        new[place] = [token]
        return guesses

    def _most(self, length: int, count: int) -> int:
        return count if self.room is None else min(count, self.room - length)

    def _keep(self, rows: list[int]) -> None:
        """The cache follows with the next run."""
        if rows == self.rows:
            return
        places = [self.rows.index(row) for row in rows]
        self.rows, self.cut, self.real = rows, self.cut[places], self.real[places]

    def _unread(self, place: int, text: list[int]) -> list[int]:
        """What the cache does not have of a row's text, the last token at least; what it has beside it is masked."""
        known, slots = self.known[self.rows[place]], self.slots[self.rows[place]]
        pairs = zip(known, text[:-1], strict=False)
        same = next((same for same, (one, other) in enumerate(pairs) if one != other), min(len(known), len(text) - 1))
        self.real[place, slots[same:]] = 0
        del known[same:], slots[same:]
        return text[same:]

    def _next(self, new: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Read the new tokens of each row, which end in one column: the likeliest next ones, and their
        log-probabilities."""
        if self.overwrites:
            self.real = self.real[:, : in_use(self.real)]
        rows, length, before = len(new), max(map(len, new)), self.real.shape[1]
        ids, real = np.zeros((rows, length), np.int32), np.zeros((rows, length), np.int32)
        for place, tokens in enumerate(new):
            if tokens:
                ids[place, -len(tokens) :], real[place, -len(tokens) :] = tokens, 1
                self.known[self.rows[place]] += tokens
                self.slots[self.rows[place]] += range(before + length - len(tokens), before + length)
        cut, self.cut = self.cut, np.arange(rows, dtype=np.int32)
        self.real = np.concatenate([self.real, real], axis=1)
        return self.read(ids, places_of(self.real)[:, -length:], self.real, cut)
