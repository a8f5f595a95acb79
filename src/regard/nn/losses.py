"""Losses as (sum, count), so that micro-batches and replicas add up exactly."""

from keras import ops

from regard.batch import IGNORED_LABEL
from regard.nn import kernels
from regard.nn.output import Tensor


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
