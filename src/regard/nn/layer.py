"""The base of our layers: its variables can begin with what a checkpoint holds, in the dtype that it is stored in."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import keras


class Start(NamedTuple):
    """What a variable begins with, where that is not drawn."""

    value: Callable[[str], Any]  # an array of the dtype that is given
    dtype: str | None = None  # None: as the layer's policy says


_starts: ContextVar[Mapping[str, Start] | None] = ContextVar("starts", default=None)


@contextmanager
def starting_from(starts: Mapping[str, Start]) -> Iterator[None]:
    """Variables of layers built inside begin with the value for their path, read when the variable is made: to draw
    numbers first, or to hold zeros, costs seconds and memory. In use, variables are cast to the compute dtype."""
    token = _starts.set(starts)
    try:
        yield
    finally:
        _starts.reset(token)


class Layer(keras.Layer):
    _held: str | None = None  # the dtype of a variable, where it is not the compute dtype

    def add_weight(self, *args: Any, **kwargs: Any) -> Any:
        start = (_starts.get() or {}).get(f"{self.path}/{kwargs.get('name')}")
        if start is None:
            return super().add_weight(*args, **kwargs)
        if start.dtype is not None:
            kwargs["dtype"] = start.dtype
            self._held = self._held if start.dtype == self.compute_dtype else start.dtype
        kwargs["initializer"] = lambda shape, dtype: start.value(dtype)
        return super().add_weight(*args, **kwargs)

    @property
    def variable_dtype(self) -> str:
        """Keras casts variables to the compute dtype where this is another."""
        return self._held or super().variable_dtype
