"""Validation: loss over the whole split, and the scores of the task."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import tensorflow as tf

from regard.batch import KEYS, Batch, Key
from regard.data.batching import Batches
from regard.nn.losses import head_losses
from regard.training.scores import Score, Scores, Stopped
from regard.training.step import batch_signature

__all__ = ["Score", "Stopped", "Validator"]


class Validator:
    """Measures a model on one split; nothing of the training's state changes by it."""

    def __init__(
        self,
        model: Any,
        batches: Batches,
        scores: Scores,
        labels: Key = KEYS["labels"],
        weights: Callable[[], AbstractContextManager[None]] = nullcontext,
        temperature: float = 1.0,
    ) -> None:
        """batches: of the split, unshuffled. labels: what the batches' are. weights: inside it the model has those
        that are measured. temperature: of `head_losses`."""
        self.model, self.batches, self.scores, self.labels = model, batches, scores, labels
        self.weights, self.temperature = weights, temperature
        self._measured: Any = None

    def measure(self, stop: Callable[[], bool] = lambda: False) -> Score:
        """The scores now, the loss among them. Raises Stopped if `stop` says so."""
        with self.weights():
            return self._measure(stop)

    def _measure(self, stop: Callable[[], bool]) -> Score:
        total = count = 0.0
        self.scores.begin()
        for rows, batch in zip(self.batches.rows(), self.batches.epoch(), strict=True):
            if stop():
                raise Stopped
            if self._measured is None:
                signature = batch_signature(batch, self.labels)
                self._measured = tf.function(self._measure_batch, input_signature=[signature], autograph=False)
            loss_sum, labels, read = self._measured(batch)
            total += float(loss_sum)
            count += float(labels)
            self.scores.add(batch, [each.numpy() for each in read], rows)
        return self.scores.end(total, count, stop)

    def _measure_batch(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        output = self.model(batch, training=False)
        loss_sum, count = head_losses(output, batch, self.model.spec, temperature=self.temperature)
        return loss_sum, count, self.scores.read(output, batch)
