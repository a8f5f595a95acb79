"""Validation: loss over the whole split, and the scores of the task."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any

import tensorflow as tf

from regard.batch import KEYS, Batch, Key
from regard.data.batching import Batches
from regard.nn.losses import head_losses
from regard.training.scores import Score, Scores, Stopped
from regard.training.step import batch_signature
from regard.training.streams import side_by_side

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
        streams: int = 1,
    ) -> None:
        """batches: of the split, unshuffled. labels: what the batches' are. weights: inside it the model has those
        that are measured. temperature: of `head_losses`. streams: batches at the same time."""
        self.model, self.batches, self.scores, self.labels = model, batches, scores, labels
        self.weights, self.temperature, self.streams = weights, temperature, streams
        self._measured: Any = None

    def measure(self, stop: Callable[[], bool] = lambda: False) -> Score:
        """The scores now, the loss among them. Raises Stopped if `stop` says so."""
        with self.weights():
            return self._measure(stop)

    def _measure(self, stop: Callable[[], bool]) -> Score:
        total = count = 0.0
        self.scores.begin()
        made = side_by_side(lambda batch: self._measured(batch), self._batches(), self.streams)
        with closing(made) as measured:  # before other weights come back
            for rows, (batch, (loss_sum, labels, read)) in zip(self.batches.rows(), measured, strict=True):
                if stop():
                    raise Stopped
                total += float(loss_sum)
                count += float(labels)
                self.scores.add(batch, [each.numpy() for each in read], rows)
        return self.scores.end(total, count, stop)

    def _batches(self) -> Iterator[Batch]:
        """The graph is there before a thread asks for it."""
        for batch in self.batches.epoch():
            if self._measured is None:
                signature = batch_signature(batch, self.labels)
                self._measured = tf.function(self._measure_batch, input_signature=[signature], autograph=False)
                self._measured.get_concrete_function()
            yield batch

    def _measure_batch(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        output = self.model(batch, training=False)
        loss_sum, count = head_losses(output, batch, self.model.spec, temperature=self.temperature)
        return loss_sum, count, self.scores.read(output, batch)
