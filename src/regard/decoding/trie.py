"""Search among given sequences only: a trie of what is allowed, which a compiled search follows.

Transformers asks a Python function, `prefix_allowed_tokens_fn(row, ids)`, at each step. Here the sequences are laid
down once, and a state that goes along with each hypothesis stands for the ids so far.
"""

import itertools
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple, Self

import numpy as np

from regard.decoding.options import Array
from regard.errors import ConfigError

MOST_TOKENS = 2**24  # edges of a trie, 8 bytes each


class TokenTrie(NamedTuple):
    """All allowed sequences, their common beginnings shared. The states are numbered breadth first, so that the edge e
    leads to state R + e, R being the number of roots; the last state, which nothing leaves, is where a token that is
    not allowed leads.

    NumPy arrays, or tensors of the engine: a compiled search may take a trie as an input. At most 2**24 tokens, after
    sharing: 128 MiB.
    """

    first: Array  # (states + 1,) int32: the edges of state s are first[s] ... first[s + 1] - 1
    tokens: Array  # (edges,) int32: each edge's token, rising within a state
    roots: Array  # (1,) or (B,) int32: where a row begins

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]], eos_token_id: int | None = None) -> Self:
        """A trie for all rows. Without `eos_token_id`, which is put after each sequence, they should end in it."""
        return cls.of_rows([sequences], eos_token_id)

    @classmethod
    def of_rows(cls, rows: Sequence[Sequence[Sequence[int]]], eos_token_id: int | None = None) -> Self:
        """A trie in which each row of a batch has its own sequences.

        Raises ConfigError where there is no sequence, for an empty one, an id below 0, and above 2**24 tokens.
        """
        end = () if eos_token_id is None else (eos_token_id,)
        named = [(row, (*sequence, *end)) for row, sequences in enumerate(rows) for sequence in sequences]
        if {row for row, _ in named} != set(range(len(rows))) or not rows:
            raise ConfigError("a trie needs a sequence that is allowed, for each row, but has none")
        if not all(sequence for _, sequence in named):
            raise ConfigError("a trie's sequences must not be empty, but one is")
        named = sorted(set(named))
        roots, lengths = np.array([row for row, _ in named]), np.array([len(sequence) for _, sequence in named])
        ids = np.fromiter(itertools.chain.from_iterable(sequence for _, sequence in named), "int64", lengths.sum())
        if ids.min() < 0:
            raise ConfigError(f"a trie's ids must be at least 0, but one is {ids.min()}")
        sources, tokens = _edges(roots, lengths, ids)
        states = len(rows) + len(tokens) + 1
        first = np.searchsorted(sources, np.arange(states + 1))
        return cls(first.astype("int32"), tokens.astype("int32"), np.arange(len(rows), dtype="int32"))

    def check_vocabulary(self, vocab_size: int) -> None:
        """Raise ConfigError for an id that a vocabulary of this size does not have."""
        greatest = int(np.max(self.tokens))
        if greatest >= vocab_size:
            raise ConfigError(f"a trie's ids must be below the vocabulary's size ({vocab_size}), but has {greatest}")

    def start(self, batch: Array, width: int, ops: ModuleType) -> Array:
        """The states (B, W) int32 before the first token."""
        return ops.broadcast_to(self.roots[:, None], (batch, width))

    def allowed(self, states: Array, ops: ModuleType) -> Array:
        """The tokens that may follow: (B, W) -> (B, W, F) int32, F the most edges that any state here has, -1 none."""
        edge, present = self._window(states, ops)
        return ops.where(present, ops.take(self.tokens, edge, axis=0), -1)

    def follow(self, states: Array, ids: Array, ops: ModuleType) -> Array:
        """The states after `ids`: (B, W), (B, W) -> (B, W) int32."""
        edge, present = self._window(states, ops)
        taken = ops.logical_and(present, ops.take(self.tokens, edge, axis=0) == ids[..., None])
        reached = ops.max(ops.where(taken, edge + ops.shape(self.roots)[0], -1), axis=-1)
        return ops.where(reached >= 0, reached, ops.shape(self.first)[0] - 2)

    def _window(self, states: Array, ops: ModuleType) -> tuple[Array, Array]:
        """The edges of each state, (B, W, F), and which of them are real."""
        first, end = ops.take(self.first, states, axis=0), ops.take(self.first, states + 1, axis=0)
        edges = first[..., None] + ops.arange(ops.maximum(ops.max(end - first), 1), dtype="int32")
        present = edges < end[..., None]
        return ops.where(present, edges, 0), present


def _edges(roots: np.ndarray, lengths: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The source and the token of each edge, breadth first, of sorted sequences: `ids` holds one after the other."""
    starts, states = np.cumsum(lengths) - lengths, roots
    sources, tokens, count = [], [], roots[-1] + 1
    for depth in range(lengths.max()):
        longer = lengths > depth
        lengths, starts, states = lengths[longer], starts[longer], states[longer]
        token = ids[starts + depth]
        # Sorted sequences with a common beginning stand side by side.
        new = np.append(True, (states[1:] != states[:-1]) | (token[1:] != token[:-1]))
        sources.append(states[new])
        tokens.append(token[new])
        states = count - 1 + np.cumsum(new)
        count += int(new.sum())
        if count - 1 - roots[-1] > MOST_TOKENS:
            raise ConfigError(f"a trie must have at most {MOST_TOKENS} tokens, but has more: allow fewer sequences")
    return np.concatenate(sources), np.concatenate(tokens)
