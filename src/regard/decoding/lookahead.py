"""Guesses that are read together with the token before them: where a guess proves right, what the network says after it
is known already (Leviathan et al. 2023, with the text itself for a draft)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from regard.decoding.lookup import looked_up


class Ahead(NamedTuple):
    """One row's text, and what was read ahead of it."""

    row: int  # of the batch that the search began with
    text: list[int]  # the prompt, then what is generated
    guesses: list[int]  # not asked for yet
    slots: list[int]  # of the cache, where they are
    found: list[list[np.ndarray]]  # what the network says next, and after each of them; empty: that is to be read

    def after(self, token: int, real: np.ndarray) -> "Ahead":
        """Go on by `token`. `real` (S,) is told that a guess was right."""
        text = [*self.text, token]
        if self.guesses and self.guesses[0] == token:
            real[self.slots[0]] = 1
            return Ahead(self.row, text, self.guesses[1:], self.slots[1:], self.found)
        return Ahead(self.row, text, [], [], [])


Guesser = Callable[[Sequence[Ahead], Sequence[int]], list[list[int]]]
"""Of each row of a search, and how many tokens are wanted at most, what may come next."""


def of_the_text(rows: Sequence[Ahead], counts: Sequence[int]) -> list[list[int]]:
    """A `Guesser`: what came after the same words before."""
    return [looked_up(one.text, count) if count > 0 else [] for one, count in zip(rows, counts, strict=True)]


def gone_on(ahead: Sequence[Ahead], ids: np.ndarray, real: np.ndarray) -> tuple[tuple[Ahead, ...], np.ndarray]:
    """Each row after its token of ids (B,), and the slots (B, S) that are real then."""
    real = real.copy()
    return tuple(one.after(token, row) for one, token, row in zip(ahead, ids.tolist(), real, strict=True)), real


def to_read(ahead: Sequence[Ahead], guesser: Guesser, count: int) -> list[list[int]]:
    """Of each row the last token, of which nothing is known, and at most `count` guesses after it; else nothing."""
    guesses = guesser(ahead, [0 if one.found else count for one in ahead])
    return [[] if one.found else [one.text[-1], *more] for one, more in zip(ahead, guesses, strict=True)]


def side_by_side(read: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of each row, and which are real, (B, T) int32: what others have less is padding."""
    shape = (len(read), max(map(len, read)))
    ids, real = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for row, tokens in enumerate(read):
        ids[row, : len(tokens)], real[row, : len(tokens)] = tokens, 1
    return ids, real


def having_read(
    ahead: Sequence[Ahead], read: Sequence[Sequence[int]], before: int, found: Sequence[np.ndarray]
) -> tuple[Ahead, ...]:
    """The rows, their tokens of `read` being in the cache from slot `before` on. `found`: each (B, T, ...), what the
    network says after them."""
    return tuple(
        one._replace(
            guesses=list(tokens[1:]),
            slots=list(range(before + 1, before + len(tokens))),
            found=[[part[row, place] for part in found] for place in range(len(tokens))],
        )
        if tokens
        else one
        for row, (one, tokens) in enumerate(zip(ahead, read, strict=True))
    )


def places_of(real: np.ndarray) -> np.ndarray:
    """Positions among the real tokens; padding repeats a neighbour's."""
    return np.maximum(np.cumsum(real, axis=1) - 1, 0).astype(np.int32)


def in_use(real: np.ndarray, ahead: Sequence[Ahead] = ()) -> int:
    """How many slots, from the first, hold anything that is read again; the rest may be written over."""
    slots = np.flatnonzero(real.any(axis=0)).tolist()
    return max([*slots, *(slot for one in ahead for slot in one.slots)], default=-1) + 1
