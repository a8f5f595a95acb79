"""Rotary positions: queries and keys are turned by angles that grow with their place (Su et al. 2021, section 3.2)."""

from typing import NamedTuple

import numpy as np
from keras import ops

from regard.nn.output import Tensor
from regard.specs import RotarySpec
from regard.specs.tables import rotary_rates, slowing


class Rotation(NamedTuple):
    """The angles of some places: (B, 1, T, H) each, the second half of H a copy of the first."""

    cosines: Tensor
    sines: Tensor


def rotation(spec: RotarySpec, head_width: int, places: Tensor, ends: Tensor | None = None) -> Rotation:
    """places (B, T) int32 -> the angles there, in float32. Dynamic scaling reads a text's length off its last place:
    of each token, where the text ends for it, in `ends` (B, T), or its row's last place."""
    rates = np.tile(rotary_rates(spec, head_width), 2).astype("float32")
    angles = ops.cast(places, "float32")[:, None, :, None] * rates  # (B,T) -> (B,1,T,H)
    if spec.scaling == "dynamic":
        exponents = np.tile(slowing(head_width), 2).astype("float32")
        ends = ops.max(places, axis=1, keepdims=True) if ends is None else ends
        angles = angles * ops.power(_stretch(spec, ends)[:, None, :, None], exponents)  # (B,T) -> (B,1,T,H)
    return Rotation(ops.cos(angles) * spec.magnitude, ops.sin(angles) * spec.magnitude)


def _stretch(spec: RotarySpec, ends: Tensor) -> Tensor:
    """How far texts that end at these places pass the pre-training's length, 1 where they do not: float32."""
    beyond = ops.cast(ends + 1, "float32") / spec.original_positions - 1
    return 1 + spec.factor * ops.maximum(beyond, 0)


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """(B, N, T, H), dimension i turned together with i + H / 2."""
    first, second = ops.split(x, 2, axis=-1)
    turned = ops.concatenate([-second, first], axis=-1)
    return x * ops.cast(by.cosines, x.dtype) + turned * ops.cast(by.sines, x.dtype)
