"""The one search loop: whatever predicts tokens, and whatever chooses among them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple, TypedDict, Unpack

from regard.decoding.beam import BeamSearch
from regard.decoding.groups import DiverseBeamSearch
from regard.decoding.histories import aligned
from regard.decoding.options import Array, Generation, GenerationOptions
from regard.decoding.processors import Processors, Rule, margin, needs_source
from regard.decoding.rows import Rows
from regard.decoding.sample import Sampler, own_parents
from regard.decoding.stops import StopTable, stop_sequences_table
from regard.decoding.trie import TokenTrie
from regard.errors import ConfigError

Step = Callable[[Array, Array, Any], tuple[Array, Any]]

_stops_of = lru_cache(maxsize=16)(stop_sequences_table)  # which a search in NumPy asks for three times a step


class Given(TypedDict, total=False):
    """What a search may be given besides logits; None is as good as absent."""

    prompt: Array  # (B, P) int32: what the rules on repetition, words and stops count besides the generated tokens;
    # absent, they count the start id, as Transformers does for an encoder-decoder
    prompt_mask: Array  # (B, P), where the prompt is padded
    source: Array  # (B, S) int32: what the rules on the encoder's ids read; for a language model, the prompt again
    source_mask: Array  # (B, S), where the source is padded
    seeds: Array  # (B, 2) uint32: `options.row_seeds(B)`, for a traced search, whose graph should not hold the seed
    trie: TokenTrie  # what may be generated
    stops: StopTable  # what ends a hypothesis, besides eos and options.stop_sequences
    most: Array  # scalar int32: tokens at most, if fewer than options.max_new_tokens, the room that hypotheses have
    least: Array  # scalar int32: tokens before an eos, in place of options.min_new_tokens where those are not 0


class SearchState(NamedTuple):
    """A search between two steps. A nest of arrays, so a compiled function may take and return it."""

    step: Array  # scalar int32: tokens generated so far
    ids: Array  # (B, W) int32: what the model reads next
    parents: Array  # (B, W) int32: the hypotheses that they extend
    hypotheses: Any  # of the strategy
    state: Any  # of the model
    rows: Rows


@dataclass(frozen=True)
class Search:
    """A search in parts: `start`, then `run` to the end or from segment to segment, then `result`.

    `step(ids (B,W), parents (B,W), state) -> (logits (B,W,V) float32, state)`: hypothesis w now extends the one that
    was at parents[b, w] a step before, by ids[b, w]. At first all hypotheses of a row are equal. `state` is a nest of
    arrays, without None; its structure, shapes and dtypes stay. V and W are static; B need not be. For logits it may
    give a `BestTokens` of them, wherever `bans_on_best` says what it may not hold.

    `rule(scores (B,W,V), generated (B,W,T), step, ops) -> scores` is a rule of the caller's own, after all others but
    those of sampling; -1 stands where nothing is generated yet.
    """

    step: Step
    options: GenerationOptions
    ops: ModuleType
    rule: Rule | None = None

    def start(self, state: Any, start_ids: Array, **given: Unpack[Given]) -> SearchState:
        """Before the first token: start_ids are (B, W) int32, W = options.width."""
        options, ops = self.options, self.ops
        if start_ids.shape[1] != options.width:
            raise ConfigError(
                f"start_ids must have {options.width} columns, one a hypothesis, but has {start_ids.shape[1]}"
            )
        start_ids = ops.cast(start_ids, "int32")
        rows = self._rows(start_ids, given)
        hypotheses = self._strategy(rows).start(ops.shape(start_ids)[0])
        parents = own_parents(start_ids, ops)
        return SearchState(ops.zeros((), dtype="int32"), start_ids, parents, hypotheses, state, rows)

    def _rows(self, start_ids: Array, given: Given) -> Rows:
        options, ops = self.options, self.ops
        prompt, seeds = given.get("prompt"), given.get("seeds")
        source = given.get("source") if needs_source(options) else None
        if options.do_sample and seeds is None:
            seeds = ops.convert_to_tensor(options.row_seeds(start_ids.shape[0]))
        known, room = start_ids[:, :1] if prompt is None else prompt, margin(options)
        return Rows(
            prompt=aligned(known, given.get("prompt_mask"), room, ops),
            source=() if source is None else aligned(source, given.get("source_mask"), room, ops),
            seeds=() if seeds is None else seeds,
            trie=given.get("trie") or (),
            stops=(given["stops"],) if given.get("stops") else (),
            most=given.get("most", ()),
            least=given.get("least", ()),
        )

    def run(self, search: SearchState, until: Array | None = None) -> SearchState:
        """Go on until every row is done, or `until` tokens are generated.

        Greedy search and sampling write a token for good, so `result` may be asked between segments. Of beams nothing
        is final before a row is done.
        """
        options, ops = self.options, self.ops
        most = search.rows.limit(options)
        last = most if until is None else ops.minimum(until, most)
        strategy = self._strategy(search.rows)

        def is_open(t: Array, ids: Array, parents: Array, hypotheses: Any, state: Any) -> Array:
            return ops.logical_and(t < last, ops.any(strategy.open_rows(hypotheses)))

        def extend(t: Array, ids: Array, parents: Array, hypotheses: Any, state: Any) -> tuple[Any, ...]:
            return tuple(self.extend(SearchState(t, ids, parents, hypotheses, state, search.rows))[:5])

        t, ids, parents, hypotheses, state = ops.while_loop(is_open, extend, tuple(search[:5]))
        return SearchState(t, ids, parents, hypotheses, state, search.rows)

    def extend(self, search: SearchState) -> SearchState:
        """One token more for every hypothesis."""
        logits, state = self.step(search.ids, search.parents, search.state)
        ids, parents, hypotheses = self._strategy(search.rows).advance(logits, search.hypotheses, search.step)
        return SearchState(search.step + 1, ids, parents, hypotheses, state, search.rows)

    def is_open(self, search: SearchState) -> Array:
        """Scalar bool: whether `run` would find anything more."""
        more = self.ops.any(self.open_rows(search))
        return self.ops.logical_and(search.step < search.rows.limit(self.options), more)

    def open_rows(self, search: SearchState) -> Array:
        """(B,) bool: the rows for which `run` may find something more."""
        return self._strategy(search.rows).open_rows(search.hypotheses)

    def kept(self, search: SearchState, places: Array) -> SearchState:
        """The search of the rows at `places` (B',) alone, but for `state`, which is the model's to cut."""

        def cut(value: Any) -> Any:
            if isinstance(value, tuple):
                parts = [cut(part) for part in value]
                return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
            return self.ops.take(value, places, axis=0)

        whole = search.rows
        rows = whole._replace(prompt=cut(whole.prompt), source=cut(whole.source), seeds=cut(whole.seeds))
        ids, parents, hypotheses = cut((search.ids, search.parents, search.hypotheses))
        return search._replace(ids=ids, parents=parents, hypotheses=hypotheses, rows=rows)

    def result(self, search: SearchState) -> Generation:
        """What was found, so far for greedy search and sampling; of beams, of the rows that are done."""
        return self._strategy(search.rows).result(search.hypotheses)

    def _strategy(self, rows: Rows) -> Any:
        options, ops = self.options, self.ops
        if options.stop_sequences:
            rows = rows._replace(stops=(*rows.stops, _stops_of(options.stop_sequences)))
        strategy: Any = Sampler
        if options.num_beams > 1:
            strategy = BeamSearch if options.num_beam_groups == 1 else DiverseBeamSearch
        return strategy(options, Processors(options, rows, ops, self.rule), rows, ops)


def search(
    step: Step,
    state: Any,
    start_ids: Array,
    options: GenerationOptions,
    ops: ModuleType,
    *,
    rule: Rule | None = None,
    **given: Unpack[Given],
) -> Generation:
    """Extend `start_ids` (B, W) int32, W = options.width, token by token until every row is done."""
    whole = Search(step, options, ops, rule)
    return whole.result(whole.run(whole.start(state, start_ids, **given)))
