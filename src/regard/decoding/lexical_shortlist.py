"""The tokens that a source may translate to, so that a decoder scores no others (Jean et al. 2015, section 3.3).

A lossy shortcut: the output layer is a large part of a small decoder's work, and all but a few hundred of its tokens
are out of the question for a given sentence. What the shortlist leaves out cannot be written.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regard.errors import ConfigError


@dataclass(frozen=True)
class LexicalShortlist:
    """What may be written: the frequent tokens whatever the source, and the likeliest ones of each source token.

    Both languages have one vocabulary of V tokens. Raises ConfigError for arrays that are no such thing.
    """

    frequent: np.ndarray  # (F,) int32, F at least 1
    likeliest: np.ndarray  # (V, K) int32, best first; -1: there are no more

    def __post_init__(self) -> None:
        if self.frequent.ndim != 1 or self.likeliest.ndim != 2 or not len(self.frequent):
            raise ConfigError(
                "a shortlist must have frequent tokens (F,), F at least 1, and likeliest ones (V, K), but has "
                f"{self.frequent.shape} and {self.likeliest.shape}"
            )
        for name, ids, least in (("frequent", self.frequent, 0), ("likeliest", self.likeliest, -1)):
            if ids.dtype != np.int32 or ids.min(initial=least) < least or ids.max(initial=least) >= self.vocab_size:
                raise ConfigError(
                    f"a shortlist's {name} tokens must be int32, at least {least} and below the vocabulary's size "
                    f"({self.vocab_size})"
                )

    @property
    def vocab_size(self) -> int:
        """V."""
        return len(self.likeliest)

    def for_vocabulary(self, vocab_size: int) -> "LexicalShortlist":
        """The same for a model whose vocabulary goes on after the tokenizer's. Raises ConfigError for a smaller one."""
        if vocab_size < self.vocab_size:
            raise ConfigError(f"a shortlist of {self.vocab_size} tokens is not for a model of {vocab_size}")
        more = ((0, vocab_size - self.vocab_size), (0, 0))
        return LexicalShortlist(self.frequent, np.pad(self.likeliest, more, constant_values=-1))

    def of_rows(self, ids: np.ndarray, real: np.ndarray, always: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """For sources `ids` (B, S), those that are `real` (B, S): the tokens (C,) int32, rising, that some of them may
        translate to, and which of these each may, (B, C) bool. So what a row may write does not hang on its
        batch-mates. `always`: tokens that any row may write, those that end a text for one."""
        rows = np.arange(len(ids))[:, None]
        own = np.where(real[..., None] != 0, self.likeliest[np.where(real != 0, ids, 0)], -1)  # -> (B,S,K)
        allowed = np.zeros((len(ids), self.vocab_size + 1), bool)
        allowed[rows, own.reshape(len(ids), -1)] = True  # -1 is the column after the last
        allowed[:, [*self.frequent, *always]] = True
        tokens = np.flatnonzero(allowed[:, :-1].any(axis=0))
        return tokens.astype(np.int32), allowed[:, tokens]
