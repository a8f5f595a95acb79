"""x W + b, with W two-dimensional."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from regard.nn import kernels, training_kernels
from regard.nn.layer import Layer
from regard.nn.output import Tensor


class Linear(Layer):
    """(..., in_width) -> (..., sum of out_widths). Several projections of one input share one kernel, side by side, and
    each is initialised by itself (Glorot uniform). bias: of all of them, or of each; where some have none, theirs stays
    at zero."""

    def __init__(self, in_width: int, *out_widths: int, bias: bool | Sequence[bool] = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        each = [bias] * len(out_widths) if isinstance(bias, bool) else bias
        self.in_width, self.out_widths, self.has_bias = in_width, out_widths, any(each)
        self.biased = None if all(each) else np.repeat(np.asarray(each, "float32"), out_widths)

    def build(self) -> None:
        width = sum(self.out_widths)
        self.kernel = self.add_weight(name="kernel", shape=(self.in_width, width), initializer=self._initial)
        self.bias = self.add_weight(name="bias", shape=(width,), initializer="zeros") if self.has_bias else None

    def _initial(self, shape: tuple[int, int], dtype: str | None = None) -> Tensor:
        limits = [float(np.sqrt(6.0 / (self.in_width + width))) for width in self.out_widths]
        parts = zip(self.out_widths, limits, strict=True)
        drawn = [
            keras.initializers.RandomUniform(-limit, limit)((self.in_width, width), dtype) for width, limit in parts
        ]
        return drawn[0] if len(drawn) == 1 else ops.concatenate(drawn, axis=1)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """training: as the layer is told that calls this one."""
        *outer, width = kernels.sizes(x)
        bias = self.bias
        if bias is not None and self.biased is not None:  # no gradient reaches the others
            bias = ops.cast(bias, self.compute_dtype) * ops.convert_to_tensor(self.biased, dtype=self.compute_dtype)
        affine = training_kernels.affine if training else kernels.affine
        product = affine(ops.reshape(x, (-1, width)), self.kernel, bias)
        return ops.reshape(product, (*outer, product.shape[-1]))
