"""Scores of classes and numbers: accuracy, macro F1, Pearson's correlation."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def accuracy(right: int, total: int) -> float:
    """The share that is right, 0..1; 0 where there is nothing."""
    return right / total if total else 0.0


def macro_f1(predicted: NDArray[np.bool_], actual: NDArray[np.bool_]) -> float:
    """The mean over the classes of 2 TP / (2 TP + FP + FN), 0..1; (N, C) each. A class that is neither predicted nor
    there is left out, as scikit-learn has it; 0 where all are."""
    hits = np.sum(predicted & actual, axis=0)
    shown = np.sum(predicted, axis=0) + np.sum(actual, axis=0)
    return float(np.mean(2 * hits[shown > 0] / shown[shown > 0])) if shown.any() else 0.0


def pearson(predicted: ArrayLike, actual: ArrayLike) -> float:
    """The correlation of two rows of numbers, -1..1; NaN where one of them does not vary."""
    one, other = (np.asarray(values, np.float64) for values in (predicted, actual))
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.sqrt(np.sum(one**2) * np.sum(other**2)))
    return float(np.sum(one * other)) / scale if scale else float("nan")
