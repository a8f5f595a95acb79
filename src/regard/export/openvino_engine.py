"""Decoding by OpenVINO: the searches of `decoding` over a network that needs neither Keras nor TensorFlow."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import openvino as ov

from regard.batch import Batch
from regard.decoding import numpy_ops
from regard.decoding.loop import Search, SearchState
from regard.decoding.options import Generation, GenerationOptions
from regard.decoding.processors import Rule
from regard.decoding.shortlist import Shortlist, shortlist_bias, shortlist_size
from regard.decoding.stops import StopTable
from regard.decoding.trie import TokenTrie
from regard.errors import ConfigError, InputError
from regard.models.inputs import MEMORY, source_keys
from regard.models.prompts import prepared
from regard.specs import ModelSpec

Precision = Literal["float32", "bfloat16"]
_HINTS = {"float32": "f32", "bfloat16": "bf16"}
_FORBIDDEN = np.float32(-1e38)
_UNREAD = ("segment_ids", "position_ids", "token_type_ids", MEMORY)
_WORTH_CUTTING = 0.75  # rows go when at most this share of them is open


class Past(NamedTuple):
    """What the decoder's next step must know besides the tokens; its cache is in the request."""

    real: np.ndarray  # (B, S) int32: 0 where there is padding
    first: np.ndarray | None  # (B, P) int32: what the first step reads; None after it
    together: bool  # the cache holds one row a text yet, for all of its hypotheses
    cut: np.ndarray | None  # (B,) int64: of which of the rows before each is, where some have gone; None: all are there
    memory: Mapping[str, np.ndarray]


class OpenVINOEngine:
    """One compiled network, for one call at a time: `generate` as a Keras model of Regard has it.

    The rows of a batch that are done leave it, so that the others do not wait for them.
    """

    def __init__(
        self,
        spec: ModelSpec,
        decoder: ov.Model,
        encoder: ov.Model | None,
        options: GenerationOptions,
        precision: Precision = "float32",
    ) -> None:
        """precision: of the products; sums, norms and scores of the search are float32."""
        self.spec, self.generation_options = spec, options
        self.kept_config: dict[str, Any] = {}
        self.kept_generation: dict[str, Any] = {}
        self.companions: Mapping[str, Callable[[], bytes]] = {}
        core = ov.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "KV_CACHE_PRECISION": _HINTS[precision],
        }
        self._decoder = core.compile_model(decoder, "CPU", settings).create_infer_request()
        self._encoder = None
        if encoder is not None:
            self._encoder = core.compile_model(encoder, "CPU", settings).create_infer_request()

    def generate(
        self,
        batch: Batch,
        options: GenerationOptions | None = None,
        *,
        trie: TokenTrie | None = None,
        stops: StopTable | None = None,
        rule: Rule | None = None,
        **overrides: Any,
    ) -> Generation:
        """Decode a batch: NumPy in, NumPy out. As `Transformer.generate` of the models."""
        search, state = self._begin(batch, (options or self.generation_options).merged(**overrides), trie, stops, rule)
        batch_size, found = len(state.ids), None
        rows = np.arange(batch_size)
        while search.is_open(state):
            state = search.extend(state)
            still = np.flatnonzero(search.open_rows(state))
            if 0 < len(still) <= _WORTH_CUTTING * len(rows):
                found = _with_rows(found, search.result(state), rows, batch_size)
                state = search.kept(state, still)._replace(state=_cut(state.state, still))
                rows = rows[still]
        return _with_rows(found, search.result(state), rows, batch_size)

    def generate_stream(
        self,
        batch: Batch,
        options: GenerationOptions | None = None,
        *,
        stops: StopTable | None = None,
        every: int = 1,
        **overrides: Any,
    ) -> Iterator[Generation]:
        """As `generate`, without beams: what there is after each `every` tokens, the last time all of it."""
        merged = (options or self.generation_options).merged(**overrides)
        if merged.num_beams > 1:
            raise ConfigError(
                f"a stream needs num_beams=1, for beams agree on no token before the end, but has {merged.num_beams}"
            )
        search, state = self._begin(batch, merged, None, stops, None)
        while search.is_open(state):
            for _ in range(every):
                if search.is_open(state):
                    state = search.extend(state)
            yield search.result(state)

    def _begin(
        self,
        batch: Batch,
        options: GenerationOptions,
        trie: TokenTrie | None,
        stops: StopTable | None,
        rule: Rule | None,
    ) -> tuple[Search, SearchState]:
        for key in _UNREAD:
            if batch.get(key) is not None:
                raise InputError(f"generate by OpenVINO reads no {key}: leave it out, or use the TensorFlow engine")
        given, options = prepared(batch, self.spec, options, trie)
        self._decoder.reset_state()
        prompt, real, known = self._prompt(given)
        past = Past(real, prompt, True, None, self._encoded(given))
        stepper = _Stepper(self._decoder, options, self.spec.text.vocab_size, trie is not None or rule is not None)
        search = Search(stepper, options, numpy_ops, rule)
        if options.do_sample:
            known["seeds"] = options.row_seeds(len(prompt))
        start_ids = np.repeat(prompt[:, -1:], options.width, axis=1)
        known |= {name: table for name, table in (("trie", trie), ("stops", stops)) if table is not None}
        state = search.start(past, start_ids, **known)
        alone = (state.rows.prompt >= 0).sum(axis=-1) <= 1
        stepper.unprompted = bool(alone[0]) if (alone == alone[0]).all() else None
        return search, state

    def _prompt(self, given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """The ids that the decoder goes on from, (B, P) with padding on the left, which of them are real, and what the
        rules of the search are given."""
        known: dict[str, Any] = {}
        if "input_ids" in given:
            known = {"source": given["input_ids"].astype(np.int32), "source_mask": _mask_of(given, "")}
        side = "" if self.spec.form == "decoder" else "decoder_"
        if side + "input_ids" in given:
            known |= {"prompt": given[side + "input_ids"].astype(np.int32), "prompt_mask": _mask_of(given, side)}
            return *_to_the_right(known["prompt"], known["prompt_mask"]), known
        start = np.full((len(given[source_keys(self.spec)[0]]), 1), self.spec.tokens.decoder_start, np.int32)
        return start, np.ones_like(start), known

    def _encoded(self, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The memory of a batch, by the names of the decoder's inputs."""
        if self._encoder is None:
            return {}
        first = source_keys(self.spec)[0]
        if self.spec.source is None:
            real = _mask_of(given, "")
            feed = {"input_ids": given["input_ids"].astype(np.int32), "attention_mask": real}
        else:
            real, feed = None, {first: given[first].astype(np.float32)}
        self._encoder.infer(feed, share_inputs=True)
        names = [port.get_any_name() for port in self._encoder.model_outputs]
        memory = {name: self._encoder.get_tensor(name).data.copy() for name in names}
        rows, length = memory["memory_keys_0"].shape[0], memory["memory_keys_0"].shape[2]
        mask = np.zeros((rows, 1, 1, length), np.float32)
        if real is not None:
            mask[:, 0, 0] = np.where(real != 0, 0, _FORBIDDEN)
        return {**memory, "memory_mask": mask}


class _Stepper:
    """The step of one search: it knows which tokens the search will ask for."""

    def __init__(self, request: Any, options: GenerationOptions, vocab_size: int, guided: bool) -> None:
        self.request, self.options, self.vocab_size, self.guided = request, options, vocab_size, guided
        self.unprompted: bool | None = False
        self.step = 0
        self.nothing = np.zeros(vocab_size, np.float32)

    def __call__(self, ids: np.ndarray, parents: np.ndarray, past: Past) -> tuple[Any, Past]:
        batch, width = ids.shape
        bias = None
        if not self.guided:
            bias = shortlist_bias(self.options, self.step, self.vocab_size, self.unprompted)
        count = 1 if bias is None else shortlist_size(self.options, self.vocab_size)
        feed, past = self._feed(ids, parents, past)
        feed |= {"bias": self.nothing if bias is None else bias, "count": np.array(count, np.int64)}
        self.request.infer(feed, share_inputs=True)
        self.step += 1
        names = ("logits",) if bias is None else ("log_probs", "ids")
        found = [self._of_each(self.request.get_tensor(name).data, batch, width) for name in names]
        return found[0] if bias is None else Shortlist(*found), past

    def _of_each(self, rows: np.ndarray, batch: int, width: int) -> np.ndarray:
        """(R, C) -> (B, W, C); before the first token all hypotheses of a text are one row."""
        if len(rows) == batch:
            return np.broadcast_to(rows[:, None], (batch, width, rows.shape[-1]))
        return rows.reshape(batch, width, -1)

    def _feed(self, ids: np.ndarray, parents: np.ndarray, past: Past) -> tuple[dict[str, Any], Past]:
        batch, width = ids.shape
        if past.first is not None:
            places = np.maximum(np.cumsum(past.real, axis=1) - 1, 0).astype(np.int32)
            rows = np.arange(batch, dtype=np.int32)
            feed = {"input_ids": past.first, "attention_mask": past.real, "position_ids": places, "beam_idx": rows}
            return {**feed, **past.memory}, past._replace(first=None)
        real = np.concatenate([past.real, np.ones((batch, 1), np.int32)], axis=1)
        cached = (np.arange(batch) if past.cut is None else past.cut)[:, None]
        rows = np.broadcast_to(cached, (batch, width)) if past.together else cached * width + parents
        feed = {
            "input_ids": ids.reshape(-1, 1).astype(np.int32),
            "attention_mask": np.repeat(real, width, axis=0),
            "position_ids": np.repeat(real.sum(axis=1, dtype=np.int32) - 1, width)[:, None],
            "beam_idx": rows.reshape(-1).astype(np.int32),
        }
        if past.cut is not None:  # else the request has it still
            feed |= past.memory
        return feed, past._replace(real=real, together=False, cut=None)


def _cut(past: Past, places: np.ndarray) -> Past:
    """The rows at `places` alone. The cache follows with the next step, which says where each row's past stands."""
    cut = places if past.cut is None else past.cut[places]
    memory = {name: value[places] for name, value in past.memory.items()}
    return past._replace(real=past.real[places], cut=cut, memory=memory)


def _with_rows(found: Generation | None, more: Generation, rows: np.ndarray, batch: int) -> Generation:
    """`more` is of these rows of the batch, and replaces what `found` has of them."""
    if found is None and len(rows) == batch:
        return more
    olds = (None,) * len(more) if found is None else found
    return Generation(*(_placed(old, new, rows, batch) for old, new in zip(olds, more, strict=True)))


def _placed(old: np.ndarray | None, new: np.ndarray | None, rows: np.ndarray, batch: int) -> np.ndarray | None:
    if new is None:
        return None
    array = np.zeros((batch, *new.shape[1:]), new.dtype) if old is None else np.array(old)
    array[rows] = new
    return array


def _mask_of(given: Mapping[str, np.ndarray], side: str) -> np.ndarray:
    return (given[side + "attention_mask"] != 0).astype(np.int32)


def _to_the_right(ids: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The padding before the text, so that all texts end in the last column."""
    order = np.argsort(real, axis=1, kind="stable")
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(real, order, axis=1)
