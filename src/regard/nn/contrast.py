"""Contrastive learning of vectors: what belongs together is near, the rest of the batch is far (van den Oord et al.
2018; Gao et al. 2021)."""

from keras import ops

from regard.nn.output import Tensor
from regard.nn.precision import at_least_float32

_TINY = 1e-24  # the least square that a vector's length is the root of
_NEVER = -1e9  # the score of a pair that is not told apart


def segment_vectors(hidden: Tensor, segments: Tensor, count: int) -> Tensor:
    """The mean hidden state of each segment, from 1 to `count`, at length 1: (B, S, D), (B, S) -> (B, count, D).

    Several texts stand in one row, so none of them is padded to the longest; 0 is the padding.
    """
    hidden = at_least_float32(hidden)
    inside = ops.cast(segments[:, None] == ops.arange(1, count + 1, dtype="int32")[None, :, None], hidden.dtype)
    means = ops.matmul(inside, hidden) / ops.maximum(ops.sum(inside, axis=-1, keepdims=True), 1)
    squares = ops.sum(ops.square(means), axis=-1, keepdims=True)
    return means * ops.rsqrt(ops.maximum(squares, _TINY))


def contrastive_losses(one: Tensor, other: Tensor, numbers: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The cross-entropies, in nats, of telling which of the batch's others belongs to each vector, both ways; summed,
    and how many they are: scalars.

    one, other: (B, D) of length 1, a pair a row; numbers: (B, 2) whole, equal where two texts are the same. A row that
    shares a text with another is no negative of it: it would be pushed away from what it should be near.
    """
    scores = ops.matmul(one, ops.transpose(other)) / temperature  # (B, B): each with each
    same = [column[:, None] == column[None, :] for column in (numbers[:, 0], numbers[:, 1])]
    itself = ops.eye(ops.shape(scores)[0], dtype="bool")
    unclear = ops.logical_and(ops.logical_or(*same), ops.logical_not(itself))
    scores = ops.where(unclear, ops.full_like(scores, _NEVER), scores)
    right = ops.sum(ops.where(itself, scores, ops.zeros_like(scores)), axis=-1)
    losses = ops.logsumexp(scores, axis=1) + ops.logsumexp(scores, axis=0) - 2 * right
    return ops.sum(losses), ops.cast(2 * ops.shape(scores)[0], losses.dtype)
