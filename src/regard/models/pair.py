"""Two encoders side by side, of texts and of images, whose vectors meet in one space (Radford et al. 2021)."""

import regard.nn  # noqa: F401  # first of all: it checks Keras's backend before Keras is imported

# isort: split
from typing import Any

import keras
import numpy as np
from keras import ops

from regard.batch import Batch
from regard.errors import InputError
from regard.models.forms import Transformer, build_head, pooled_place
from regard.models.parts import Encoded, Encoder, Tokens
from regard.nn.layer import Layer
from regard.nn.output import Output, Tensor
from regard.nn.precision import at_least_float32
from regard.specs import PairSpec

LOGIT_SCALE = float(np.log(1 / 0.07))  # at first: the paper's temperature, section 2.5


class PairModel(Transformer):
    """How well each text fits each image. A batch with one side alone gets that side's vectors.

    `loss` is there where the batch has as many texts as images: row i of the one belongs to row i of the other. A batch
    of one side also gets its `last_hidden_state` and `attentions`.
    """

    spec: PairSpec

    def __init__(self, spec: PairSpec, dtype: str = "float32") -> None:
        super().__init__(spec, dtype)
        own = {"dtype": self.dtype_policy}
        self.text_encoder = Encoder(spec, name="text_encoder", **own)
        self.image_encoder = Encoder(spec.image_side, name="image_encoder", **own)
        self.similarity = Similarity(name="similarity", **own)
        for part in (self.text_encoder, self.image_encoder, self.similarity):
            part.build()
        self.text_head = build_head(spec, self.dtype_policy, "text_head")
        self.image_head = build_head(spec.image_side, self.dtype_policy, "image_head")
        self.built = True

    def call(self, batch: Batch, training: bool = False, return_attention: bool = False) -> Output:
        given = [key for key in ("input_ids", "pixel_values") if batch.get(key) is not None]
        if not given:
            raise InputError("a pair needs input_ids or pixel_values in the batch, but has neither")
        if given == ["input_ids"]:
            encoded, embeds = self.read_texts(batch, training)
            return self.of_one(encoded, return_attention)._replace(text_embeds=embeds)
        if given == ["pixel_values"]:
            encoded, embeds = self.read_images(batch, training)
            return self.of_one(encoded, return_attention)._replace(image_embeds=embeds)
        texts, images = self.read_texts(batch, training)[1], self.read_images(batch, training)[1]
        logits = self.similarity(texts, images=images)
        return Output(
            loss=pair_loss(logits),
            text_embeds=texts,
            image_embeds=images,
            logits_per_text=logits,
            logits_per_image=ops.transpose(logits),
        )

    def of_one(self, encoded: Encoded, return_attention: bool) -> Output:
        weights = encoded.weights if return_attention else None
        return Output(last_hidden_state=encoded.hidden, attentions=weights)

    def read_texts(self, batch: Batch, training: bool) -> tuple[Encoded, Tensor]:
        """The hidden states, and the vectors (B, E) of length 1."""
        encoded = self.text_encoder(Tokens.of(batch), training=training)
        place = pooled_place(encoded.source, self.spec.output)
        return encoded, of_length_one(self.text_head(encoded.hidden, place=place)[1])

    def read_images(self, batch: Batch, training: bool) -> tuple[Encoded, Tensor]:
        """The hidden states, and the vectors (B, E) of length 1."""
        encoded = self.image_encoder(batch["pixel_values"], training=training)
        return encoded, of_length_one(self.image_head(encoded.hidden)[1])


class Similarity(Layer):
    """Cosines, times a learned scale that is kept as its logarithm; exact in mixed precision, too."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def build(self) -> None:
        begin = keras.initializers.Constant(LOGIT_SCALE)
        self.logit_scale = self.add_weight(name="logit_scale", shape=(), initializer=begin, autocast=False)

    def call(self, texts: Tensor, images: Tensor) -> Tensor:
        """Vectors of length 1, (texts, E) and (images, E) -> (texts, images)."""
        return ops.matmul(texts, ops.transpose(images)) * ops.exp(ops.cast(self.logit_scale.value, texts.dtype))


def of_length_one(vectors: Tensor) -> Tensor:
    exact = at_least_float32(vectors)
    return exact / ops.sqrt(ops.sum(ops.square(exact), axis=-1, keepdims=True))


def pair_loss(logits: Tensor) -> Tensor | None:
    """The mean of two cross-entropies, in nats: each text's image among all images, and each image's text among all
    texts. None where there are not as many of one as of the other."""
    texts, images = logits.shape
    if texts is not None and images is not None and texts != images:
        return None
    return (_first_by_first(logits) + _first_by_first(ops.transpose(logits))) / 2


def _first_by_first(logits: Tensor) -> Tensor:
    """The mean of -log softmax(logits)[i, i] over the rows."""
    return ops.mean(ops.logsumexp(logits, axis=1)) - ops.mean(ops.diagonal(logits))
