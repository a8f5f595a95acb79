"""`model.generate`: a batch of NumPy arrays through the one search, compiled once for each set of options."""

import regard.nn  # noqa: F401  # first of all: it checks Keras's backend before Keras is imported

# isort: split
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from regard.batch import Batch
from regard.decoding import numpy_ops
from regard.decoding.compaction import Compaction
from regard.decoding.draft import Draft
from regard.decoding.lookahead import Guesser
from regard.decoding.loop import Given, Search, SearchState
from regard.decoding.options import Generation, GenerationOptions
from regard.decoding.processors import Rule, reads_prompt
from regard.decoding.stepwise import by_tokens, to_the_end
from regard.decoding.stops import StopTable
from regard.decoding.trie import TokenTrie
from regard.errors import InputError
from regard.models.assistant import Assistant, guesser_of, texts_ahead
from regard.models.inputs import DECODER_KEYS, MEMORY, source_keys
from regard.models.prompts import prepared
from regard.models.reading import AheadStepper, Past, Reader, after_prompt, before_all, reading_on
from regard.nn.kernels import compiled, compiled_after
from regard.specs import ModelSpec

PROMPT_BUCKET = 32  # tokens
SEGMENT = 16  # steps between which the cache may grow and rows that are done may go
MOST_SEARCHES = 16  # graphs that are kept, the oldest given up first


def pad_to_multiple(array: np.ndarray, length: int) -> np.ndarray:
    """Zeros on the right, which the attention mask hides: (B, S) -> (B, the next multiple of `length`)."""
    return np.pad(array, ((0, 0), (0, -array.shape[1] % length)))


class Asked(NamedTuple):
    """What one call of `generate` is about, checked."""

    given: dict[str, np.ndarray]  # the batch, complete
    inputs: dict[str, np.ndarray]
    bounds: dict[str, Any]  # what a search is given besides logits
    side: str  # of the ids that it goes on from: "decoder_", or ""
    options: GenerationOptions
    rule: Rule | None = None

    @property
    def roomy(self) -> GenerationOptions:
        """What a graph depends on: with room for whole segments of tokens, and whether there is a least number at all,
        so that it serves all prompts where their length counts (`max_length`, `min_length`)."""
        most, least = self.options.max_new_tokens, self.options.min_new_tokens
        return replace(self.options.static, max_new_tokens=most + -most % SEGMENT, min_new_tokens=min(least, 1))

    def cropped(self, found: Generation) -> Generation:
        """As arrays, of as many tokens as were asked for."""
        arrays = Generation(*(None if field is None else np.asarray(field) for field in found))
        most, token_scores = self.options.max_new_tokens, arrays.token_scores
        return arrays._replace(
            sequences=arrays.sequences[..., :most],
            token_scores=None if token_scores is None else token_scores[..., :most],
        )


class Parts(NamedTuple):
    """A search in compiled parts."""

    search: Search
    begin: Any  # (inputs, bounds, free slots) -> SearchState
    go_on: Any  # (SearchState, until) -> (SearchState, Generation, which rows are open (B,))


class Generator:
    """The compiled searches of one model. A graph serves batches of all sizes."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.spec: ModelSpec = model.spec
        self.searches: dict[tuple[Any, ...], Any] = {}
        self.assistant: Assistant | None = None  # of the calls that name none

    def generate(
        self,
        batch: Batch,
        options: GenerationOptions,
        trie: TokenTrie | None = None,
        stops: StopTable | None = None,
        rule: Rule | None = None,
        assistant: Assistant | None = None,
    ) -> Generation:
        asked = self._prepared(batch, options, trie, stops)._replace(rule=rule)
        guesser, most = guesser_of(self.spec, asked.given, asked.options, assistant or self.assistant)
        if guesser is not None:
            return to_the_end(*self._ahead(asked, guesser, most))[0]
        if asked.options.max_new_tokens <= SEGMENT:
            search = self._compiled(asked, "whole", lambda: self._whole(asked))
            return asked.cropped(search(asked.inputs, asked.bounds))
        return self._by_segments(asked)

    def _by_segments(self, asked: "Asked") -> Generation:
        """The rows that are done leave the batch between two segments, and attention reads no more than is written."""
        parts, most = self._compiled(asked, "parts", lambda: self._parts(asked)), asked.options.max_new_tokens
        rows = Compaction(len(next(iter(asked.inputs.values()))))
        state, room = parts.begin(asked.inputs, asked.bounds, np.int32(SEGMENT)), SEGMENT
        while True:
            state, found, is_open = parts.go_on(state, np.int32(room))
            is_open = np.asarray(is_open)
            if room >= most or not is_open.any():
                return rows.whole(asked.cropped(found))
            still = rows.worth(is_open)
            if still is not None:
                rows.keep(still, asked.cropped(found))
                still = np.asarray(still, np.int32)
                state = parts.search.kept(state, still)._replace(state=state.state.at_rows(still))
            more = min(SEGMENT, most - room)
            state, room = state._replace(state=state.state.with_room(more)), room + more

    def stream(
        self,
        batch: Batch,
        options: GenerationOptions,
        stops: StopTable | None = None,
        every: int = 1,
        rule: Rule | None = None,
        assistant: Assistant | None = None,
    ) -> Iterator[Generation]:
        """What there is after each `every` tokens, until the search is over. Not for beams, which agree on nothing
        before the end (ConfigError)."""
        options.check_stream(every)
        asked = self._prepared(batch, options, None, stops)._replace(rule=rule)
        guesser, guesses = guesser_of(self.spec, asked.given, asked.options, assistant or self.assistant)
        if guesser is not None:
            yield from (found for found, _ in by_tokens(*self._ahead(asked, guesser, guesses), every))
            return
        parts, most = self._compiled(asked, "parts", lambda: self._parts(asked)), asked.options.max_new_tokens
        step, room = 0, min(every, most)
        state = parts.begin(asked.inputs, asked.bounds, np.int32(room))
        is_open = np.array(True)
        while is_open.any() and step < most:
            step = min(step + every, most)
            if step > room:
                more = min(max(SEGMENT, every), most - room)
                state, room = state._replace(state=state.state.with_room(more)), room + more
            state, found, is_open = parts.go_on(state, np.int32(step))
            is_open = np.asarray(is_open)
            yield asked.cropped(found)

    def _prepared(
        self, batch: Batch, options: GenerationOptions, trie: TokenTrie | None, stops: StopTable | None
    ) -> "Asked":
        given, options = prepared(batch, self.spec, options, trie)
        inputs, side = self._inputs(given)
        bounds = {
            "seeds": options.row_seeds(len(next(iter(inputs.values())))),
            "trie": () if trie is None else trie,
            "stops": () if stops is None else stops,
            "most": np.int32(options.max_new_tokens),
            "least": np.int32(options.min_new_tokens),
        }
        return Asked(given, inputs, bounds, side, options)

    def _ahead(self, asked: "Asked", guesser: Guesser, most: int) -> tuple[Search, SearchState]:
        """The search of NumPy before its first token, the network reading ahead of it what `guesser` tells."""
        options, inputs = asked.options, asked.inputs
        reading = self._reader(inputs, after_prompt).begun(inputs)
        given = self._given(inputs, asked.side, asked.bounds)
        start = np.full((reading.rows, 1), self.spec.tokens.decoder_start or 0, np.int32)
        prompt = given.get("prompt", start)
        real = given.get("prompt_mask", np.ones_like(start)) != 0
        last = np.where(real, np.arange(prompt.shape[1]), 0).max(axis=1, keepdims=True)
        past = Past.after(reading, texts_ahead(prompt, real, unread=1))
        search = Search(AheadStepper(reading, guesser, most, options.max_new_tokens), options, numpy_ops, asked.rule)
        return search, search.start(past, np.take_along_axis(prompt, last, axis=1), **given)

    def draft(self, given: dict[str, np.ndarray], options: GenerationOptions) -> Draft:
        """This model as another one's assistant, for one search over a prepared batch."""
        sources = source_keys(self.spec)
        if sources[0] not in given:
            raise InputError(f"assistant_model reads {sources[0]} itself, but the batch has none")
        inputs, _ = self._inputs({key: given[key] for key in sources if key in given})
        reading = self._reader(inputs, before_all).begun(inputs)
        return Draft(reading.likeliest, self.spec, reading.rows, options, overwrites=True)

    def _reader(self, inputs: dict[str, np.ndarray], begin: Callable[[Any], Any]) -> Reader:
        """The graphs that read what these inputs are of, from where `begin` begins."""
        known = list(inputs) if self.spec.source is not None else []
        key = ("reader", begin, *((name, inputs[name].shape[1:] if name in known else ()) for name in inputs))

        def build() -> Reader:
            begun = compiled(begin(self.model), inputs, np.int32(0), known=known)
            one = np.zeros((1, 1), np.int32)
            return Reader(begun, compiled_after(reading_on(self.model), begun, one, np.int32(0)))

        return self._kept(key, build)

    def _kept(self, key: tuple[Any, ...], build: Callable[[], Any]) -> Any:
        """What `build` makes, made once."""
        if key not in self.searches:
            if len(self.searches) == MOST_SEARCHES:
                del self.searches[next(iter(self.searches))]
            self.searches[key] = build()
        return self.searches[key]

    def _compiled(self, asked: "Asked", parts: str, build: Callable[[], Any]) -> Any:
        """One graph for all batches of a kind, or one for each part of a search."""
        known = self._known(asked)
        sizes = tuple((name, asked.inputs[name].shape[1:]) for name in known)
        kinds = tuple(bool(len(asked.bounds[name])) for name in ("seeds", "trie", "stops"))
        key = (parts, asked.roomy, asked.rule, tuple(asked.inputs), sizes, kinds)

        def in_graphs() -> Any:
            built = build()
            if parts == "whole":
                return compiled(built, asked.inputs, asked.bounds, known=known)
            begin = compiled(built.begin, asked.inputs, asked.bounds, np.int32(0), known=known)
            return built._replace(begin=begin, go_on=compiled_after(built.go_on, begin, np.int32(0)))

        return self._kept(key, in_graphs)

    def _known(self, asked: "Asked") -> list[str]:
        """The inputs whose sizes a graph knows. The rules on repetition need a prompt's length in it, so there are few
        of them; and images and sounds, whose sizes are fixed, come with fixed prompts."""
        has_source = self.spec.source is not None
        is_needed = has_source or reads_prompt(asked.options)
        return [name for name in asked.inputs if (is_needed if self._is_prompt(name) else has_source)]

    def _is_prompt(self, key: str) -> bool:
        """Whether these ids are continued: a language model's, and those given to an encoder-decoder's decoder."""
        return self.spec.form == "decoder" or key.startswith("decoder_")

    def _inputs(self, given: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], str]:
        """What the search reads, and the side whose ids it goes on from ("decoder_", or "")."""
        keys = (MEMORY,) if MEMORY in given else source_keys(self.spec)
        inputs = {key: given[key] for key in keys if key in given}
        side = "decoder_" if "decoder_input_ids" in given else ""
        if side:
            inputs |= {key: given[key] for key in DECODER_KEYS if key in given}
        for key, array in inputs.items():
            ids = array.astype(np.float32 if key in ("pixel_values", "input_features", MEMORY) else np.int32)
            continued = self.spec.form == "decoder" or (side and key in DECODER_KEYS)
            inputs[key] = pad_to_multiple(ids, PROMPT_BUCKET) if continued else ids
        return inputs, side

    def _begin(self, search: Search, side: str) -> Callable[[Batch, dict[str, Any], Any], SearchState]:
        """From a batch to the search before its first token, with room for some."""

        def begin(inputs: Batch, bounds: dict[str, Any], free: Any) -> SearchState:
            start_ids, state = self.model.decoding_state(inputs, search.options.width, free)
            bounds = {**bounds, "seeds": ops.reshape(bounds["seeds"], (-1, 2))}  # a graph of any size knows two words
            return search.start(state, start_ids, **self._given(inputs, side, bounds))

        return begin

    def _given(self, inputs: Batch, side: str, bounds: dict[str, Any]) -> Given:
        """What a search knows besides logits."""
        given: Given = {"seeds": bounds["seeds"], "most": bounds["most"], "least": bounds["least"]}
        if self.spec.form == "decoder" or side:
            given |= {"prompt": inputs[side + "input_ids"], "prompt_mask": inputs[side + "attention_mask"]}
        if "input_ids" in inputs:
            given |= {"source": inputs["input_ids"], "source_mask": inputs["attention_mask"]}
        if len(bounds["trie"]):
            given["trie"] = bounds["trie"]
        if len(bounds["stops"]):
            given["stops"] = bounds["stops"]
        return given

    def _search(self, asked: "Asked") -> Search:
        return Search(self.model.decoding_step, asked.roomy, ops, asked.rule)

    def _whole(self, asked: "Asked") -> Callable[..., Generation]:
        search = self._search(asked)
        begin = self._begin(search, asked.side)
        return lambda inputs, bounds: search.result(search.run(begin(inputs, bounds, bounds["most"])))

    def _parts(self, asked: "Asked") -> Parts:
        search = self._search(asked)

        def go_on(state: SearchState, until: Any) -> tuple[SearchState, Generation, Any]:
            state = search.run(state, until)
            return state, search.result(state), search.open_rows(state)

        return Parts(search, self._begin(search, asked.side), go_on)
