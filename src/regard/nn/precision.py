"""Where bfloat16 is too coarse: norms, softmax and losses compute in float32, or in float64 when given float64."""

import keras
from keras import ops

from regard.nn.output import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    return x if keras.backend.standardize_dtype(x.dtype) == "float64" else ops.cast(x, "float32")
