"""Noise without a generator's state: a hash of (seed, return index, step, vocabulary index).

So a row's sample depends on its own seed alone, whatever the batch-mates, and NumPy and TensorFlow draw the same.
"""

from types import ModuleType

import numpy as np

from regard.decoding.options import Array

_KEYS = (0x9E3779B9, 0x7F4A7C15)  # two starts, so that a row's key has 64 bits


def gumbel(seeds: Array, width: int, step: Array, vocab_size: int, ops: ModuleType) -> Array:
    """(B, W, V) float32 draws of the standard Gumbel distribution.

    The argmax of logits + noise is a sample of their softmax, the K largest a sample without replacement
    (Kool et al. 2019).
    """
    return -ops.log(-ops.log1p(-uniform(seeds, width, step, vocab_size, ops)))


def uniform(seeds: Array, width: int, step: Array, vocab_size: int, ops: ModuleType) -> Array:
    """(B, W, V) float32 in (0, 1), from seeds (B, 2) uint32; no two of a row are equal before rounding."""
    first, second = (_row_key(start, seeds, width, step, ops)[:, :, None] for start in _KEYS)
    tokens = _mixed(ops.convert_to_tensor(np.arange(vocab_size, dtype="uint32")), ops)
    bits = _mixed(_mixed(ops.bitwise_xor(tokens[None, None, :], first), ops) + second, ops)
    # Below the middle float32 resolves all 32 bits; near 1 it would round to 1, whose logarithm of 1 - u is infinite.
    return ops.minimum((ops.cast(bits, "float32") + 0.5) * 2.0**-32, 1 - 2.0**-24)


def _row_key(start: int, seeds: Array, width: int, step: Array, ops: ModuleType) -> Array:
    """(B, W) uint32: `start`, the seed's words, the return index and the step, absorbed one after the other."""
    returns = ops.convert_to_tensor(np.arange(width, dtype="uint32"))[None, :]
    key = _mixed(ops.bitwise_xor(seeds[:, 0:1], _word(start, ops)), ops)
    for word in (seeds[:, 1:2], returns, ops.cast(step, "uint32")):
        key = _mixed(ops.bitwise_xor(key, word) + _word(start, ops), ops)
    return key


def _mixed(bits: Array, ops: ModuleType) -> Array:
    """The finaliser of MurmurHash3: a bijection of uint32 in which each bit of the input flips half of the output."""
    bits = ops.bitwise_xor(bits, ops.right_shift(bits, _word(16, ops))) * _word(0x85EBCA6B, ops)
    bits = ops.bitwise_xor(bits, ops.right_shift(bits, _word(13, ops))) * _word(0xC2B2AE35, ops)
    return ops.bitwise_xor(bits, ops.right_shift(bits, _word(16, ops)))


def _word(value: int, ops: ModuleType) -> Array:
    # An array of one, for NumPy warns where scalars wrap around.
    return ops.convert_to_tensor(np.array([value], "uint32"))
