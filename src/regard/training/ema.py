"""The moving average of the weights in use (Polyak and Juditsky 1992); the optimizer keeps it, see `PerWeight`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf
from safetensors import safe_open


@contextmanager
def averaged(optimizer: Any) -> Iterator[None]:
    """Inside, the trained weights are their averages; after it they are what they were, bit for bit."""
    weights = optimizer.trained_weights
    kept = [tf.identity(weight.value) for weight in weights]
    for weight, average in zip(weights, optimizer.averages, strict=True):
        weight.assign(average.value)
    try:
        yield
    finally:
        for weight, value in zip(weights, kept, strict=True):
            weight.assign(value)


def assign_averages(optimizer: Any, tensors: Path) -> None:
    """Give the trained weights their averages, as a checkpoint's training state has them."""
    with safe_open(tensors, framework="np") as file:
        for weight, average in zip(optimizer.trained_weights, optimizer.averages, strict=True):
            weight.assign(file.get_tensor(average.path))
