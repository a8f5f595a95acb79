"""What validation measures besides the loss, a class a task: what it needs of each batch, and the scores in the end."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from keras import ops

from regard.batch import Batch
from regard.data.shards import TokenShards
from regard.metrics.classification import accuracy, macro_f1, pearson
from regard.metrics.language import bits_per_byte, perplexity
from regard.nn.output import Output
from regard.specs import Problem

Score = dict[str, float | None]
Stop = Callable[[], bool]


class Stopped(Exception):
    """Validation was left unfinished because training was asked to stop."""


class Scores:
    """The loss alone, and what a task adds to it. One object serves every validation of a run.

    chooses: whether `chosen` has something once a validation has ended: what is best for the use of those weights.
    """

    chooses: bool = False

    @property
    def chosen(self) -> dict[str, float]:
        """By the name that the model's regard.json has for it."""
        return {}

    def begin(self) -> None:
        """Before the first batch."""

    def read(self, output: Output, batch: Batch) -> list[tf.Tensor]:
        """What `add` needs, computed in the graph."""
        return []

    def add(self, batch: Batch, read: Sequence[np.ndarray], rows: Sequence[int]) -> None:
        """One batch, and which rows of the data it is made of, where it is made of single ones."""

    def end(self, total: float, count: float, stop: Stop) -> Score:
        """The scores, given the sum of the losses and their count. Raises Stopped if `stop` says so."""
        return {"loss": total / count}


class LanguageScores(Scores):
    """Perplexity of a token, and bits per byte of the documents, the token that ends each included."""

    def __init__(self, shards: TokenShards) -> None:
        texts = (str(shards.text(row)[0]) for row in range(len(shards)))
        self.size = sum(len(text.encode("utf-8")) for text in texts)

    def end(self, total: float, count: float, stop: Stop) -> Score:
        loss = total / count
        return {"loss": loss, "perplexity": perplexity(loss), "bits_per_byte": bits_per_byte(total, self.size)}


class ClassScores(Scores):
    """Accuracy and macro F1; of several labels a text, a text is right where all its labels are."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def begin(self) -> None:
        self.predicted: list[np.ndarray] = []
        self.actual: list[np.ndarray] = []

    def read(self, output: Output, batch: Batch) -> list[tf.Tensor]:
        return [output.logits]

    def add(self, batch: Batch, read: Sequence[np.ndarray], rows: Sequence[int]) -> None:
        logits, labels = read[0], np.asarray(batch["labels"])
        if self.problem == "regression":
            self.predicted.append(logits[:, 0])
            self.actual.append(labels)
        elif self.problem == "multi_label":
            self.predicted.append(logits > 0)  # a probability above a half
            self.actual.append(labels > 0.5)
        else:
            classes = np.arange(logits.shape[1])
            self.predicted.append(logits.argmax(axis=1)[:, None] == classes)
            self.actual.append(labels[:, None] == classes)

    def end(self, total: float, count: float, stop: Stop) -> Score:
        predicted, actual = np.concatenate(self.predicted), np.concatenate(self.actual)
        if self.problem == "regression":
            return {"loss": total / count, "pearson": pearson(predicted, actual)}
        right = int(np.sum(np.all(predicted == actual, axis=1)))
        return {"loss": total / count, "accuracy": accuracy(right, len(actual)), "f1": macro_f1(predicted, actual)}


class TokenScores(Scores):
    """Accuracy of the labelled tokens: those that were hidden."""

    def begin(self) -> None:
        self.right = self.total = 0

    def read(self, output: Output, batch: Batch) -> list[tf.Tensor]:
        real = batch["labels"] >= 0
        hits = ops.logical_and(real, ops.cast(ops.argmax(output.logits, axis=-1), "int32") == batch["labels"])
        return [ops.sum(ops.cast(hits, "int32")), ops.sum(ops.cast(real, "int32"))]

    def add(self, batch: Batch, read: Sequence[np.ndarray], rows: Sequence[int]) -> None:
        self.right += int(read[0])
        self.total += int(read[1])

    def end(self, total: float, count: float, stop: Stop) -> Score:
        loss = total / count
        return {"loss": loss, "perplexity": perplexity(loss), "accuracy": accuracy(self.right, self.total)}
