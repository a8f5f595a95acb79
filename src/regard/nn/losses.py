"""Losses as (sum, count), so that micro-batches and replicas add up exactly."""

import keras
from keras import ops

from regard.batch import IGNORED_LABEL
from regard.nn import kernels
from regard.nn.output import Tensor
from regard.specs import Problem


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Cross-entropy in nats, summed over the labels that are not ignored, and their count: scalars, at least float32.

    logits: (B, T, V), labels: (B, T). The target distribution is 1 - e on the label plus e / V on every token
    (Szegedy et al. 2016, section 7; Vaswani et al. 2017, section 5.4, use e = 0.1).
    """
    labels = ops.reshape(ops.cast(labels, "int32"), (-1,))
    logits = ops.reshape(logits, (-1, logits.shape[-1]))
    losses = kernels.cross_entropy(logits, ops.maximum(labels, 0), label_smoothing)
    real = labels != IGNORED_LABEL
    # `where`, not a product: an ignored place must not spread a NaN.
    return ops.sum(ops.where(real, losses, ops.zeros_like(losses))), ops.sum(ops.cast(real, losses.dtype))


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over the labels that are not ignored: scalar, nats; 0 where all are."""
    total, count = cross_entropy(logits, labels)
    return total / ops.maximum(count, 1)


def span_loss(start_logits: Tensor, end_logits: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """The mean of both ends' cross-entropies, each over the rows whose answer lies within the text: scalar, nats.

    logits: (B, S), starts and ends: (B,). As in Transformers, a row whose place is outside 0 .. S - 1 does not count.
    """
    return (_place_loss(start_logits, starts) + _place_loss(end_logits, ends)) / 2


def _place_loss(logits: Tensor, places: Tensor) -> Tensor:
    places = ops.reshape(ops.cast(places, "int32"), (-1,))
    inside = ops.logical_and(places >= 0, places < ops.shape(logits)[1])
    labels = ops.where(inside, places, ops.full_like(places, IGNORED_LABEL))
    return mean_cross_entropy(logits, labels)


def class_loss(logits: Tensor, labels: Tensor, problem: Problem | None) -> Tensor:
    """The mean loss of classes, as Transformers defines it for the problem: scalar.

    logits: (B, C). "single_label": cross-entropy in nats, labels (B,) int; "multi_label": binary cross-entropy, labels
    (B, C) of 0 and 1; "regression": squared error, labels of the logits' size. None: regression for one class,
    single_label for whole labels, else multi_label.
    """
    whole = "int" in str(keras.backend.standardize_dtype(labels.dtype))
    if problem is None:
        problem = "regression" if logits.shape[-1] == 1 else "single_label" if whole else "multi_label"
    if problem == "single_label":
        return mean_cross_entropy(logits, labels)
    targets = ops.reshape(ops.cast(labels, logits.dtype), ops.shape(logits))
    if problem == "regression":
        return ops.mean(ops.square(logits - targets))
    # log(1 + e^x) - x y, without overflow
    return ops.mean(ops.maximum(logits, 0) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits))))
