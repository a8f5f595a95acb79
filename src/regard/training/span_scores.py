"""Scores of what is read in windows: the tags of words, and the answers to questions."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from keras import ops

from regard.batch import Batch
from regard.data.objectives.answer import AnswerSpans, context_places, null_place
from regard.data.records import AnswerRecord
from regard.data.shards import TokenShards
from regard.features.encoding import Encoding
from regard.features.tokenizer import Tokenizer
from regard.metrics.answering import answer_f1, best_threshold, exact_match
from regard.metrics.classification import accuracy
from regard.metrics.tagging import entity_f1
from regard.nn.output import Output
from regard.training.scores import Score, Scores, Stop

LONGEST_ANSWER = 30  # tokens, as in BERT's own script


class TagScores(Scores):
    """Accuracy of the words' tags, and F1 of the entities that they spell."""

    def __init__(self, shards: TokenShards, names: Sequence[str], window_column: int = 3) -> None:
        self.names = names
        self.texts = list(_grouped(shards, window_column))

    def begin(self) -> None:
        self.tags: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # of each window's words: predicted, actual

    def read(self, output: Output, batch: Batch) -> list[tf.Tensor]:
        return [ops.cast(ops.argmax(output.logits, axis=-1), "int32")]

    def add(self, batch: Batch, read: Sequence[np.ndarray], rows: Sequence[int]) -> None:
        for place, row in enumerate(rows):
            real = batch["labels"][place] >= 0
            self.tags[row] = read[0][place][real], batch["labels"][place][real]

    def end(self, total: float, count: float, stop: Stop) -> Score:
        predicted, actual = ([self._names(rows, side) for rows in self.texts] for side in (0, 1))
        right = sum(
            a == b for one, other in zip(predicted, actual, strict=True) for a, b in zip(one, other, strict=True)
        )
        words = sum(map(len, actual))
        return {"loss": total / count, "accuracy": accuracy(right, words), "f1": entity_f1(predicted, actual)}

    def _names(self, rows: Sequence[int], side: int) -> list[str]:
        return [self.names[tag] for row in rows for tag in self.tags[row][side]]


class _Found(NamedTuple):
    """A question's best span over its windows, and the least score that it has no answer: sums of two logits."""

    text: str
    score: float
    none: float


class AnswerScores(Scores):
    """Exact match and F1 of the best span over a context's windows. Where some questions have no answer, a question has
    none if the windows' least score of that is above the best span's."""

    def __init__(
        self, shards: TokenShards, objective: AnswerSpans, tokenizer: Tokenizer, window_column: int = 3
    ) -> None:
        self.shards, self.objective, self.tokenizer = shards, objective, tokenizer
        self.questions = list(_grouped(shards, window_column))
        self.may_be_none = self.chooses = any(not self._record(rows).answers for rows in self.questions)

    @property
    def chosen(self) -> dict[str, float]:
        """How many nats no answer must be ahead of the best span, for the best F1."""
        differences, gains = [], []
        for rows in self.questions:
            record = self._record(rows)
            found = self._found(record, rows)
            differences.append(found.none - found.score)
            gains.append(answer_f1(found.text, record.answers) - answer_f1("", record.answers))
        return {"no_answer_threshold": best_threshold(differences, gains)}

    def begin(self) -> None:
        self.logits: dict[int, np.ndarray] = {}  # of each window: (2, S)

    def read(self, output: Output, batch: Batch) -> list[tf.Tensor]:
        return [ops.stack([output.start_logits, output.end_logits], axis=1)]

    def add(self, batch: Batch, read: Sequence[np.ndarray], rows: Sequence[int]) -> None:
        for place, row in enumerate(rows):
            self.logits[row] = read[0][place]

    def end(self, total: float, count: float, stop: Stop) -> Score:
        matches, overlaps = [], []
        for rows in self.questions:
            record = self._record(rows)
            answer = self._answer(record, rows)
            matches.append(exact_match(answer, record.answers))
            overlaps.append(answer_f1(answer, record.answers))
        return {"loss": total / count, "exact_match": float(np.mean(matches)), "f1": float(np.mean(overlaps))}

    def _record(self, rows: Sequence[int]) -> AnswerRecord:
        return AnswerRecord(*self.shards.text(rows[0]))

    def _answer(self, record: AnswerRecord, rows: Sequence[int]) -> str:
        found = self._found(record, rows)
        return "" if self.may_be_none and found.none > found.score else found.text

    def _found(self, record: AnswerRecord, rows: Sequence[int]) -> _Found:
        windows = self.objective.windows(record, self.tokenizer)
        best, text = -np.inf, ""
        for window, row in zip(windows, rows, strict=True):
            score, begin, end = best_span(self.logits[row], context_places(window))
            if score > best:
                best, text = score, record.context[window.offsets[begin][0] : window.offsets[end][1]]
        none = min(self._null(window, row) for window, row in zip(windows, rows, strict=True))
        return _Found(text, best, none)

    def _null(self, window: Encoding, row: int) -> float:
        return float(self.logits[row][:, null_place(window, self.tokenizer)].sum())


def best_span(logits: np.ndarray, places: Sequence[int]) -> tuple[float, int, int]:
    """The highest sum of a start's and an end's logit, (2, S), among these places: the sum, start, end."""
    starts, ends = logits[:, places].astype(np.float64)
    sums = starts[:, None] + ends[None, :]
    length = np.arange(len(places))[None, :] - np.arange(len(places))[:, None]
    sums[(length < 0) | (length >= LONGEST_ANSWER)] = -np.inf
    start, end = divmod(int(np.argmax(sums)), len(places))
    return float(sums[start, end]), places[start], places[end]


def _grouped(shards: TokenShards, window_column: int) -> Iterator[list[int]]:
    """The rows of each record: a window numbered 0 begins one."""
    numbers: Any = shards.gather(np.arange(len(shards)), window_column)
    begins = np.flatnonzero(numbers == 0)
    for rows in np.split(np.arange(len(shards)), begins[1:]):
        yield rows.tolist()
