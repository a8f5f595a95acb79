"""What a search knows of its rows besides their logits, and what it carries along for each hypothesis because of it."""

from types import ModuleType
from typing import NamedTuple

from regard.decoding.options import Array, GenerationOptions
from regard.decoding.stops import StopTable
from regard.decoding.trie import TokenTrie

States = tuple[Array, ...]  # (B, W) int32 each: of the trie, if there is one, then of each stop table


class Rows(NamedTuple):
    """Arrays only: () stands for what was not given, so that a compiled function may take it as an argument."""

    prompt: Array  # (B, P) int32 of `histories.aligned`
    source: Array = ()  # (B, S) int32 of `histories.aligned`
    seeds: Array = ()  # (B, 2) uint32, where the options sample
    trie: TokenTrie | tuple[()] = ()  # what may be generated
    stops: tuple[StopTable, ...] = ()  # what ends a hypothesis besides eos
    most: Array = ()  # scalar int32: tokens at most, where a graph serves several such numbers
    least: Array = ()  # scalar int32: tokens before an eos, likewise

    def limit(self, options: GenerationOptions) -> Array:
        """The tokens that a hypothesis may have."""
        return options.max_new_tokens if isinstance(self.most, tuple) else self.most

    def floor(self, options: GenerationOptions) -> Array:
        """The tokens that a hypothesis must have before it may end."""
        return options.min_new_tokens if isinstance(self.least, tuple) else self.least

    def start(self, batch: Array, width: int, ops: ModuleType) -> States:
        """The states before the first token. A stop may begin in the prompt."""
        states: States = (self.trie.start(batch, width, ops),) if isinstance(self.trie, TokenTrie) else ()
        read = (stops.follow_all(self.prompt, ops)[:, None] for stops in self.stops)
        return states + tuple(ops.broadcast_to(state, (batch, width)) for state in read)

    def follow(self, states: States, ids: Array, ops: ModuleType) -> tuple[States, Array | None]:
        """The states after `ids` (B, W), and where a stop ended, (B, W) bool; None where there are no stops."""
        after: States = ()
        if isinstance(self.trie, TokenTrie):
            after = (self.trie.follow(states[0], ids, ops),)
        stopped = None
        for stops, state in zip(self.stops, states[len(after) :], strict=True):
            state, ends = stops.follow(state, ids, ops)
            after += (state,)
            stopped = ends if stopped is None else ops.logical_or(stopped, ends)
        return after, stopped
