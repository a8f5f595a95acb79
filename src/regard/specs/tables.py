"""The numbers that specs of positions stand for, in NumPy: sinusoids, rotary rates, buckets of distances.

Every engine reads them here: the layers of `nn`, and the graphs of `export`.
"""

import math
from typing import Literal

import numpy as np

from regard.specs.layers import RelativeSpec, RotarySpec
from regard.specs.stems import PositionSpec


def sinusoids(
    max_positions: int,
    width: int,
    layout: Literal["interleaved", "halves"],
    rates: Literal["paper", "tensor2tensor"] = "paper",
) -> np.ndarray:
    """PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos of the same: (max_positions, width) float64.

    "interleaved" is the paper's order; "halves" puts all sines before all cosines, as Marian and Pegasus do. The
    authors' code, tensor2tensor, and after it M2M-100 and Whisper, let i/(d/2 - 1) take the place of 2i/d. An odd width
    has one more sine than cosines, or in tensor2tensor a zero at the end.
    """
    if rates == "tensor2tensor" and width % 2:
        return np.pad(sinusoids(max_positions, width - 1, layout, rates), ((0, 0), (0, 1)))
    half = np.arange((width + 1) // 2)
    speeds = 10000.0 ** (-half / (width / 2 if rates == "paper" else width / 2 - 1))
    angles = np.arange(max_positions)[:, None] * speeds
    sines, cosines = np.sin(angles), np.cos(angles)
    if layout == "halves":
        return np.concatenate([sines, cosines], axis=1)[:, :width]
    return np.stack([sines, cosines], axis=-1).reshape(max_positions, -1)[:, :width]


def grid_sinusoids(rows: int, columns: int, width: int) -> np.ndarray:
    """Places on a grid, row by row: (rows * columns, width) float64. Half of the width says the column, by sines and
    then cosines of rates as tensor2tensor's, the other half the row (He et al. 2022). What four does not divide is 0,
    and all where the width is below 8, which has no two rates."""
    half = width // 4 * 2
    if half < 4:
        return np.zeros((rows * columns, width))
    down, across = (axis.reshape(-1) for axis in np.indices((rows, columns)))
    of_column, of_row = (sinusoids(count, half, "halves", "tensor2tensor") for count in (columns, rows))
    return np.pad(np.concatenate([of_column[across], of_row[down]], axis=1), ((0, 0), (0, width - 2 * half)))


def position_table(spec: PositionSpec, width: int) -> np.ndarray:
    """The sinusoids of the spec's positions, and zeros in the rows before: (offset + max_positions, width) float64."""
    table = sinusoids(spec.offset + spec.max_positions, width, spec.layout, spec.rates)
    table[: spec.offset] = 0
    return table


def rotary_rates(spec: RotarySpec, head_width: int) -> np.ndarray:
    """How fast each pair of dimensions turns, in radians a position: (H / 2,) float64."""
    rates: np.ndarray = spec.theta ** (-np.arange(0, head_width, 2) / head_width)
    if spec.scaling == "linear":
        return rates / spec.factor
    if spec.scaling == "llama3":
        return _llama3(spec, rates)
    return _yarn(spec, rates, head_width) if spec.scaling == "yarn" else rates


def slowing(head_width: int) -> np.ndarray:
    """Dynamic scaling: the exponents that a text's stretch takes in each pair's rate, (H / 2,) float64. The base of the
    rates grows by stretch^(H / (H - 2)) (bloc97 and emozilla 2023, "Dynamically Scaled RoPE")."""
    return -np.arange(0, head_width, 2) / (head_width - 2)


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


def bucket_of_distance(spec: RelativeSpec, bidirectional: bool) -> np.ndarray:
    """The bucket of each distance 0 .. max_distance: (max_distance + 1,) int32. Near ones have their own, far ones
    share them by logarithm, in float32 as the checkpoints were trained."""
    buckets = spec.buckets // 2 if bidirectional else spec.buckets
    exact = buckets // 2
    distance = np.arange(spec.max_distance + 1)
    scaled = np.log(np.maximum(distance, 1).astype("float32") / np.float32(exact))
    scaled = scaled / np.float32(math.log(spec.max_distance / exact)) * np.float32(buckets - exact)
    far = np.minimum(exact + scaled.astype("int32"), buckets - 1)
    return np.where(distance < exact, distance, far).astype("int32")
