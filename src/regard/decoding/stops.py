"""Where a hypothesis ends besides eos: sequences of ids, or strings that tokens spell.

Both become one automaton over token ids (Aho and Corasick 1975): a state says how much of a stop has just been read,
a token leads from state to state, and a search carries each hypothesis' state with it. So a string that begins inside
one token and ends inside another is found by one look-up a step, whatever the number and the length of the stops.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import numpy as np

from regard.decoding.options import Array
from regard.errors import ConfigError

_MOST_BYTES = 4096  # of all stop strings together
_KEYS = 2**31 - 1  # states times vocabulary: a key is an int32, and the greatest one is never a real one


class StopTable(NamedTuple):
    """The automaton, sparse: most tokens lead to the same state from everywhere. State 0: nothing of a stop was read.

    Where a stop ends, -1 - state stands for the state. NumPy arrays, or tensors of the engine: a compiled search may
    take a table as an input. V + 2 E numbers, E rarely above a few V; ids beyond V belong to no stop.
    """

    after: Array  # (V,) int32: where a token leads from state 0
    keys: Array  # (E,) int32, rising: state * V + token, where it leads elsewhere from that state
    targets: Array  # (E,) int32

    def follow(self, states: Array, ids: Array, ops: ModuleType) -> tuple[Array, Array]:
        """From `states` by `ids`, of one shape: the states, int32, and where a stop ended, bool. No id, no state."""
        vocab_size, exceptions = ops.shape(self.after)[0], ops.shape(self.keys)[0]
        known = ops.logical_and(ids >= 0, ids < vocab_size)
        ids = ops.where(known, ids, 0)
        wanted = states * vocab_size + ids
        place = ops.searchsorted(self.keys, ops.reshape(wanted, (-1,)))  # of one axis only, in TensorFlow
        place = ops.minimum(ops.reshape(ops.cast(place, "int32"), ops.shape(wanted)), exceptions - 1)
        special = ops.take(self.keys, place, axis=0) == wanted
        reached = ops.where(special, ops.take(self.targets, place, axis=0), ops.take(self.after, ids, axis=0))
        reached = ops.where(known, reached, 0)
        return ops.where(reached < 0, -1 - reached, reached), reached < 0

    def follow_all(self, rows: Array, ops: ModuleType) -> Array:
        """The states (B,) int32 after rows (B, P) of ids, -1 being none."""
        first = (ops.zeros((), dtype="int32"), ops.zeros_like(rows[:, 0]))

        def onward(column: Array, states: Array) -> tuple[Array, Array]:
            return column + 1, self.follow(states, ops.take(rows, column, axis=1), ops)[0]

        return ops.while_loop(lambda column, _: column < ops.shape(rows)[1], onward, first)[1]


def stop_sequences_table(sequences: Sequence[Sequence[int]]) -> StopTable:
    """A table for sequences of token ids."""
    automaton = _Automaton.of(sequences)
    after = np.zeros(1 + max(map(max, sequences)), "int32")
    for token, state in automaton.children[0].items():
        after[token] = automaton.marked(state)
    exceptions = (
        (state, token, automaton.marked(target))
        for state, moves in enumerate(automaton.moves)
        for token, target in moves.items()
    )
    return _table(after, exceptions)


def stop_strings_table(strings: str | Iterable[str], pieces: Sequence[str | bytes]) -> StopTable:
    """A table for strings, given what each token of the vocabulary adds to the text: Transformers' StopStringCriteria.

    Text is compared as UTF-8, so that a token may hold a part of a character: give such a piece as bytes. An empty
    piece changes nothing. Raises ConfigError for an empty string, and for more than 4096 bytes.
    """
    stops = [string.encode(errors="surrogatepass") for string in ([strings] if isinstance(strings, str) else strings)]
    if not stops or not all(stops):
        raise ConfigError(f"stop_strings must be non-empty strings, but are {strings!r}")
    if sum(map(len, stops)) > _MOST_BYTES:
        raise ConfigError(f"stop_strings must hold at most {_MOST_BYTES} bytes, but hold {sum(map(len, stops))}")
    reader = _PieceReader.of(_Automaton.of(stops), pieces)
    after = reader.read(np.zeros(len(pieces), "int32"), np.arange(len(pieces)))
    return _table(after, reader.exceptions(after))


def _table(after: np.ndarray, exceptions: Iterable[tuple[int, int, int]]) -> StopTable:
    listed = np.array([(-1, -1, -1), *exceptions], "int64")[1:]
    keys = listed[:, 0] * len(after) + listed[:, 1]
    if keys.max(initial=0) >= _KEYS:
        raise ConfigError(f"the stops' states times the vocabulary ({len(after)}) must stay below 2**31: shorten them")
    order = np.argsort(keys)
    keys = np.append(keys[order], _KEYS)  # so that there is one, which nobody asks for
    return StopTable(after.astype("int32"), keys.astype("int32"), np.append(listed[order, 2], 0).astype("int32"))


@dataclass(frozen=True)
class _Automaton:
    """The trie of all stops, and where each state leads for a symbol that is none of its children."""

    children: list[dict[int, int]]
    moves: list[dict[int, int]]  # of each state, without what leads on as from state 0
    ends: list[bool]  # a stop ends here

    @classmethod
    def of(cls, stops: Sequence[Sequence[int]]) -> "_Automaton":
        children: list[dict[int, int]] = [{}]
        ends = [False]
        for stop in stops:
            state = 0
            for symbol in stop:
                if symbol not in children[state]:
                    children[state][symbol] = len(children)
                    children.append({})
                    ends.append(False)
                state = children[state][symbol]
            ends[state] = True
        return cls(children, cls._link(children, ends), ends)

    @staticmethod
    def _link(children: Sequence[Mapping[int, int]], ends: list[bool]) -> list[dict[int, int]]:
        """Breadth first: the moves of the longest proper suffix that is a state, then the state's own."""
        moves: list[dict[int, int]] = [{} for _ in children]
        waiting = deque((child, 0) for child in children[0].values())  # a state, and that suffix of it
        while waiting:
            state, suffix = waiting.popleft()
            ends[state] = ends[state] or ends[suffix]
            for symbol, child in children[state].items():
                waiting.append((child, moves[suffix].get(symbol, children[0].get(symbol, 0))))
            moves[state] = {**moves[suffix], **children[state]}
        return moves

    def marked(self, state: int) -> int:
        return -1 - state if self.ends[state] else state


@dataclass(frozen=True)
class _PieceReader:
    """Reads whole pieces with an automaton over bytes, many at once."""

    steps: np.ndarray  # (S, 256) int32: the next state
    ends: np.ndarray  # (S,) bool
    text: np.ndarray  # all pieces, one after the other, uint8
    starts: np.ndarray  # (V,)
    lengths: np.ndarray  # (V,)

    @classmethod
    def of(cls, automaton: _Automaton, pieces: Sequence[str | bytes]) -> "_PieceReader":
        steps = np.zeros((len(automaton.moves), 256), "int32")
        steps[:, list(automaton.children[0])] = list(automaton.children[0].values())
        for state, moves in enumerate(automaton.moves):
            steps[state, list(moves)] = list(moves.values())
        encoded = [piece.encode(errors="surrogatepass") if isinstance(piece, str) else piece for piece in pieces]
        lengths = np.array([len(piece) for piece in encoded], "int64")
        starts = np.cumsum(lengths) - lengths
        return cls(steps, np.array(automaton.ends), np.frombuffer(b"".join(encoded), "uint8"), starts, lengths)

    def read(self, states: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Where `tokens` (n,) lead from `states` (n,), marked where a stop ended within."""
        states, ended = states.copy(), np.zeros(len(states), bool)
        longest = self.lengths[tokens].max(initial=0)
        active = np.arange(len(tokens))
        for place in range(longest):
            active = active[self.lengths[tokens[active]] > place]
            states[active] = self.steps[states[active], self.text[self.starts[tokens[active]] + place]]
            ended[active] |= self.ends[states[active]]
        return np.where(ended, -1 - states, states)

    def exceptions(self, after: np.ndarray) -> Iterator[tuple[int, int, int]]:
        """(state, token, target) where a state leads elsewhere than state 0, which its first byte decides."""
        firsts = np.full(len(after), 256)
        firsts[self.lengths > 0] = self.text[self.starts[self.lengths > 0]]
        for state in range(1, len(self.steps)):
            differs = np.append(self.steps[state] != self.steps[0], True)  # an empty piece leads nowhere
            tokens = np.flatnonzero(differs[firsts])
            targets = self.read(np.full(len(tokens), state, "int32"), tokens)
            for place in np.flatnonzero(targets != after[tokens]).tolist():
                yield state, int(tokens[place]), int(targets[place])
