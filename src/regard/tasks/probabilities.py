"""Logits -> probabilities, in float64."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def softmax(logits: Any) -> Floats:
    """Of classes that exclude each other, over the last axis: shape kept."""
    values = np.asarray(logits, np.float64)
    raised = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def sigmoid(logits: Any) -> Floats:
    """Of classes that hold each for itself: shape kept."""
    return np.asarray(np.exp(-np.logaddexp(0, -np.asarray(logits, np.float64))))
