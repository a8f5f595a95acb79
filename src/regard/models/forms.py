"""The forms that build every family: encoder, decoder, encoder-decoder. A form reads a spec, never a family's name."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from regard.batch import IGNORED_LABEL, Batch
from regard.decoding.options import Generation, GenerationOptions
from regard.errors import InputError
from regard.models.generation import Generator, check_ids
from regard.models.parts import Decoder, DecoderState, Encoded, Encoder, Tokens
from regard.nn.losses import cross_entropy
from regard.nn.output import Output, Tensor
from regard.specs import ModelSpec


class Transformer(keras.Model):
    """What the forms share. `model(batch)` gives an `Output`; every variable exists once the model does."""

    generation_options: GenerationOptions
    source: Path | None = None  # the directory it was loaded from

    def __init__(self, spec: ModelSpec, dtype: str = "float32") -> None:
        # Keras would cast a batch's float arrays to the compute dtype (labels, pixels); the layers cast for themselves.
        super().__init__(name=spec.family, dtype=dtype, autocast=False)
        self.spec = spec
        self.generation_options = GenerationOptions(
            eos_token_id=spec.tokens.eos, pad_token_id=spec.tokens.pad, bad_words_ids=((spec.tokens.pad,),)
        )
        self._generator: Generator | None = None

    def __call__(self, batch: Batch, *args: Any, **kwargs: Any) -> Output:
        """A batch's values may be tensors, arrays or nested lists; keys with None count as absent."""
        given = {key: ops.convert_to_tensor(self._checked(key, v)) for key, v in batch.items() if v is not None}
        return super().__call__(given, *args, **kwargs)

    def _checked(self, key: str, value: Any) -> Any:
        """Token ids that are at hand, not in a graph: a lookup would wrap or zero those outside the table."""
        if key in ("input_ids", "decoder_input_ids") and isinstance(value, (list, tuple, np.ndarray)):
            check_ids(key, np.asarray(value), self.spec)
        return value

    @property
    def embedding(self) -> Any:
        part = self.encoder if self.spec.encoder is not None else self.decoder
        return part.embedding

    def generate(self, batch: Batch, options: GenerationOptions | None = None, **overrides: Any) -> Generation:
        """Decode a batch: NumPy in, NumPy out. `overrides` are fields of `GenerationOptions`, whose defaults come with
        the checkpoint. Raises ConfigError for options at odds with each other, InputError for a batch too long."""
        if self.spec.decoder is None:
            raise InputError("generate needs a decoder, but this model is an encoder alone")
        if self._generator is None:
            self._generator = Generator(self)
        return self._generator.generate(batch, (options or self.generation_options).merged(**overrides))

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
    """Hidden states of a text: `last_hidden_state` (B, S, D)."""

    def __init__(self, spec: ModelSpec, dtype: str = "float32") -> None:
        super().__init__(spec, dtype)
        self.encoder = Encoder(spec, name="encoder", dtype=self.dtype_policy)
        self.encoder.build()
        self.built = True

    def call(self, batch: Batch, training: bool = False, return_attention: bool = False) -> Output:
        encoded = self.encoder(Tokens.of(batch), training=training)
        return Output(last_hidden_state=encoded.hidden, attentions=encoded.weights if return_attention else None)


class DecoderModel(Transformer):
    """A language model: each token's logits for the next one, (B, S, V). `labels` are the `input_ids` themselves, or
    -100: the shift by one is made here, as Transformers does."""

    def __init__(self, spec: ModelSpec, dtype: str = "float32") -> None:
        super().__init__(spec, dtype)
        self.decoder = Decoder(spec, name="decoder", dtype=self.dtype_policy)
        self.decoder.build()
        self.built = True

    def call(self, batch: Batch, training: bool = False, return_attention: bool = False) -> Output:
        decoded = self.decoder(Tokens.of(batch), training=training)
        logits = self.decoder.logits(decoded.hidden, training)
        loss = None
        if batch.get("labels") is not None:
            total, count = cross_entropy(logits[:, :-1], batch["labels"][:, 1:])
            loss = total / ops.maximum(count, 1)
        weights = decoded.self_weights if return_attention else None
        return Output(loss=loss, logits=logits, last_hidden_state=decoded.hidden, attentions=weights)

    def decoding_state(self, batch: Batch, num_beams: int, capacity: int) -> tuple[Tensor, DecoderState]:
        """Read the prompts, and get ready for `capacity` steps: the first ids (B, W) and the state."""
        prompt = Tokens.of(batch)
        return self.decoder.begin_after(prompt, num_beams, capacity)

    def decoding_step(self, ids: Tensor, parents: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        hidden, state = self.decoder.step(ids, parents, state)
        return self.decoder.logits(hidden), state


class EncoderDecoderModel(Transformer):
    """The original Transformer: source in, target out. `labels` (B, T) are the target with its eos; the decoder reads
    them shifted right, from `spec.tokens.decoder_start`."""

    def __init__(self, spec: ModelSpec, dtype: str = "float32") -> None:
        super().__init__(spec, dtype)
        self.encoder = Encoder(spec, name="encoder", dtype=self.dtype_policy)
        self.encoder.build()
        self.decoder = Decoder(spec, embedding=self.encoder.embedding, name="decoder", dtype=self.dtype_policy)
        self.decoder.build()
        self.built = True

    def call(self, batch: Batch, training: bool = False, return_attention: bool = False) -> Output:
        encoded = self.encoder(Tokens.of(batch), training=training)
        decoded = self.decoder(self.target(batch), encoded, training=training)
        logits = self.decoder.logits(decoded.hidden, training)
        loss = None
        if batch.get("labels") is not None:
            total, count = cross_entropy(logits, batch["labels"])
            loss = total / ops.maximum(count, 1)
        return Output(
            loss=loss,
            logits=logits,
            last_hidden_state=decoded.hidden,
            encoder_last_hidden_state=encoded.hidden,
            attentions=decoded.self_weights if return_attention else None,
            encoder_attentions=encoded.weights if return_attention else None,
            cross_attentions=decoded.cross_weights if return_attention else None,
        )

    def target(self, batch: Batch) -> Tokens:
        if batch.get("decoder_input_ids") is not None:
            return Tokens.of(batch, "decoder_")
        if batch.get("labels") is None:
            raise InputError("an encoder-decoder needs decoder_input_ids or labels in the batch, but has neither")
        shifted = shift_right(batch["labels"], self.spec.tokens.decoder_start, self.spec.tokens.pad)
        return Tokens.of({**batch, "decoder_input_ids": shifted}, "decoder_")

    def decoding_state(self, batch: Batch, num_beams: int, capacity: int) -> tuple[Tensor, DecoderState]:
        """Encode once, and get ready for `capacity` steps: the first ids (B, W) and the state."""
        encoded: Encoded = self.encoder(Tokens.of(batch))
        return self.decoder.begin_from(encoded, num_beams, capacity)

    def decoding_step(self, ids: Tensor, parents: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        hidden, state = self.decoder.step(ids, parents, state)
        return self.decoder.logits(hidden), state


def shift_right(labels: Tensor, start: int | None, pad: int) -> Tensor:
    """What the decoder reads to predict `labels`: the start token, then all but the last label; ignored ones as pad."""
    labels = ops.cast(labels, "int32")
    before = ops.concatenate([ops.full_like(labels[:, :1], start), labels[:, :-1]], axis=1)
    return ops.where(before == IGNORED_LABEL, ops.full_like(before, pad), before)


FORMS: dict[str, type[Transformer]] = {
    "encoder": EncoderModel,
    "decoder": DecoderModel,
    "encoder-decoder": EncoderDecoderModel,
}


def build_model(spec: ModelSpec, dtype: str = "float32") -> Transformer:
    """A network with fresh weights. dtype: a Keras policy ("float32", "mixed_bfloat16", "bfloat16", "float64")."""
    return FORMS[spec.form](spec, dtype)
