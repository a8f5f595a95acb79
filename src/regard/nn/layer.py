"""The base of all layers here: a Keras layer that can be built blank, for a checkpoint to fill."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras

_blank: ContextVar[bool] = ContextVar("blank", default=False)


@contextmanager
def blank_weights() -> Iterator[None]:
    """Layers built inside begin at zero: drawing numbers that a checkpoint replaces costs seconds and memory."""
    token = _blank.set(True)
    try:
        yield
    finally:
        _blank.reset(token)


class Layer(keras.Layer):
    def add_weight(self, *args: Any, **kwargs: Any) -> Any:
        if _blank.get():
            kwargs["initializer"] = "zeros"
        return super().add_weight(*args, **kwargs)
