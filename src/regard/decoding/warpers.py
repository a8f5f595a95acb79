"""What shapes the distribution that is sampled from. Scores are (B, W, V) float32, a banned token's -inf.

`keep` is how many tokens a rule leaves at least: a beam needs a way on besides its end.
"""

import math
from types import ModuleType

import numpy as np

from regard.decoding.options import Array

_LOWEST = float(np.finfo("float32").min)
_TOP_H_CANDIDATES = 100  # as many as Transformers looks at


def scale_by_temperature(scores: Array, temperature: float, ops: ModuleType) -> Array:
    """Scores over the temperature, up to a constant: the largest goes to 0, so that one near 0 cannot overflow."""
    return (scores - ops.maximum(ops.max(scores, axis=-1, keepdims=True), _LOWEST)) / temperature


def keep_top_k(scores: Array, count: int, ops: ModuleType) -> Array:
    """Only the `count` largest, and what equals the last of them (Fan et al. 2018)."""
    return _keep_from(scores, _kth_largest(scores, count, ops), ops)


def keep_top_p(scores: Array, mass: float, keep: int, ops: ModuleType) -> Array:
    """Only the smallest set of the likeliest that holds `mass`, at least `keep` of them (Holtzman et al. 2020)."""
    ascending = ops.sort(scores, axis=-1)
    below = ops.cumsum(ops.softmax(ascending, axis=-1), axis=-1) <= 1 - mass
    threshold = ops.min(ops.where(below, math.inf, ascending), axis=-1, keepdims=True)
    return _keep_from(scores, ops.minimum(threshold, _kth_largest(scores, keep, ops)), ops)


def keep_min_p(scores: Array, share: float, keep: int, ops: ModuleType) -> Array:
    """Only those with `share` of the likeliest one's probability, at least `keep` of them (Nguyen et al. 2024)."""
    threshold = ops.max(scores, axis=-1, keepdims=True) + math.log(share)
    return _keep_from(scores, ops.minimum(threshold, _kth_largest(scores, keep, ops)), ops)


def keep_typical(scores: Array, mass: float, keep: int, ops: ModuleType) -> Array:
    """Only those whose information is nearest the entropy, as many as hold `mass`, at least `keep` of them (Meister et
    al. 2023, section 4)."""
    log_probs = ops.log_softmax(scores, axis=-1)
    distance = ops.abs(log_probs + _entropy(log_probs, ops))
    order = ops.argsort(distance, axis=-1)
    nearest = ops.take_along_axis(distance, order, axis=-1)
    held = ops.cumsum(ops.exp(ops.take_along_axis(log_probs, order, axis=-1)), axis=-1)
    last = ops.sum(ops.cast(held < mass, "int32"), axis=-1)[..., None]
    last = ops.minimum(ops.maximum(last, keep - 1), scores.shape[-1] - 1)
    threshold = ops.take_along_axis(nearest, last, axis=-1)
    return ops.where(distance > threshold, -math.inf, scores)


def keep_top_h(scores: Array, share: float, ops: ModuleType) -> Array:
    """Only the likeliest, the first at least, whose terms of the entropy add up to no more than `share` of it; the
    entropy is that of the 100 likeliest (Potraghloo et al. 2025)."""
    likeliest, _ = ops.top_k(scores, min(_TOP_H_CANDIDATES, scores.shape[-1]))
    log_probs = ops.log_softmax(likeliest, axis=-1)
    terms = _information(log_probs, ops)
    fits = ops.cumsum(terms, axis=-1) <= share * ops.sum(terms, axis=-1)[..., None]
    fits = ops.logical_and(fits, ops.exp(log_probs) > 0)
    threshold = ops.min(ops.where(fits, likeliest, math.inf), axis=-1, keepdims=True)
    return _keep_from(scores, ops.minimum(threshold, likeliest[..., :1]), ops)


def keep_epsilon(scores: Array, cutoff: float, keep: int, ops: ModuleType) -> Array:
    """Only those with a probability of at least `cutoff`, at least `keep` of them (Hewitt et al. 2022, section 4.1)."""
    return _keep_likely(scores, ops.log_softmax(scores, axis=-1), math.log(cutoff), keep, ops)


def keep_eta(scores: Array, cutoff: float, keep: int, ops: ModuleType) -> Array:
    """Only those with a probability of at least min(cutoff, sqrt(cutoff) exp(-entropy)), at least `keep` of them
    (Hewitt et al. 2022, section 4.2)."""
    log_probs = ops.log_softmax(scores, axis=-1)
    bound = ops.minimum(math.log(cutoff), math.log(cutoff) / 2 - _entropy(log_probs, ops))
    return _keep_likely(scores, log_probs, bound, keep, ops)


def normalise(scores: Array, ops: ModuleType) -> Array:
    """Log-probabilities; where every token is banned, every one keeps -inf, for which a log_softmax has NaN."""
    return ops.where(scores == -math.inf, -math.inf, ops.log_softmax(scores, axis=-1))


def _keep_from(scores: Array, threshold: Array, ops: ModuleType) -> Array:
    return ops.where(scores < threshold, -math.inf, scores)


def _keep_likely(scores: Array, log_probs: Array, bound: Array | float, keep: int, ops: ModuleType) -> Array:
    unlikely = ops.logical_and(log_probs < bound, scores < _kth_largest(scores, keep, ops))
    return ops.where(unlikely, -math.inf, scores)


def _kth_largest(scores: Array, count: int, ops: ModuleType) -> Array:
    return ops.top_k(scores, min(count, scores.shape[-1]))[0][..., -1:]


def _entropy(log_probs: Array, ops: ModuleType) -> Array:
    """In nats: (B, W, V) -> (B, W, 1)."""
    return ops.sum(_information(log_probs, ops), axis=-1)[..., None]


def _information(log_probs: Array, ops: ModuleType) -> Array:
    """-p log p, which is 0 for what cannot come."""
    possible = ops.where(log_probs == -math.inf, 0.0, log_probs)
    return -possible * ops.exp(possible)
