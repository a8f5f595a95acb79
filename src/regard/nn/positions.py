"""Where a token stands, and the sinusoids that tell the network (Vaswani et al. 2017, section 3.5)."""

from typing import Literal

import numpy as np
from keras import ops

from regard.nn.output import Tensor


def sinusoids(max_positions: int, width: int, layout: Literal["interleaved", "halves"]) -> np.ndarray:
    """PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos of the same: (max_positions, width) float64.

    "interleaved" is the paper's order; "halves" puts all sines before all cosines, as Marian and Pegasus do.
    """
    rates = 10000.0 ** (-np.arange(0, width, 2) / width)
    angles = np.arange(max_positions)[:, None] * rates
    sines, cosines = np.sin(angles), np.cos(angles)
    if layout == "halves":
        return np.concatenate([sines, cosines], axis=1)
    return np.stack([sines, cosines], axis=-1).reshape(max_positions, width)


def count_positions(real: Tensor, segments: Tensor | None = None) -> Tensor:
    """A real token's place among the real tokens of its segment, from 0; padding repeats a neighbour's.

    real: (B, S), segments: (B, S) or None -> (B, S) int32.
    """
    real = ops.cast(ops.cast(real, "bool"), "int32")
    if segments is None:
        return ops.maximum(ops.cumsum(real, axis=1) - 1, 0)
    place = ops.arange(ops.shape(real)[1])
    same_and_not_later = ops.logical_and(
        segments[:, :, None] == segments[:, None, :], (place[:, None] >= place[None, :])[None]
    )
    counts = ops.sum(ops.cast(same_and_not_later, "int32") * real[:, None, :], axis=2)  # (B,S,S) -> (B,S)
    return ops.maximum(counts - 1, 0)
