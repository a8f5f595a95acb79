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


def macro_f1_of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """`macro_f1` of sums (R, 2 C): for each class twice its hits, then how often it was predicted and how often it was
    there, together. NaN where no class occurs."""
    hits, shown = np.split(sums, 2, axis=1)
    occurs = shown > 0
    shares = np.divide(hits, shown, out=np.zeros_like(hits), where=occurs)
    counts = occurs.sum(1)
    return np.divide(shares.sum(1), counts, out=np.full(len(sums), np.nan), where=counts > 0)


def pearson_of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """`pearson` of sums (R, 6) of 1, x, y, x^2, y^2, xy. NaN where one of them does not vary."""
    count, x, y, xx, yy, xy = sums.T
    spread = (count * xx - x**2) * (count * yy - y**2)
    shared = count * xy - x * y
    defined = spread > 1e-12 * np.abs(count * xx * count * yy)
    return np.divide(shared, np.sqrt(np.maximum(spread, 0)), out=np.full(len(sums), np.nan), where=defined)


def pearson(predicted: ArrayLike, actual: ArrayLike) -> float:
    """The correlation of two rows of numbers, -1..1; NaN where one of them does not vary."""
    one, other = (np.asarray(values, np.float64) for values in (predicted, actual))
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.sqrt(np.sum(one**2) * np.sum(other**2)))
    return float(np.sum(one * other)) / scale if scale else float("nan")
