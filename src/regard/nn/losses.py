"""Losses as (sum, count), so that micro-batches and replicas add up exactly."""

from collections.abc import Callable

import keras
from keras import ops

from regard.batch import IGNORED_LABEL, Batch
from regard.nn import training_kernels
from regard.nn.contrast import contrastive_losses, segment_vectors
from regard.nn.output import Output, Tensor
from regard.specs import ModelSpec, Problem

PLACES = 64  # the step of the numbers of tokens that a masked language model's head is asked for


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Cross-entropy in nats, summed over the labels that are not ignored, and their count: scalars, at least float32.

    logits: (B, T, V), labels: (B, T). The target distribution is 1 - e on the label plus e / V on every token
    (Szegedy et al. 2016, section 7; Vaswani et al. 2017, section 5.4, use e = 0.1).
    """
    labels = ops.reshape(ops.cast(labels, "int32"), (-1,))
    logits = ops.reshape(logits, (-1, logits.shape[-1]))
    losses = training_kernels.cross_entropy(logits, ops.maximum(labels, 0), label_smoothing)
    real = labels != IGNORED_LABEL
    # `where`, not a product: an ignored place must not spread a NaN.
    return ops.sum(ops.where(real, losses, ops.zeros_like(losses))), ops.sum(ops.cast(real, losses.dtype))


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over the labels that are not ignored: scalar, nats; 0 where all are."""
    total, count = cross_entropy(logits, labels)
    return total / ops.maximum(count, 1)


def ctc_losses(logits: Tensor, labels: Tensor, blank: int | None) -> tuple[Tensor, Tensor]:
    """-log p(text | frames) in nats, summed over the rows, and how many tokens the texts have: scalars.

    Connectionist temporal classification (Graves et al. 2006, section 3): p is the sum over all ways to spread a text's
    tokens over the frames, each a run of one frame or more, `blank` anywhere between them and necessarily between equal
    ones. logits: (B, S, V); labels: (B, T), -100 behind each text, which must not need more frames than there are.
    """
    real = labels != IGNORED_LABEL
    losses = training_kernels.ctc(logits, ops.cast(labels, "int32"), real, blank)
    return ops.sum(losses), ops.sum(ops.cast(real, losses.dtype))


def mean_ctc(logits: Tensor, labels: Tensor, blank: int | None) -> Tensor:
    """`ctc_losses` a token: scalar, nats."""
    total, count = ctc_losses(logits, labels, blank)
    return total / ops.maximum(count, 1)


def span_loss(start_logits: Tensor, end_logits: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """The mean of both ends' cross-entropies, each over the rows whose answer lies within the text: scalar, nats.

    logits: (B, S), starts and ends: (B,). As in Transformers, a row whose place is outside 0 .. S - 1 does not count.
    """
    both = (_place_losses(start_logits, starts), _place_losses(end_logits, ends))
    return sum(total / ops.maximum(count, 1) for total, count in both) / 2


def span_losses(start_logits: Tensor, end_logits: Tensor, starts: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """As `span_loss`, summed over the ends, and how many ends count."""
    first, last = _place_losses(start_logits, starts), _place_losses(end_logits, ends)
    return first[0] + last[0], first[1] + last[1]


def _place_losses(logits: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """As `cross_entropy`, whose kernel must know how many classes there are, which here differ from batch to batch."""
    places = ops.reshape(ops.cast(places, "int32"), (-1,))
    inside = ops.logical_and(places >= 0, places < ops.shape(logits)[1])
    chosen = ops.take_along_axis(logits, ops.where(inside, places, ops.zeros_like(places))[:, None], axis=1)[:, 0]
    losses = ops.logsumexp(logits, axis=1) - chosen
    return ops.sum(ops.where(inside, losses, ops.zeros_like(losses))), ops.sum(ops.cast(inside, losses.dtype))


def class_loss(logits: Tensor, labels: Tensor, problem: Problem | None) -> Tensor:
    """The mean loss of classes, as Transformers defines it for the problem: scalar. See `class_losses`."""
    total, count = class_losses(logits, labels, problem)
    return total / ops.maximum(count, 1)


def class_losses(
    logits: Tensor, labels: Tensor, problem: Problem | None, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The losses of classes, summed, and their count: scalars.

    logits: (B, C). "single_label": cross-entropy in nats, labels (B,) int; "multi_label": binary cross-entropy of each
    class, labels (B, C) of 0 and 1; "regression": squared error, labels of the logits' size. None: regression for one
    class, single_label for whole labels, else multi_label.
    """
    whole = "int" in str(keras.backend.standardize_dtype(labels.dtype))
    if problem is None:
        problem = "regression" if logits.shape[-1] == 1 else "single_label" if whole else "multi_label"
    if problem == "single_label":
        return cross_entropy(logits, labels, label_smoothing)
    targets = ops.reshape(ops.cast(labels, logits.dtype), ops.shape(logits))
    if problem == "regression":
        losses = ops.square(logits - targets)
    else:  # log(1 + e^x) - x y, without overflow
        losses = ops.maximum(logits, 0) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))
    return ops.sum(losses), ops.cast(ops.size(losses), losses.dtype)


def head_losses(
    output: Output,
    batch: Batch,
    spec: ModelSpec,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    logits_of: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """What a model is trained to make small, by its head: the sum over the batch's labels, and how many they are.

    The one way from an `Output` to a loss: the mean of many batches is the sum of the sums over that of the counts. A
    model without a head learns by contrast: each row holds two texts, `temperature` divides their cosines. logits_of:
    the head of a model of tokens, (1, M, D) -> (1, M, V): given, it is asked for the labelled places alone, as of the
    hidden tokens of a masked language model, a sixth of all, and `output.logits` are not read, so that a graph leaves
    them out.
    """
    kind, labels = spec.output.kind, batch.get("labels")
    if kind == "hidden":
        pairs = segment_vectors(output.last_hidden_state, batch["segment_ids"], 2)
        return contrastive_losses(pairs[:, 0], pairs[:, 1], labels, temperature)
    if kind == "span":
        places = batch["start_positions"], batch["end_positions"]
        return span_losses(output.start_logits, output.end_logits, *places)
    if kind == "ctc":
        return ctc_losses(output.logits, labels, spec.tokens.pad)
    if kind == "sequence_class":
        return class_losses(output.logits, labels, spec.output.problem, label_smoothing)
    if kind == "language" and spec.form == "decoder":
        labels = shifted_left(labels)
    if logits_of is not None and kind in ("language", "masked_language"):
        hidden, labels = at_labels(output.last_hidden_state, labels)
        return cross_entropy(logits_of(hidden), labels, label_smoothing)
    return cross_entropy(output.logits, labels, label_smoothing)


def at_labels(hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The hidden states of the labelled tokens, and their labels, as one row: (B, S, D), (B, S) -> (1, M, D), (1, M).

    M is a multiple of PLACES above the number of labels, filled with tokens whose label is ignored: XLA compiles the
    loss for each M once, and these are few. A batch that has fewer tokens gives all of them.
    """
    labels = ops.reshape(ops.cast(labels, "int32"), (-1,))
    ignored = ops.cast(labels == IGNORED_LABEL, "int32")
    size = (ops.sum(1 - ignored) // PLACES + 1) * PLACES
    chosen = ops.argsort(ignored)[:size]
    hidden = ops.reshape(hidden, (-1, hidden.shape[-1]))
    return ops.take(hidden, chosen, axis=0)[None], ops.take(labels, chosen, axis=0)[None]


def shifted_left(labels: Tensor) -> Tensor:
    """Each place's label is the next one's, the last one is ignored: (B, S) -> (B, S).

    As Transformers does it, but that the labels move, which are small, and not the logits.
    """
    labels = ops.cast(labels, "int32")
    return ops.concatenate([labels[:, 1:], ops.full_like(labels[:, :1], IGNORED_LABEL)], axis=1)
