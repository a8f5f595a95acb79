"""The part of `keras.ops` that decoding uses, on NumPy: same names, arguments, dtypes and ties."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from regard.decoding.options import Array

abs = np.abs
all = np.all
any = np.any
arange = np.arange
argmax = np.argmax
argsort = np.argsort
bitwise_xor = np.bitwise_xor
broadcast_to = np.broadcast_to
concatenate = np.concatenate
convert_to_tensor = np.asarray
cumsum = np.cumsum
exp = np.exp
full = np.full
isnan = np.isnan
log = np.log
log1p = np.log1p
logical_and = np.logical_and
logical_not = np.logical_not
logical_or = np.logical_or
max = np.max
maximum = np.maximum
min = np.min
minimum = np.minimum
ones_like = np.ones_like
power = np.power
reshape = np.reshape
right_shift = np.right_shift
searchsorted = np.searchsorted
shape = np.shape
sort = np.sort
take = np.take
take_along_axis = np.take_along_axis
where = np.where
zeros = np.zeros
zeros_like = np.zeros_like


_LONG = 512  # from here on finding the k-th of a row pays


class TopK(NamedTuple):
    """What `top_k` returns."""

    values: np.ndarray
    indices: np.ndarray


def top_k(x: np.ndarray, k: int) -> TopK:
    """The k largest of the last axis in falling order; of equal ones the first comes first."""
    if x.shape[-1] > _LONG:
        rows = x.reshape(-1, x.shape[-1])
        indices = np.array([_largest(row, k) for row in rows], "int32").reshape(x[..., :k].shape)
    else:
        indices = np.argsort(-x, axis=-1, kind="stable")[..., :k].astype("int32")
    return TopK(np.take_along_axis(x, indices, axis=-1), indices)


def _largest(row: np.ndarray, k: int) -> np.ndarray:
    """The places of the k largest of (V,), as `top_k` has them, without sorting the rest."""
    falling, places = -row, np.arange(len(row))
    if k < len(row):
        last = np.partition(falling, k - 1)[k - 1]
        places = places if np.isnan(last) else np.flatnonzero(falling <= last)
    return places[np.argsort(falling[places], kind="stable")][:k]


def cast(x: Array, dtype: str) -> np.ndarray:
    """`x` as another dtype; integers wrap around."""
    return np.asarray(x).astype(dtype)


def sum(x: np.ndarray, axis: int) -> np.ndarray:
    """The sum along `axis`, in the dtype of `x`."""
    return x.sum(axis=axis, dtype=x.dtype)


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Exponentials that sum to 1 along `axis`."""
    return np.exp(log_softmax(x, axis))


def log_softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """The logarithm of `softmax`, in the dtype of `x`; NaN, as TensorFlow has it, where a row is -inf throughout."""
    with np.errstate(invalid="ignore"):
        shifted = x - x.max(axis=axis, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def scatter(indices: np.ndarray, values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Zeros of `shape` with `values` (n,) added at `indices` (n, rank)."""
    result = np.zeros(shape, values.dtype)
    np.add.at(result, tuple(indices.T), values)
    return result


def while_loop(cond: Callable[..., Any], body: Callable[..., Any], loop_vars: tuple[Any, ...]) -> tuple[Any, ...]:
    """`loop_vars` after `body` ran as often as `cond` held."""
    while cond(*loop_vars):
        loop_vars = tuple(body(*loop_vars))
    return loop_vars
