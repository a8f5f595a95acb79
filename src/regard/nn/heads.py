"""What stands on the last hidden states: predictions of tokens, classes, tags and spans."""

from typing import Any

from keras import ops

from regard.nn.dropout import Dropout
from regard.nn.embedding import TokenEmbedding
from regard.nn.layer import Layer
from regard.nn.layers import ACTIVATIONS
from regard.nn.linear import Linear
from regard.nn.norm import Norm
from regard.nn.output import Tensor
from regard.nn.precision import at_least_float32
from regard.specs import EmbeddingSpec, HeadSpec


class TokenHead(Layer):
    """Logits for each token of the vocabulary (Vaswani et al. 2017, section 3.4): with the embedding's table or one of
    its own; a masked language model's transforms the hidden states before that (Devlin et al. 2019)."""

    def __init__(self, spec: HeadSpec, embedding: EmbeddingSpec, stored_bias: bool = False, **kwargs: Any) -> None:
        """stored_bias: a bias that comes with a checkpoint and is never trained (Marian's final_logits_bias)."""
        super().__init__(**kwargs)
        self.spec, self.vocab_size, self.stored_bias = spec, embedding.vocab_size, stored_bias
        own = {"dtype": self.dtype_policy}
        self.dense: Any = None
        self.norm: Any = None
        self.output_projection: Any = None
        if spec.dense is not None:
            self.activation = ACTIVATIONS[spec.dense]
            self.dense = Linear(embedding.width, embedding.width, name="dense", **own)
            self.norm = Norm(embedding.width, spec.norm_epsilon, name="norm", **own)
        if not spec.tied:
            self.output_projection = Linear(embedding.width, self.vocab_size, bias=False, name="output", **own)

    def build(self) -> None:
        for part in (self.dense, self.norm, self.output_projection):
            if part is not None:
                part.build()
        self.bias = None
        if self.spec.bias or self.stored_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.vocab_size,), initializer="zeros", trainable=not self.stored_bias
            )

    def call(self, hidden: Tensor, embedding: TokenEmbedding, training: bool = False) -> Tensor:
        """(B, T, D) -> (B, T, V), see `TokenEmbedding.logits`."""
        if self.dense is not None:
            hidden = self.norm(self.activation(self.dense(hidden)))
        if self.spec.scale != 1:
            hidden = hidden * self.spec.scale
        if self.output_projection is None:
            logits = embedding.logits(hidden, training)
        else:
            logits = self.output_projection(hidden)
            logits = logits if training else at_least_float32(logits)
        return logits if self.bias is None else logits + ops.cast(self.bias.value, logits.dtype)


def token_at(hidden: Tensor, place: Tensor | None) -> Tensor:
    """Each row's token at its place (B,), or the first: (B, T, D) -> (B, D)."""
    return hidden[:, 0] if place is None else ops.take_along_axis(hidden, place[:, None, None], axis=1)[:, 0]


class Pooler(Layer):
    """One vector for a whole text or image: a dense layer on the first token (Devlin et al. 2019)."""

    def __init__(self, spec: HeadSpec, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        assert spec.dense is not None
        self.activation = ACTIVATIONS[spec.dense]
        self.dense = Linear(width, spec.width or width, name="dense", dtype=self.dtype_policy)

    def build(self) -> None:
        self.dense.build()

    def call(self, hidden: Tensor, place: Tensor | None = None) -> Tensor:
        """(B, S, D), and where padding may come first the places (B,) of the first tokens -> (B, D)."""
        return self.activation(self.dense(token_at(hidden, place)))


class PooledHead(Layer):
    """One vector for a whole text or image, in a space that both share: a token, normalised and projected (Radford et
    al. 2021)."""

    def __init__(self, spec: HeadSpec, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        own = {"dtype": self.dtype_policy}
        self.norm = Norm(width, spec.norm_epsilon, name="norm", **own) if spec.norm else None
        self.output_projection = None
        if spec.width is not None:
            self.output_projection = Linear(width, spec.width, bias=False, name="output", **own)

    def build(self) -> None:
        for part in (self.norm, self.output_projection):
            if part is not None:
                part.build()

    def call(self, hidden: Tensor, place: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """(B, S, D), and the places (B,) of the tokens that stand for the rows -> (B, D), and its projection (B, E)."""
        pooled = token_at(hidden, place)
        if self.norm is not None:
            pooled = self.norm(pooled)
        return pooled, None if self.output_projection is None else at_least_float32(self.output_projection(pooled))


class ClassHead(Layer):
    """Logits of classes, from the first token (or the last), or of tags, from each."""

    def __init__(self, spec: HeadSpec, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec, own = spec, {"dtype": self.dtype_policy}
        self.dense = None
        if spec.dense is not None:
            self.activation = ACTIVATIONS[spec.dense]
            self.dense = Linear(width, width, name="dense", **own)
        self.dropout = Dropout(spec.dropout, name="dropout", **own)
        self.output_projection = Linear(width, spec.labels, bias=spec.bias, name="output", **own)
        self.second_projection = None
        if (
            spec.pool == "first two"
        ):  # the class token, and DeiT's distillation token, which has a classifier of its own
            self.second_projection = Linear(width, spec.labels, bias=spec.bias, name="second_output", **own)

    def build(self) -> None:
        for part in (self.dense, self.output_projection, self.second_projection):
            if part is not None:
                part.build()

    def call(self, hidden: Tensor, place: Tensor | None = None, training: bool = False) -> Tensor:
        """(B, S, D), and the places (B,) of the tokens that stand for the rows -> classes (B, C), or tags (B, S, C)."""
        if self.second_projection is not None:
            first, second = self.output_projection(hidden[:, 0]), self.second_projection(hidden[:, 1])
            return at_least_float32((first + second) / 2)
        if self.spec.kind == "sequence_class":
            hidden = token_at(hidden, place)
        if self.dense is not None:
            hidden = self.activation(self.dense(hidden))
        return at_least_float32(self.output_projection(self.dropout(hidden, training=training)))


class SpanHead(Layer):
    """For each token, how likely an answer begins and ends there (Devlin et al. 2019, section 4.2)."""

    def __init__(self, spec: HeadSpec, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dropout = Dropout(spec.dropout, name="dropout", dtype=self.dtype_policy)
        self.output_projection = Linear(width, 2, name="output", dtype=self.dtype_policy)

    def build(self) -> None:
        self.output_projection.build()

    def call(self, hidden: Tensor, training: bool = False) -> tuple[Tensor, Tensor]:
        """(B, S, D) -> (B, S) twice."""
        logits = at_least_float32(self.output_projection(self.dropout(hidden, training=training)))
        return logits[:, :, 0], logits[:, :, 1]
