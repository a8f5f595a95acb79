"""x W + b, with W two-dimensional."""

from typing import Any

import keras
import numpy as np
from keras import ops

from regard.nn import kernels
from regard.nn.output import Tensor


class Linear(keras.Layer):
    """(..., in_width) -> (..., parts * out_width). `parts` projections of one input share one kernel, side by side, and
    each is initialised by itself (Glorot uniform)."""

    def __init__(self, in_width: int, out_width: int, parts: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.in_width, self.out_width, self.parts = in_width, out_width, parts

    def build(self) -> None:
        limit = float(np.sqrt(6.0 / (self.in_width + self.out_width)))
        width = self.parts * self.out_width
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.in_width, width),
            initializer=keras.initializers.RandomUniform(-limit, limit),
        )
        self.bias = self.add_weight(name="bias", shape=(width,), initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        *outer, width = ops.shape(x)
        product = kernels.affine(ops.reshape(x, (-1, width)), self.kernel, self.bias)
        return ops.reshape(product, (*outer, product.shape[-1]))
