"""Normalisation over the last axis, computed at least in float32."""

from typing import Any, Literal

from regard.nn import training_kernels
from regard.nn.layer import Layer
from regard.nn.output import Tensor


class Norm(Layer):
    """Layer normalisation (Ba et al. 2016), or "rms", which neither centres nor shifts (Zhang and Sennrich 2019)."""

    def __init__(self, width: int, epsilon: float, kind: Literal["layer", "rms"] = "layer", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.epsilon, self.kind = width, epsilon, kind

    def build(self) -> None:
        self.scale = self.add_weight(name="scale", shape=(self.width,), initializer="ones", autocast=False)
        if self.kind == "layer":
            self.bias = self.add_weight(name="bias", shape=(self.width,), initializer="zeros", autocast=False)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """(..., D) -> (..., D). training: as the layer is told that calls this one."""
        normalised = training_kernels.normalised if training else training_kernels.portable_normalised
        return normalised(x, self.scale.value, self.bias.value if self.kind == "layer" else None, self.epsilon)
