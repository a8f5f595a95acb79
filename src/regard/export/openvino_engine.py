"""Decoding by OpenVINO: the searches of `decoding` over a network that needs neither Keras nor TensorFlow."""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import openvino as ov

from regard.batch import Batch
from regard.decoding import numpy_ops
from regard.decoding.best_tokens import best_count
from regard.decoding.draft import Draft
from regard.decoding.lexical_shortlist import LexicalShortlist
from regard.decoding.loop import Search, SearchState
from regard.decoding.options import Generation, GenerationOptions
from regard.decoding.processors import Rule
from regard.decoding.stepwise import by_tokens, to_the_end
from regard.decoding.stops import StopTable
from regard.decoding.trie import TokenTrie
from regard.errors import ConfigError, InputError
from regard.export.openvino_prefix import PrefixCache, can_be_kept
from regard.export.openvino_request import Request
from regard.export.openvino_shortlist import OutputLayer
from regard.export.openvino_step import DraftReader, Past, Stepper
from regard.models.assistant import check_assistant, guesser_of, texts_ahead
from regard.models.inputs import MEMORY, source_keys
from regard.models.prompts import prepared
from regard.specs import ModelSpec

Precision = Literal["float32", "bfloat16"]
_HINTS = {"float32": "f32", "bfloat16": "bf16"}
_NUMBERS_A_SCALE = 128  # of activations, where the processor multiplies 8 bits: fewer are more exact, and slower
READ_TOGETHER = 8  # texts of a batch that the encoder reads at once; fewer fill no product
_FORBIDDEN = np.float32(-1e38)
_UNREAD = ("segment_ids", "position_ids", "token_type_ids", MEMORY)


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
        output: ov.Model | None = None,
        shortlist: LexicalShortlist | None = None,
    ) -> None:
        """precision: of the products; sums, norms and scores of the search are float32. output: the output layer, where
        the decoder scores the tokens of `shortlist` alone."""
        self.spec, self.generation_options = spec, options
        self.kept_config: dict[str, Any] = {}
        self.kept_generation: dict[str, Any] = {}
        self.companions: Mapping[str, Callable[[], bytes]] = {}
        self.assistant_model: OpenVINOEngine | None = None  # of the calls that name none
        self._calls = 0  # begun: the last one has the cache
        core = ov.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "KV_CACHE_PRECISION": _HINTS[precision],
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": _NUMBERS_A_SCALE,
            **_threads(),
        }
        self._decoder = Request(core.compile_model(decoder, "CPU", settings))
        self._prefix = PrefixCache(self._decoder, spec.text.vocab_size) if can_be_kept(spec) else None
        self._encoder = None
        if encoder is not None:
            self._encoder = Request(core.compile_model(encoder, "CPU", settings))
        self._output = None
        if output is not None and shortlist is not None:
            self._output = OutputLayer(Request(core.compile_model(output, "CPU", settings)), shortlist)

    def generate(
        self,
        batch: Batch,
        options: GenerationOptions | None = None,
        *,
        trie: TokenTrie | None = None,
        stops: StopTable | None = None,
        rule: Rule | None = None,
        assistant_model: "OpenVINOEngine | None" = None,
        **overrides: Any,
    ) -> Generation:
        """Decode a batch: NumPy in, NumPy out. As `Transformer.generate` of the models.

        assistant_model: a smaller model of the same vocabulary, `self.assistant_model` where it is None. It guesses
        what this one then reads at once: the same texts, sooner. For one hypothesis a text.
        """
        merged = (options or self.generation_options).merged(**overrides)
        search, state = self._begin(batch, merged, trie, stops, rule, assistant_model)
        found, state = to_the_end(search, state)
        self._end(search, state)
        return found

    def generate_stream(
        self,
        batch: Batch,
        options: GenerationOptions | None = None,
        *,
        stops: StopTable | None = None,
        every: int = 1,
        assistant_model: "OpenVINOEngine | None" = None,
        **overrides: Any,
    ) -> Iterator[Generation]:
        """As `generate`, without beams: what there is after each `every` tokens, the last time all of it.

        A stream may be left at any time, but not gone on with after another call: InputError.
        """
        merged = (options or self.generation_options).merged(**overrides)
        merged.check_stream(every)
        search, first = self._begin(batch, merged, None, stops, None, assistant_model)
        call = self._calls
        for found, state in by_tokens(search, first, every):
            self._end(search, state)  # whoever reads the stream may leave it here
            yield found
            if search.is_open(state):
                self._go_on(call)

    def _go_on(self, call: int) -> None:
        """The stream of a call is asked for more: until there is some, nothing is sure of what the cache holds."""
        if call != self._calls:
            raise InputError(
                "a stream was left for another call, which has the cache now: begin it again, or load the model twice"
            )
        if self._prefix is not None:
            self._prefix.drop()

    def _begin(
        self,
        batch: Batch,
        options: GenerationOptions,
        trie: TokenTrie | None,
        stops: StopTable | None,
        rule: Rule | None,
        assistant: "OpenVINOEngine | None",
    ) -> tuple[Search, SearchState]:
        for key in _UNREAD:
            if batch.get(key) is not None:
                raise InputError(f"generate by OpenVINO reads no {key}: leave it out, or use the TensorFlow engine")
        given, options = prepared(batch, self.spec, options, trie)
        self._calls += 1
        prompt, real, known = self._prompt(given)
        assistant = assistant or self.assistant_model
        if assistant is not None:
            self._check_assistant(assistant)
        guesser, most = guesser_of(self.spec, given, options, assistant)
        ahead = () if guesser is None else texts_ahead(prompt, real)
        if self._prefix is None:
            self._decoder.forget()
            first = prompt
        else:
            first, real = self._prefix.begin(prompt, real)
        memory, offered = self._encoded(given), None
        if self._output is not None:
            least = best_count(options, self.spec.text.vocab_size)
            source = known["source"], known["source_mask"]
            offered, memory["offered"] = self._output.of_batch(*source, options.eos_ids, least)
        past = Past(real, first, True, None, memory, ahead)
        guided = trie is not None or rule is not None
        stepper = Stepper(self._decoder, options, self.spec.text.vocab_size, guided, guesser, most, offered)
        search = Search(stepper, options, numpy_ops, rule)
        if options.do_sample:
            known["seeds"] = options.row_seeds(len(prompt))
        start_ids = np.repeat(prompt[:, -1:], options.width, axis=1)
        known |= {name: table for name, table in (("trie", trie), ("stops", stops)) if table is not None}
        state = search.start(past, start_ids, **known)
        alone = (state.rows.prompt >= 0).sum(axis=-1) <= 1
        stepper.unprompted = bool(alone[0]) if (alone == alone[0]).all() else None
        return search, state

    def take_assistant(self, other: "OpenVINOEngine") -> None:
        """Let `other` guess where a call names nobody. Raises ConfigError where it cannot."""
        self._check_assistant(other)
        self.assistant_model = other

    def _check_assistant(self, other: "OpenVINOEngine") -> None:
        if other is self:
            raise ConfigError("assistant_model must be another engine, for each has one cache: load the model again")
        check_assistant(self.spec, other.spec)

    def draft(self, given: dict[str, np.ndarray], options: GenerationOptions) -> Draft:
        """This model as another one's assistant, for one search over a prepared batch."""
        if self._output is not None:
            raise ConfigError("assistant_model must score its whole vocabulary: load it without a shortlist")
        self._calls += 1
        if self._prefix is not None:
            self._prefix.drop()
        self._decoder.forget()
        rows = len(given[source_keys(self.spec)[0]])
        return Draft(DraftReader(self._decoder, self._encoded(given), self.spec), self.spec, rows, options)

    def _end(self, search: Search, state: SearchState) -> None:
        """Keep for the next call what the cache holds."""
        if self._prefix is not None:
            whole, written = search.result(state), None
            if whole.lengths.shape == (1, 1) and search.options.width == 1:
                written = whole.sequences[0, 0, : int(whole.lengths[0, 0])]
            self._prefix.end(state.state.real, written)

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
            return self._read_by_length(given["input_ids"].astype(np.int32), _mask_of(given, ""))
        self._encoder.run({first: given[first].astype(np.float32)})
        memory = {name: self._encoder.result(name).copy() for name in self._encoder.results}
        rows, _, length, _ = memory["memory_values_0"].shape
        return {**memory, "memory_mask": np.zeros((rows, 1, 1, length), np.float32)}

    def _read_by_length(self, ids: np.ndarray, real: np.ndarray) -> dict[str, np.ndarray]:
        """The memory of texts (B, S), those of like lengths read together: padding costs as much as text."""
        assert self._encoder is not None
        order = np.argsort(1 - real, axis=1, kind="stable")  # the padding after the text
        ids, real = (np.take_along_axis(array, order, axis=1) for array in (ids, real))
        lengths, memory = real.sum(axis=1), {}
        longest = max(int(lengths.max()), 1)
        for rows in np.array_split(np.argsort(lengths, kind="stable"), max(1, len(ids) // READ_TOGETHER)):
            length = max(int(lengths[rows].max()), 1)
            self._encoder.run({"input_ids": ids[rows, :length], "attention_mask": real[rows, :length]})
            for name in self._encoder.results:
                found = self._encoder.result(name)
                if name not in memory:
                    sizes = [longest if size is None else size for size in self._encoder.sizes[name][1:]]
                    memory[name] = np.zeros((len(ids), *sizes), np.float32)
                memory[name][rows, :, : found.shape[2], : found.shape[3]] = found
        mask = np.where(real[:, None, None, :longest] != 0, np.float32(0), _FORBIDDEN)
        return {**memory, "memory_mask": mask}


def _threads() -> dict[str, int]:
    """One process of several is told its share of the processor by OMP_NUM_THREADS, which OpenVINO does not read."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return {"INFERENCE_NUM_THREADS": int(told)} if told.isdecimal() and int(told) else {}


def _mask_of(given: Mapping[str, np.ndarray], side: str) -> np.ndarray:
    return (given[side + "attention_mask"] != 0).astype(np.int32)


def _to_the_right(ids: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The padding before the text, so that all texts end in the last column."""
    order = np.argsort(real, axis=1, kind="stable")
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(real, order, axis=1)
