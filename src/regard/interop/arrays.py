"""Arrays that TensorFlow takes over as they are: by its usual ways in, a weight is in memory three times at once."""

from math import prod
from typing import Any

import numpy as np

ALIGNMENT = 64  # bytes: where TensorFlow's kernels want a tensor to begin; from others they abort the process


def empty(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Not yet filled, and aligned."""
    kind = np.dtype(dtype)
    size = prod(shape) * kind.itemsize
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size].view(kind).reshape(shape)


def taken_over(array: np.ndarray) -> Any:
    """A tensor in the memory of an array that `empty` gave, and that nobody else uses any more."""
    import tensorflow as tf

    if array.ctypes.data % ALIGNMENT or not array.flags.c_contiguous or not array.size:
        return tf.convert_to_tensor(array)
    if array.dtype.name != "bfloat16":
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    bits = array.view(np.uint16)  # NumPy's side of the exchange knows no bfloat16
    return tf.bitcast(tf.experimental.dlpack.from_dlpack(bits.__dlpack__()), tf.bfloat16)
