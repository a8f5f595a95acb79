"""`model.generate`: a batch of NumPy arrays through the one search, compiled once for each set of options."""

import regard.nn  # noqa: F401  # first of all: it checks Keras's backend before Keras is imported

# isort: split
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from regard.batch import Batch
from regard.decoding.loop import Given, Search, SearchState
from regard.decoding.options import Generation, GenerationOptions
from regard.decoding.processors import Rule, reads_prompt
from regard.decoding.stops import StopTable
from regard.decoding.trie import TokenTrie
from regard.models.inputs import DECODER_KEYS, MEMORY, source_keys
from regard.models.prompts import prepared
from regard.nn.kernels import compiled, traced
from regard.specs import ModelSpec

PROMPT_BUCKET = 32  # tokens
MOST_SEARCHES = 16  # graphs that are kept, the oldest given up first


def pad_to_multiple(array: np.ndarray, length: int) -> np.ndarray:
    """Zeros on the right, which the attention mask hides: (B, S) -> (B, the next multiple of `length`)."""
    return np.pad(array, ((0, 0), (0, -array.shape[1] % length)))


class Asked(NamedTuple):
    """What one call of `generate` is about, checked."""

    inputs: dict[str, np.ndarray]
    bounds: dict[str, Any]  # what a search is given besides logits
    side: str  # of the ids that it goes on from: "decoder_", or ""
    options: GenerationOptions
    rule: Rule | None = None


def _as_arrays(found: Generation) -> Generation:
    return Generation(*(None if field is None else np.asarray(field) for field in found))


class Generator:
    """The compiled searches of one model. A graph serves batches of all sizes."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.spec: ModelSpec = model.spec
        self.searches: dict[tuple[Any, ...], Any] = {}

    def generate(
        self,
        batch: Batch,
        options: GenerationOptions,
        trie: TokenTrie | None = None,
        stops: StopTable | None = None,
        rule: Rule | None = None,
    ) -> Generation:
        asked = self._prepared(batch, options, trie, stops)._replace(rule=rule)
        search = self._compiled(asked, "whole", lambda: self._whole(asked))
        return _as_arrays(search(asked.inputs, asked.bounds))

    def stream(
        self,
        batch: Batch,
        options: GenerationOptions,
        stops: StopTable | None = None,
        every: int = 1,
        rule: Rule | None = None,
    ) -> Iterator[Generation]:
        """What there is after each `every` tokens, until the search is over. Not for beams, which agree on nothing
        before the end (ConfigError)."""
        asked = self._prepared(batch, options, None, stops)._replace(rule=rule)
        begin, go_on = self._compiled(asked, "parts", lambda: self._parts(asked))
        state, step, more = begin(asked.inputs, asked.bounds), 0, True
        while more:
            step += every
            state, found, more = go_on(state, np.array(step, np.int32))
            yield _as_arrays(found)

    def _prepared(
        self, batch: Batch, options: GenerationOptions, trie: TokenTrie | None, stops: StopTable | None
    ) -> "Asked":
        given, options = prepared(batch, self.spec, options, trie)
        inputs, side = self._inputs(given)
        bounds = {
            "seeds": options.row_seeds(len(next(iter(inputs.values())))),
            "trie": () if trie is None else trie,
            "stops": () if stops is None else stops,
        }
        return Asked(inputs, bounds, side, options)

    def _compiled(self, asked: "Asked", parts: str, build: Callable[[], Any]) -> Any:
        """One graph for all batches of a kind, or for the parts of a search one for the first shape and one for all."""
        known = self._known(asked)
        sizes = tuple((name, asked.inputs[name].shape[1:]) for name in known)
        kinds = tuple(bool(len(bound)) for bound in asked.bounds.values())
        key = (parts, asked.options.static, asked.rule, tuple(asked.inputs), sizes, kinds)
        if key not in self.searches:
            if len(self.searches) == MOST_SEARCHES:
                del self.searches[next(iter(self.searches))]
            built = build()
            self.searches[key] = built if parts == "parts" else compiled(built, asked.inputs, asked.bounds, known=known)
        return self.searches[key]

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

    def _begin(self, search: Search, side: str) -> Callable[[Batch, dict[str, Any]], SearchState]:
        """From a batch to the search before its first token."""

        def begin(inputs: Batch, bounds: dict[str, Any]) -> SearchState:
            options = search.options
            start_ids, state = self.model.decoding_state(inputs, options.width, options.max_new_tokens)
            given: Given = {"seeds": ops.reshape(bounds["seeds"], (-1, 2))}  # a graph of any size knows two words
            if self.spec.form == "decoder" or side:
                given |= {"prompt": inputs[side + "input_ids"], "prompt_mask": inputs[side + "attention_mask"]}
            if "input_ids" in inputs:
                given |= {"source": inputs["input_ids"], "source_mask": inputs["attention_mask"]}
            if len(bounds["trie"]):
                given["trie"] = bounds["trie"]
            if len(bounds["stops"]):
                given["stops"] = bounds["stops"]
            return search.start(state, start_ids, **given)

        return begin

    def _search(self, asked: "Asked") -> Search:
        return Search(self.model.decoding_step, asked.options.static, ops, asked.rule)

    def _whole(self, asked: "Asked") -> Callable[..., Generation]:
        search = self._search(asked)
        begin = self._begin(search, asked.side)
        return lambda inputs, bounds: search.result(search.run(begin(inputs, bounds)))

    def _parts(self, asked: "Asked") -> tuple[Callable[..., Any], Callable[..., Any]]:
        search = self._search(asked)

        def go_on(state: SearchState, until: Any) -> tuple[SearchState, Generation, Any]:
            state = search.run(state, until)
            return state, search.result(state), search.is_open(state)

        return traced(self._begin(search, asked.side)), traced(go_on)
