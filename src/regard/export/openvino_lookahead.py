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
