"""How sure a score of a test set is: bootstrap intervals, and the paired test of two systems.

Every score here is a function of the sum, over the examples, of each example's statistics: (hits, total) for a share,
counts of n-grams for BLEU, hits and sums by class for macro F1. So a resample costs a sum, and a score of the whole
corpus is resampled as what it is, not as a mean of scores of sentences (Efron 1979; Koehn 2004).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.errors import InputError

Values = NDArray[np.float64]
Score = Callable[[Values], Values]  # sums of statistics (R, K) -> scores (R,)
Interval = tuple[float, float]

RESAMPLES, SEED, LEVEL = 1000, 12345, 0.95
_CELLS = 4_000_000  # counts that are held at once: 32 MB


class Difference(NamedTuple):
    """Two systems on one test set. difference: second less first; interval: of that, None where it is never a number;
    p: how often chance alone makes as large a difference, either way."""

    first: float
    second: float
    difference: float
    interval: Interval | None
    p: float


def total(score: Score, statistics: ArrayLike) -> float:
    """The score of all examples: statistics (N, K). NaN where the score is not defined for them."""
    return float(score(_checked(statistics).sum(0)[None])[0])


def bootstrap(score: Score, statistics: ArrayLike, resamples: int = RESAMPLES, seed: int = SEED) -> Interval | None:
    """The percentile interval that holds 95 % of the scores of `resamples` draws, with replacement, of as many
    examples: statistics (N, K). None where no draw has a score."""
    return _interval(_resampled(score, [_checked(statistics)], resamples, seed)[0])


def paired_bootstrap(
    score: Score, first: ArrayLike, second: ArrayLike, resamples: int = RESAMPLES, seed: int = SEED
) -> Difference:
    """Both systems on the same draws of examples, statistics (N, K) each (Koehn 2004, section 4).

    p is two-sided: the share of draws whose difference lies as far from the draws' mean difference as the whole test
    set's lies from 0, one draw added on top, so that it is never 0. sacrebleu's paired bootstrap counts one of the two
    tails, and so gives about half of it. Raises InputError where the systems have not been run on as many examples.
    """
    one, other = _checked(first), _checked(second)
    if one.shape != other.shape:
        raise InputError(f"paired systems must have statistics of one shape, but have {one.shape} and {other.shape}")
    scores = _resampled(score, [one, other], resamples, seed)
    drawn = scores[1] - scores[0]
    known = drawn[np.isfinite(drawn)]
    ours, theirs = total(score, one), total(score, other)
    far = np.abs(known - known.mean()) >= abs(theirs - ours) - 1e-12 if len(known) else np.zeros(0, np.bool_)
    p = (int(far.sum()) + 1) / (len(known) + 1)
    return Difference(ours, theirs, theirs - ours, _interval(drawn), p)


def _resampled(score: Score, systems: list[Values], resamples: int, seed: int) -> Values:
    """The scores of each system, (systems, R), on common draws, held as how often each example was drawn."""
    count = len(systems[0])
    rng = np.random.default_rng(seed)
    scores: list[list[Any]] = [[] for _ in systems]
    at_once = max(1, _CELLS // count)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = np.stack([np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(rows)])
        for place, statistics in enumerate(systems):
            scores[place].append(score(drawn.astype(np.float64) @ statistics))
    return np.stack([np.concatenate(own) for own in scores])


def _interval(scores: Values) -> Interval | None:
    known = scores[np.isfinite(scores)]
    if not len(known):
        return None
    low, high = np.percentile(known, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def _checked(statistics: ArrayLike) -> Values:
    values = np.asarray(statistics, np.float64)
    if values.ndim != 2 or not len(values):
        raise InputError(f"statistics must be (examples, numbers) of one example at least, but are {values.shape}")
    return values


def ratio(sums: Values) -> Values:
    """(value, weight) -> value / weight: a mean where the weights are 1. NaN where there is no weight."""
    weights = sums[:, 1]
    return np.divide(sums[:, 0], weights, out=np.full(len(sums), np.nan), where=weights != 0)
