"""Scores of what is written for the first validation sources, as the run file says: beams, lengths, how many."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from regard.batch import Batch, Example
from regard.data.batching import batches_by_length
from regard.metrics.answering import answer_f1, exact_match
from regard.metrics.language import perplexity
from regard.metrics.summaries import Rouge, rouge
from regard.metrics.translation import score
from regard.training.scores import Score, Scores, Stop, Stopped

_SOURCE_TOKENS = 1024  # of one batch that is written for


class WritingScores(Scores):
    """Perplexity, and what a task makes of the texts; its scores are None where no text is written."""

    names: ClassVar[tuple[str, ...]]

    def __init__(self, model: Any, shards: Any, tokenizer: Any, examples: int) -> None:
        """examples: for how many a text is written; 0: none."""
        self.model, self.shards, self.tokenizer = model, shards, tokenizer
        self.examples = min(examples, len(shards))

    @abstractmethod
    def of_texts(self, texts: Sequence[str]) -> Score:
        """The scores of the first texts."""

    def end(self, total: float, count: float, stop: Stop) -> Score:
        loss = total / count
        scores: Score = {"loss": loss, "perplexity": perplexity(loss), **dict.fromkeys(self.names)}
        return {**scores, **self.of_texts(self._written(stop))} if self.examples else scores

    def references(self) -> list[str]:
        """The targets of the first examples."""
        return [self.shards.text(index)[1] for index in range(self.examples)]

    def _written(self, stop: Stop) -> list[str]:
        sources = [self.shards.row(index)[0] for index in range(self.examples)]
        texts = [""] * len(sources)
        for rows in batches_by_length([len(ids) for ids in sources], _SOURCE_TOKENS):
            if stop():
                raise Stopped
            found = self.model.generate(padded([sources[row] for row in rows], self.tokenizer.pad_id or 0))
            for row, ids in zip(rows, np.asarray(found.sequences)[:, 0], strict=True):
                texts[row] = self.tokenizer.decode(ids.tolist())
        return texts


class TranslationScores(WritingScores):
    """BLEU and chrF (0..100)."""

    names = ("bleu", "chrf")

    def of_texts(self, texts: Sequence[str]) -> Score:
        """By target language, each under its own BLEU tokenizer, then the mean weighted by the examples of each."""
        pairs: dict[str | None, list[tuple[str, str]]] = defaultdict(list)
        for index, text in enumerate(texts):
            example = Example(*self.shards.text(index))
            pairs[example.target_lang].append((text, example.target))
        totals = {"bleu": 0.0, "chrf": 0.0}
        for language, group in pairs.items():
            result = score([ours for ours, _ in group], [theirs for _, theirs in group], language)
            totals["bleu"] += result.bleu * len(group)
            totals["chrf"] += result.chrf * len(group)
        return {name: total / len(texts) for name, total in totals.items()}


class SummaryScores(WritingScores):
    """ROUGE-1, ROUGE-2 and ROUGE-L, each F1 (0..1)."""

    names = Rouge._fields

    def of_texts(self, texts: Sequence[str]) -> Score:
        found = [rouge(text, reference) for text, reference in zip(texts, self.references(), strict=True)]
        return {name: float(value) for name, value in zip(self.names, np.mean(found, axis=0), strict=True)}


class AnswerTextScores(WritingScores):
    """Exact match and F1 of the words, as SQuAD's of answers: 0..1."""

    names = ("exact_match", "f1")

    def of_texts(self, texts: Sequence[str]) -> Score:
        pairs = list(zip(texts, self.references(), strict=True))
        return {
            "exact_match": float(np.mean([exact_match(text, [reference]) for text, reference in pairs])),
            "f1": float(np.mean([answer_f1(text, [reference]) for text, reference in pairs])),
        }


def padded(sources: Sequence[Sequence[int]], pad_id: int) -> Batch:
    """Token ids of several sources -> a batch, padded right to the longest."""
    length = max(len(ids) for ids in sources)
    input_ids = np.full((len(sources), length), pad_id, np.int32)
    attention_mask = np.zeros((len(sources), length), np.int32)
    for row, ids in enumerate(sources):
        input_ids[row, : len(ids)] = ids
        attention_mask[row, : len(ids)] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask}
