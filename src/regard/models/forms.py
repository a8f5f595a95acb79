"""The forms that build every family: encoder, decoder, encoder-decoder. A form reads a spec, never a family's name."""

import regard.nn  # noqa: F401  # first of all: it checks Keras's backend before Keras is imported

# isort: split
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
from keras import ops

from regard.batch import IGNORED_LABEL, Batch
from regard.decoding.lookahead import Guesser
from regard.decoding.options import Generation, GenerationOptions
from regard.decoding.processors import Rule
from regard.decoding.stops import StopTable
from regard.decoding.trie import TokenTrie
from regard.errors import InputError
from regard.models.assistant import Assistant, check_assistant
from regard.models.generation import Generator
from regard.models.inputs import MEMORY, check_batch, check_source
from regard.models.parts import Decoder, DecoderState, Encoded, Encoder, Tokens
from regard.nn.heads import ClassHead, PooledHead, Pooler, SpanHead, TokenHead
from regard.nn.losses import class_loss, mean_cross_entropy, mean_ctc, span_loss
from regard.nn.output import Output, Tensor
from regard.specs import HeadSpec, ModelSpec, PairSpec, PatchSpec


class Transformer(keras.Model):
    """What the forms share. `model(batch)` gives an `Output`; every variable exists once the model does."""

    generation_options: GenerationOptions
    source: Path | None = None  # the directory it was loaded from

    def __init__(self, spec: ModelSpec, dtype: str = "float32") -> None:
        # Keras would cast a batch's float arrays to the compute dtype (labels, pixels); the layers cast for themselves.
        super().__init__(name=spec.family, dtype=dtype, autocast=False)
        self.spec = spec
        # What the checkpoint's JSON files say that is no business of ours: it goes along when the model is saved.
        self.kept_config: dict[str, Any] = {}
        self.kept_generation: dict[str, Any] = {}
        self.companions: Mapping[str, Callable[[], bytes]] = {}  # files that go along, by name: the tokenizer's
        tokens = spec.tokens
        banned = () if tokens.pad is None or tokens.pad != tokens.decoder_start else ((tokens.pad,),)
        self.generation_options = GenerationOptions(
            eos_token_id=tokens.eos,
            pad_token_id=tokens.pad,
            bad_words_ids=banned,
        )
        self._generator: Generator | None = None

    def __call__(self, batch: Batch, *args: Any, **kwargs: Any) -> Output:
        """A batch's values may be tensors, arrays or nested lists; keys with None count as absent."""
        given = {key: value for key, value in batch.items() if value is not None}
        check_batch(given, self.spec)
        tensors = {key: ops.convert_to_tensor(value) for key, value in given.items()}
        return super().__call__(tensors, *args, **kwargs)

    def generate(
        self,
        batch: Batch,
        options: GenerationOptions | None = None,
        *,
        trie: TokenTrie | None = None,
        stops: StopTable | None = None,
        rule: Rule | None = None,
        assistant_model: Assistant | None = None,
        **overrides: Any,
    ) -> Generation:
        """Decode a batch: NumPy in, NumPy out. `overrides` are fields of `GenerationOptions`, whose defaults come with
        the checkpoint. trie: all that may be generated; stops: what ends a hypothesis besides eos; rule: one of the
        caller's own, hashable, see `Search`. assistant_model: a smaller model of the same vocabulary; where it is None,
        that of `take_assistant`. It guesses what this one then reads at once: the same texts, sooner, for one
        hypothesis a text. Raises ConfigError for options at odds with each other, InputError for a batch too long."""
        merged = (options or self.generation_options).merged(**overrides)
        return self.generator.generate(batch, merged, trie, stops, rule, assistant_model)

    def generate_stream(
        self,
        batch: Batch,
        options: GenerationOptions | None = None,
        *,
        stops: StopTable | None = None,
        rule: Rule | None = None,
        every: int = 1,
        assistant_model: Assistant | None = None,
        **overrides: Any,
    ) -> Iterator[Generation]:
        """As `generate`, without beams: what there is after each `every` tokens, the last time all of it."""
        merged = (options or self.generation_options).merged(**overrides)
        return self.generator.stream(batch, merged, stops, every, rule, assistant_model)

    def take_assistant(self, other: Assistant) -> None:
        """Let `other` guess where a call names nobody. Raises ConfigError where it cannot."""
        generator = self.generator  # which holds it: an attribute of a Keras model is a part of it
        check_assistant(self.spec, other.spec)
        generator.assistant = other

    def draft(self, given: dict[str, Any], options: GenerationOptions) -> Guesser:
        """This model as another one's assistant, for one search over a prepared batch of arrays."""
        return self.generator.draft(given, options)

    @property
    def generator(self) -> Generator:
        if self.spec.decoder is None or self.spec.output.kind != "language":
            what = "an encoder alone" if self.spec.decoder is None else f"one with a {self.spec.output.kind} head"
            raise InputError(f"generate needs a decoder that predicts tokens, but this model is {what}")
        if self._generator is None:
            self._generator = Generator(self)
        return self._generator

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Tensor:
        """For `fit`: the batch carries its own labels."""
        if y_pred is None or y_pred.loss is None:
            raise InputError("fit needs batches with labels, but this one has none")
        return y_pred.loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        return {metric.name: metric.result() for metric in self.metrics}

    def save(self, *_: Any, **__: Any) -> None:
        raise InputError("Keras's own format is not written: use regard.save_model(model, path)")


class EncoderModel(Transformer):
    """Hidden states of a text, an image or a sound, `last_hidden_state` (B, S, D), and what its head makes of them."""

    def __init__(self, spec: ModelSpec, dtype: str = "float32") -> None:
        super().__init__(spec, dtype)
        self.encoder = Encoder(spec, name="encoder", dtype=self.dtype_policy)
        self.encoder.build()
        self.head = build_head(spec, self.dtype_policy)
        self.built = True

    def call(self, batch: Batch, training: bool = False, return_attention: bool = False) -> Output:
        encoded = self.encoder(source_of(batch, self.spec), training=training)
        output = Output(last_hidden_state=encoded.hidden, attentions=encoded.weights if return_attention else None)
        kind, hidden, labels = self.spec.output.kind, encoded.hidden, batch.get("labels")
        first = None if encoded.source is None else encoded.source.first()
        if self.head is None:
            return output
        if kind == "hidden":
            return output._replace(pooler_output=self.head(hidden, place=first))
        if kind == "pooled":
            pooled, embeds = self.head(hidden, place=pooled_place(encoded.source, self.spec.output))
            side = "image_embeds" if encoded.source is None else "text_embeds"
            return output._replace(pooler_output=pooled, **{side: embeds})
        if kind == "span":
            return self.with_spans(output, batch, training)
        if kind == "sequence_class":
            logits = self.head(hidden, place=first, training=training)
            loss = None if labels is None else class_loss(logits, labels, self.spec.output.problem)
            return output._replace(logits=logits, loss=loss)
        head = self.logits if kind == "masked_language" else self.head
        logits = head(hidden, training=training)
        if kind == "ctc":
            loss = None if labels is None else mean_ctc(logits, labels, self.spec.tokens.pad)
            return output._replace(logits=logits, loss=loss)
        return output._replace(logits=logits, loss=None if labels is None else mean_cross_entropy(logits, labels))

    def logits(self, hidden: Tensor, training: bool = False) -> Tensor:
        """Of a masked language model: (..., D) -> (..., V)."""
        return self.head(hidden, embedding=self.encoder.embedding, training=training)

    def with_spans(self, output: Output, batch: Batch, training: bool) -> Output:
        starts, ends = self.head(output.last_hidden_state, training=training)
        loss = None
        if batch.get("start_positions") is not None and batch.get("end_positions") is not None:
            loss = span_loss(starts, ends, batch["start_positions"], batch["end_positions"])
        return output._replace(start_logits=starts, end_logits=ends, loss=loss)


class DecoderModel(Transformer):
    """A language model: each token's logits for the next one, (B, S, V). `labels` are the `input_ids` themselves, or
    -100: the shift by one is made here, as Transformers does. Or classes (B, C), read from each text's last token."""

    def __init__(self, spec: ModelSpec, dtype: str = "float32") -> None:
        super().__init__(spec, dtype)
        self.decoder = Decoder(spec, name="decoder", dtype=self.dtype_policy)
        self.decoder.build()
        self.head = build_head(spec, self.dtype_policy)
        self.built = True

    def call(self, batch: Batch, training: bool = False, return_attention: bool = False) -> Output:
        tokens, labels = Tokens.of(batch), batch.get("labels")
        decoded = self.decoder(tokens, training=training)
        output = Output(last_hidden_state=decoded.hidden, attentions=decoded.self_weights if return_attention else None)
        if self.head is None:
            return output
        if self.spec.output.kind == "sequence_class":
            logits = self.head(decoded.hidden, place=self.end_of(tokens), training=training)
            loss = None if labels is None else class_loss(logits, labels, self.spec.output.problem)
            return output._replace(logits=logits, loss=loss)
        logits = self.logits(decoded.hidden, training)
        loss = None if labels is None else mean_cross_entropy(logits[:, :-1], labels[:, 1:])
        return output._replace(logits=logits, loss=loss)

    def end_of(self, tokens: Tokens) -> Tensor:
        """Where each text has its last token that is not the padding's id, masked or not, as in Transformers: (B,);
        its first token where all of them are."""
        if self.spec.tokens.pad is None:
            return tokens.last()
        text = ops.cast(tokens.ids != self.spec.tokens.pad, "int32")
        if tokens.real is None:
            return tokens._replace(real=text).last()
        read = tokens._replace(real=text * ops.cast(tokens.real > 0, "int32"))
        return ops.maximum(read.last(), ops.cast(tokens.first(), "int32"))

    def logits(self, hidden: Tensor, training: bool = False) -> Tensor:
        return self.head(hidden, embedding=self.decoder.embedding, training=training)

    def decoding_state(self, batch: Batch, num_beams: int, capacity: int) -> tuple[Tensor, DecoderState]:
        """Read the prompts, and get ready for `capacity` steps: the first ids (B, W) and the state."""
        return self.decoder.begin_after(Tokens.of(batch), num_beams, capacity)

    def decoding_step(self, ids: Tensor, parents: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        hidden, state = self.decoder.step(ids, parents, state)
        return self.logits(hidden), state


class EncoderDecoderModel(Transformer):
    """The original Transformer: source in, target out. `labels` (B, T) are the target with its eos; the decoder reads
    them shifted right, from `spec.tokens.decoder_start`. The source may be an image or a sound."""

    def __init__(self, spec: ModelSpec, dtype: str = "float32") -> None:
        super().__init__(spec, dtype)
        self.encoder = Encoder(spec, name="encoder", dtype=self.dtype_policy)
        self.encoder.build()
        embedding = self.encoder.embedding if spec.shared_embedding else None
        self.decoder = Decoder(spec, embedding=embedding, name="decoder", dtype=self.dtype_policy)
        self.decoder.build()
        self.head = build_head(spec, self.dtype_policy)
        if spec.encoder_pooler is not None and spec.encoder is not None:
            width = spec.encoder.layer.width
            self.encoder_pooler = Pooler(spec.encoder_pooler, width, name="encoder_pooler", dtype=self.dtype_policy)
            self.encoder_pooler.build()
            self.encoder_pooler.trainable = False
        self.built = True

    def call(self, batch: Batch, training: bool = False, return_attention: bool = False) -> Output:
        encoded = self.encoded(batch, training)
        decoded = self.decoder(self.target(batch), encoded, training=training)
        logits = loss = None
        if self.head is not None:
            logits, labels = self.logits(decoded.hidden, training), batch.get("labels")
            loss = None if labels is None else mean_cross_entropy(logits, labels)
        return Output(
            loss=loss,
            logits=logits,
            last_hidden_state=decoded.hidden,
            encoder_last_hidden_state=encoded.hidden,
            attentions=decoded.self_weights if return_attention else None,
            encoder_attentions=encoded.weights if return_attention else None,
            cross_attentions=decoded.cross_weights if return_attention else None,
        )

    def encode(self, batch: Batch) -> Tensor:
        """What the encoder makes of an image or a sound, (B, S, D): as `encoder_last_hidden_state` in a batch, it is
        decoded any number of times."""
        check_source(batch, self.spec)
        return self.encoder(source_of(batch, self.spec)).hidden

    def encoded(self, batch: Batch, training: bool = False) -> Encoded:
        if batch.get(MEMORY) is not None:
            return Encoded(ops.cast(batch[MEMORY], self.compute_dtype), ())
        found: Encoded = self.encoder(source_of(batch, self.spec), training=training)
        return found

    def target(self, batch: Batch) -> Tokens:
        if batch.get("decoder_input_ids") is not None:
            return Tokens.of(batch, "decoder_")
        if batch.get("labels") is None:
            raise InputError("an encoder-decoder needs decoder_input_ids or labels in the batch, but has neither")
        tokens = self.spec.tokens
        start = last_label(batch["labels"], tokens.pad) if self.spec.start_from_labels else tokens.decoder_start
        shifted = shift_right(batch["labels"], start, tokens.pad or 0)
        return Tokens.of({**batch, "decoder_input_ids": shifted}, "decoder_")

    def logits(self, hidden: Tensor, training: bool = False) -> Tensor:
        return self.head(hidden, embedding=self.decoder.embedding, training=training)

    def decoding_state(self, batch: Batch, num_beams: int, capacity: int) -> tuple[Tensor, DecoderState]:
        """Encode once, and get ready for `capacity` steps: the first ids (B, W) and the state. A batch with
        `decoder_input_ids` goes on from these."""
        encoded = self.encoded(batch)
        if batch.get("decoder_input_ids") is None:
            return self.decoder.begin_from(encoded, num_beams, capacity)
        return self.decoder.begin_after(Tokens.of(batch, "decoder_"), num_beams, capacity, encoded)

    def decoding_step(self, ids: Tensor, parents: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        hidden, state = self.decoder.step(ids, parents, state)
        return self.logits(hidden), state


def source_of(batch: Batch, spec: ModelSpec) -> Tokens | Tensor:
    """What the encoder reads: tokens, pixels (B, height, width, C) or log-mel frames (B, A, M)."""
    if spec.source is None:
        return Tokens.of(batch)
    return batch["pixel_values" if isinstance(spec.source, PatchSpec) else "input_features"]


def pooled_place(source: Tokens | None, head: HeadSpec) -> Tensor | None:
    """Where each row of a text has the token that stands for it: (B,); None for the first one, as in images."""
    if source is None or head.pool == "first":
        return None if source is None else source.first()
    return source.found(head.token)


def build_head(spec: ModelSpec, policy: Any, name: str = "head") -> Any:
    """The layer of `spec.head`; None where there is none to build."""
    head = spec.output
    width = (spec.decoder or spec.encoder).layer.width  # type: ignore[union-attr]
    own = {"name": name, "dtype": policy}
    layer: Any = None
    if head.predicts_tokens:
        layer = TokenHead(head, spec.text, spec.logits_bias, **own)
    elif head.kind == "span":
        layer = SpanHead(head, width, **own)
    elif head.kind == "pooled":
        layer = PooledHead(head, width, **own)
    elif head.labels:
        layer = ClassHead(head, width, **own)
    elif head.dense is not None:
        layer = Pooler(head, width, **own)
    if layer is not None:
        layer.build()
    return layer


def shift_right(labels: Tensor, start: Tensor | int | None, pad: int) -> Tensor:
    """What the decoder reads to predict `labels`: the start token, one for all or (B, 1), then all but the last label;
    ignored ones as pad."""
    labels = ops.cast(labels, "int32")
    before = ops.concatenate([ops.zeros_like(labels[:, :1]) + start, labels[:, :-1]], axis=1)
    return ops.where(before == IGNORED_LABEL, ops.full_like(before, pad), before)


def last_label(labels: Tensor, pad: int | None) -> Tensor:
    """The last label of each row, its padding on the right: (B, T) -> (B, 1)."""
    labels = ops.cast(labels, "int32")
    ignored = labels == IGNORED_LABEL
    real = ops.logical_not(ignored if pad is None else ops.logical_or(ignored, labels == pad))
    count = ops.sum(ops.cast(real, "int32"), axis=1, keepdims=True)
    return ops.take_along_axis(labels, ops.maximum(count - 1, 0), axis=1)


FORMS: dict[str, type[Transformer]] = {
    "encoder": EncoderModel,
    "decoder": DecoderModel,
    "encoder-decoder": EncoderDecoderModel,
}


def build_model(spec: ModelSpec, dtype: str = "float32") -> Transformer:
    """A network with fresh weights. dtype: a Keras policy ("float32", "mixed_bfloat16", "bfloat16", "float64")."""
    if isinstance(spec, PairSpec):
        from regard.models.pair import PairModel  # a form too, which stands on this file

        return PairModel(spec, dtype)
    return FORMS[spec.form](spec, dtype)
