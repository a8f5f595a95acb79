"""Normalisation over the last axis, computed at least in float32."""

from typing import Any, Literal

from keras import ops

from regard.nn.layer import Layer
from regard.nn.output import Tensor
from regard.nn.precision import at_least_float32


class Norm(Layer):
    """Layer normalisation (Ba et al. 2016), or "rms", which neither centres nor shifts (Zhang and Sennrich 2019)."""

    def __init__(self, width: int, epsilon: float, kind: Literal["layer", "rms"] = "layer", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.epsilon, self.kind = width, epsilon, kind

    def build(self) -> None:
        self.scale = self.add_weight(name="scale", shape=(self.width,), initializer="ones", autocast=False)
        if self.kind == "layer":
            self.bias = self.add_weight(name="bias", shape=(self.width,), initializer="zeros", autocast=False)

    def call(self, x: Tensor) -> Tensor:
        exact = at_least_float32(x)
        if self.kind == "layer":
            exact = exact - ops.mean(exact, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(exact), axis=-1, keepdims=True)
        normal = exact * ops.rsqrt(variance + self.epsilon) * ops.cast(self.scale.value, exact.dtype)
        if self.kind == "layer":
            normal = normal + ops.cast(self.bias.value, exact.dtype)
        return ops.cast(normal, x.dtype)
