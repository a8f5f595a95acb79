"""Rotary positions: queries and keys are turned by angles that grow with their place (Su et al. 2021, section 3.2)."""

import math
from typing import NamedTuple

import numpy as np
from keras import ops

from regard.nn.output import Tensor
from regard.specs import RotarySpec


class Rotation(NamedTuple):
    """The angles of some places: (B, 1, T, H) each, the second half of H a copy of the first."""

    cosines: Tensor
    sines: Tensor


def rotary_rates(spec: RotarySpec, head_width: int) -> np.ndarray:
    """How fast each pair of dimensions turns, in radians a position: (H / 2,) float64."""
    rates: np.ndarray = spec.theta ** (-np.arange(0, head_width, 2) / head_width)
    if spec.scaling == "linear":
        return rates / spec.factor
    if spec.scaling == "llama3":
        return _llama3(spec, rates)
    return _yarn(spec, rates, head_width) if spec.scaling == "yarn" else rates


def _llama3(spec: RotarySpec, rates: np.ndarray) -> np.ndarray:
    """Slow dimensions are stretched, fast ones left alone, those between blended (Grattafiori et al. 2024)."""
    turns = spec.original_positions * rates / (2 * math.pi)
    low, high = spec.low_frequency_factor, spec.high_frequency_factor
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return kept * rates + (1 - kept) * rates / spec.factor


def _yarn(spec: RotarySpec, rates: np.ndarray, head_width: int) -> np.ndarray:
    """The same with bounds on the dimensions' numbers (Peng et al. 2024, section 3.2)."""

    def dimension_of(turns: float) -> float:
        reach = spec.original_positions / (turns * 2 * math.pi)
        return head_width * math.log(reach) / (2 * math.log(spec.theta))

    low, high = dimension_of(spec.beta_fast), dimension_of(spec.beta_slow)
    if spec.whole_bounds:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_width - 1)
    stretched = np.clip((np.arange(head_width // 2) - low) / ((high - low) or 1e-3), 0, 1)
    return stretched * rates / spec.factor + (1 - stretched) * rates


def rotation(spec: RotarySpec, head_width: int, places: Tensor) -> Rotation:
    """places (B, T) int32 -> the angles there, in float32."""
    rates = np.tile(rotary_rates(spec, head_width), 2).astype("float32")
    angles = ops.cast(places, "float32")[:, None, :, None] * rates  # (B,T) -> (B,1,T,H)
    return Rotation(ops.cos(angles) * spec.magnitude, ops.sin(angles) * spec.magnitude)


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """(B, N, T, H), dimension i turned together with i + H / 2."""
    first, second = ops.split(x, 2, axis=-1)
    turned = ops.concatenate([-second, first], axis=-1)
    return x * ops.cast(by.cosines, x.dtype) + turned * ops.cast(by.sines, x.dtype)
