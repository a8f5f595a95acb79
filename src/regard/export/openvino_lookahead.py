"""Guesses that are read together with the token before them: where a guess proves right, what the network says after it
is known already (Leviathan et al. 2023, with the text itself for a draft)."""

from typing import NamedTuple

import numpy as np

from regard.decoding.lookup import looked_up


class Taken(NamedTuple):
    """What one row's next token means for it."""

    ahead: "Ahead"
    read: list[int]  # the token and new guesses after it, for the network; empty: what comes after it is known


class Ahead(NamedTuple):
    """One row's text, and what was read ahead of it."""

    text: list[int]  # the prompt, then what is generated
    guesses: list[int]  # not asked for yet
    slots: list[int]  # of the cache, where they are
    found: list[list[np.ndarray]]  # what the network says after each of them

    def take(self, token: int, real: np.ndarray, count: int) -> Taken:
        """Go on by `token`. `real` (S,) is told that a guess was right; `count`: guesses at most."""
        text = [*self.text, token]
        if self.guesses and self.guesses[0] == token:
            real[self.slots[0]] = 1
            return Taken(Ahead(text, self.guesses[1:], self.slots[1:], self.found), [])
        guesses = looked_up(text, count) if count > 0 else []
        return Taken(Ahead(text, guesses, [0] * len(guesses), []), [token, *guesses])
