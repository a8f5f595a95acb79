"""The train step: forward, backward and update as one graph that serves every batch shape.

A loss is a (sum, count) until the end: gradients of the *sum* are added over the micro-batches of a step and divided
once by the count of all of them, so k micro-batches equal one batch of their rows, and so do the shares of several
replicas (`Cluster`): each reads its rows of every micro-batch, and once a step gradients, sum and count are added over
all of them, before anything is decided or scaled by them. So do pieces that are computed side by side (`Streams`).
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from regard.batch import KEYS, Batch, Key
from regard.nn.losses import head_losses
from regard.nn.output import Output
from regard.training.cluster import ALONE, Cluster
from regard.training.spikes import SpikeGuard
from regard.training.streams import Streams, Sums, pieces_of

APPLIED, NOT_FINITE, SPIKE, NO_LABELS = 1, 0, -1, -2  # what became of a step


class Statistics(NamedTuple):
    """What the steps since the last `TrainStep.read` came to; skipped steps are no part of it."""

    loss: float | None  # mean over the labels, in nats, label smoothing included; None if every step was skipped
    gradient_norm: float  # of the last step, before clipping


class TrainStep:
    """Applies one update for a list of micro-batches. Nothing in it waits for the device but `read`."""

    def __init__(
        self,
        model: Any,
        optimizer: Any,
        *,
        keys: Iterable[str],
        label_smoothing: float = 0.0,
        temperature: float = 1.0,
        clip_norm: float | None = None,
        accumulation: int = 1,
        spike_deviations: float | None = None,
        labels: Key = KEYS["labels"],
        weights: Sequence[Any] | None = None,
        cluster: Cluster = ALONE,
        streams: int = 1,
        few_labels: bool = False,
    ) -> None:
        """keys: of the batches; `labels` says what those are. accumulation: the micro-batches of a step.
        spike_deviations: of a `SpikeGuard`. weights: which are trained; absent: all that the model would train.
        cluster: in whose scope model and optimizer were made, and this is. streams: pieces that are computed at
        the same time, where the cluster is one replica. few_labels: most places of a batch have none, and the head
        is asked for the others alone, as a masked language model's always is."""
        if streams > 1 and cluster.replicas > 1:
            raise ValueError(f"{streams} streams are for one device, but there are {cluster.replicas} replicas")
        self.cluster = cluster
        self.model = model
        self.optimizer = optimizer
        self.label_smoothing, self.temperature, self.few_labels = label_smoothing, temperature, few_labels
        self.clip_norm = clip_norm
        self.accumulation = accumulation
        self.weights = list(model.trainable_variables if weights is None else weights)
        self.spikes = None if spike_deviations is None else SpikeGuard(spike_deviations)
        self.loss_sum = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="loss_sum")
        self.label_count = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="label_count")
        self.gradient_norm = tf.Variable(0.0, trainable=False, name="gradient_norm")
        signature = batch_signature(keys, labels)
        rate = tf.TensorSpec([], tf.float32)
        self._streams = Streams(streams, model, self._sums, signature) if streams > 1 else None
        self._buffers = self._make_buffers() if accumulation not in (1, streams) else []
        self._whole = cluster.compiled(self._whole_step, [signature, rate])
        self._gather = cluster.compiled(self._gather_micro_batch, [signature])
        self._finish = cluster.compiled(self._finish_step, [rate])
        if self._streams is not None:
            self._gather_streams = tf.function(partial(self._gather_pieces, self._streams), autograph=False)
            self._finish_streams = tf.function(partial(self._finish_pieces, self._streams), autograph=False)

    def __call__(self, batches: Sequence[Batch], rate: float) -> tf.Tensor:
        """One step over `accumulation` batches at this learning rate; an integer scalar: APPLIED, NOT_FINITE, SPIKE or
        NO_LABELS.

        A step that is not applied touches neither weights nor optimizer nor statistics: its loss or its gradient was
        not finite, or its loss was a spike, or nothing in it was to be learned.
        """
        if self._streams is not None:
            *earlier, last = pieces_of(batches, self._streams.count)
            for pieces in earlier:
                self._gather_streams(*self._streams.run(pieces))
            return self._finish_streams(*self._streams.run(last), np.float32(rate))
        if self.accumulation == 1:
            return self._whole(batches[0], np.float32(rate))
        for batch in batches:
            self._gather(batch)
        return self._finish(np.float32(rate))

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """The state between two steps that is neither the model's nor the optimizer's."""
        spikes = {} if self.spikes is None else self.spikes.variables
        return {
            "loss_sum": self.loss_sum,
            "label_count": self.label_count,
            "gradient_norm": self.gradient_norm,
            **spikes,
        }

    @property
    def streams(self) -> int:
        return 1 if self._streams is None else self._streams.count

    def read(self) -> Statistics:
        """The statistics, which begin anew."""
        count = float(self.label_count.numpy())
        loss = float(self.loss_sum.numpy()) / count if count else None
        statistics = Statistics(loss, float(self.gradient_norm.numpy()))
        self.loss_sum.assign(0.0)
        self.label_count.assign(0.0)
        return statistics

    def _make_buffers(self) -> list[tf.Variable]:
        """One for the gradient of each weight, then the sum of losses and the count of labels."""
        gradients = [tf.Variable(tf.zeros(weight.shape), trainable=False) for weight in self.weights]
        return [*gradients, tf.Variable(0.0, trainable=False), tf.Variable(0.0, trainable=False)]

    def _whole_step(self, batch: Batch, rate: tf.Tensor) -> tf.Tensor:
        return self._update(self._sums(batch), rate)

    def _gather_micro_batch(self, batch: Batch) -> None:
        self._add(self._sums(batch))

    def _finish_step(self, rate: tf.Tensor) -> tf.Tensor:
        outcome = self._update([buffer.read_value() for buffer in self._buffers], rate)
        self._empty_buffers()
        return outcome

    def _gather_pieces(self, streams: Streams, pieces: list[Sums], noise: list[tf.Tensor]) -> None:
        streams.go_on(noise)
        self._add(_total(pieces))

    def _finish_pieces(
        self, streams: Streams, pieces: list[Sums], noise: list[tf.Tensor], rate: tf.Tensor
    ) -> tf.Tensor:
        streams.go_on(noise)
        earlier = [buffer.read_value() for buffer in self._buffers]
        outcome = self._update(_total([earlier, *pieces] if earlier else pieces), rate)
        self._empty_buffers()
        return outcome

    def _add(self, sums: Sums) -> None:
        for buffer, value in zip(self._buffers, sums, strict=True):
            buffer.assign_add(value)

    def _empty_buffers(self) -> None:
        for buffer in self._buffers:
            buffer.assign(tf.zeros_like(buffer))

    def _sums(self, batch: Batch) -> Sums:
        """The gradients of the sum of the losses, that sum and the count of labels: of this replica's rows."""
        batch = self.cluster.share(batch)
        variables = [weight.value for weight in self.weights]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            output = self.model(batch, training=True)
            loss_sum, count = self._losses(output, batch)
        gradients = tape.gradient(loss_sum, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [*map(tf.convert_to_tensor, gradients), loss_sum, count]

    def _losses(self, output: Output, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        spec, logits_of = self.model.spec, None
        if self.few_labels or spec.output.kind == "masked_language":
            logits_of = partial(self.model.logits, training=True)
        return head_losses(output, batch, spec, self.label_smoothing, self.temperature, logits_of)

    def _update(self, sums: Sums, rate: tf.Tensor) -> tf.Tensor:
        *gradients, loss_sum, count = self.cluster.total(sums)
        # Halves of squares: one pass and no temporary a gradient. A batch without labels gives 0 / 0.
        norm = tf.sqrt(2 * tf.add_n([tf.nn.l2_loss(gradient) for gradient in gradients])) / count
        finite = tf.math.is_finite(norm) & tf.math.is_finite(loss_sum)
        spike = tf.constant(False) if self.spikes is None else self.spikes.beyond(loss_sum / count)

        def apply() -> tf.Tensor:
            factor = 1 / count
            if self.clip_norm is not None:
                factor *= tf.minimum(1.0, self.clip_norm / norm)
            self.optimizer.learning_rate.assign(rate)
            self.optimizer.apply([gradient * factor for gradient in gradients], self.weights)
            self.loss_sum.assign_add(tf.cast(loss_sum, tf.float64))
            self.label_count.assign_add(tf.cast(count, tf.float64))
            self.gradient_norm.assign(norm)
            if self.spikes is not None:
                self.spikes.follow(loss_sum / count)
            return tf.constant(APPLIED)

        def skip() -> tf.Tensor:
            return tf.where(count > 0, tf.where(finite, SPIKE, NOT_FINITE), NO_LABELS)

        return tf.cond(finite & ~spike, apply, skip)


def _total(pieces: list[Sums]) -> Sums:
    return [tf.add_n(list(each)) for each in zip(*pieces, strict=True)]


def batch_signature(keys: Iterable[str], labels: Key = KEYS["labels"]) -> dict[str, tf.TensorSpec]:
    """Every dimension open, so that one trace serves all bucket shapes."""
    kinds = {**KEYS, "labels": labels}
    return {key: tf.TensorSpec([None] * len(kinds[key].shape.split()), kinds[key].dtype) for key in keys}
