"""Chance without a generator's state: a hash of (seed, epoch, example, place), the same wherever training goes on."""

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)


def noise(seed: int, epoch: int, examples: NDArray[np.integer], width: int, stream: int = 0) -> Bits:
    """(R, width) bits for the examples (R,); another stream, other bits."""
    key = np.zeros(1, np.uint64)
    for word in (seed, epoch, stream):
        key = _mixed(key + _STEP * np.array([word + 1], np.uint64))  # an array: NumPy warns where scalars wrap around
    rows = _mixed(key + _STEP * (examples.astype(np.uint64) + np.uint64(1)))
    return _mixed(rows[:, None] + _STEP * np.arange(1, width + 1, dtype=np.uint64))


def shares(bits: Bits) -> NDArray[np.float64]:
    """As numbers in [0, 1)."""
    found: NDArray[np.float64] = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return found


def _mixed(bits: Bits) -> Bits:
    """The finaliser of SplitMix64 (Steele et al. 2014): a bijection."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
