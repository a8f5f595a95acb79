"""Token embeddings, shared with the output layer (Vaswani et al. 2017, section 3.4)."""

from typing import Any

import keras
import numpy as np
from keras import ops

from regard.nn import kernels, training_kernels
from regard.nn.layer import Layer
from regard.nn.output import Tensor
from regard.nn.precision import at_least_float32
from regard.specs import EmbeddingSpec


class TokenEmbedding(Layer):
    """E[ids] * sqrt(D), and its inverse, hidden E^T.

    The padding token's row begins at zero and gets no gradient, from neither use, so it stays what it was.
    """

    def __init__(self, spec: EmbeddingSpec, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec

    def build(self) -> None:
        spec = self.spec
        self.table = self.add_weight(
            name="table",
            shape=(spec.vocab_size, spec.width),
            initializer=self._initial,
            autocast=False,  # a lookup casts the rows it takes; its gradient is summed in float32
        )

    def _initial(self, shape: tuple[int, int], dtype: str | None = None) -> Tensor:
        drawn = keras.initializers.RandomNormal(stddev=self.spec.width**-0.5)(shape, dtype)
        if self.spec.pad_id is None:
            return drawn
        return drawn * ops.cast(np.arange(shape[0])[:, None] != self.spec.pad_id, dtype)

    def trained_table(self, training: bool) -> Tensor:
        """The table; in training its padding row is held still."""
        table = self.table.value
        if not training or self.spec.pad_id is None:
            return table
        return training_kernels.held(table, self.spec.pad_id)

    def call(self, ids: Tensor, training: bool = False) -> Tensor:
        """(B, T) int32 -> (B, T, D)."""
        hidden = ops.cast(kernels.lookup(self.trained_table(training), ids), self.compute_dtype)
        return hidden * self.spec.width**0.5 if self.spec.scale else hidden

    def logits(self, hidden: Tensor, training: bool = False) -> Tensor:
        """(B, T, D) -> (B, T, V): at least float32; in training in the compute dtype, for the loss is exact inside."""
        batch, length, width = ops.shape(hidden)
        table = ops.cast(self.trained_table(training), self.compute_dtype)
        product = kernels.times_transposed(ops.reshape(hidden, (-1, width)), table)
        logits = ops.reshape(product, (batch, length, self.spec.vocab_size))
        return logits if training else at_least_float32(logits)
