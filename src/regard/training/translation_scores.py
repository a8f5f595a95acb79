"""BLEU and chrF of the first validation examples, translated as the run file says."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from regard.batch import Batch
from regard.data.batching import batches_by_length
from regard.metrics.language import perplexity
from regard.metrics.translation import score
from regard.training.scores import Score, Scores, Stop, Stopped

_SOURCE_TOKENS = 1024  # of one translated batch


class TranslationScores(Scores):
    """Perplexity, BLEU and chrF (0..100); these are None where no example is translated."""

    def __init__(self, model: Any, shards: Any, tokenizer: Any, examples: int) -> None:
        """examples: how many are translated; 0: none."""
        self.model, self.shards, self.tokenizer = model, shards, tokenizer
        self.examples = min(examples, len(shards))

    def end(self, total: float, count: float, stop: Stop) -> Score:
        loss = total / count
        scores: Score = {"loss": loss, "perplexity": perplexity(loss), "bleu": None, "chrf": None}
        return {**scores, **self._translation_scores(stop)} if self.examples else scores

    def _translation_scores(self, stop: Stop) -> Score:
        """By target language, each under its own BLEU tokenizer, then the mean weighted by the examples of each."""
        hypotheses = self._translate(stop)
        pairs: dict[str | None, list[tuple[str, str]]] = defaultdict(list)
        for index, hypothesis in enumerate(hypotheses):
            _, reference, _, target_lang = self.shards.text(index)
            pairs[target_lang].append((hypothesis, reference))
        totals = {"bleu": 0.0, "chrf": 0.0}
        for language, group in pairs.items():
            result = score([ours for ours, _ in group], [theirs for _, theirs in group], language)
            totals["bleu"] += result.bleu * len(group)
            totals["chrf"] += result.chrf * len(group)
        return {name: total / len(hypotheses) for name, total in totals.items()}

    def _translate(self, stop: Stop) -> list[str]:
        sources = [self.shards.row(index)[0] for index in range(self.examples)]
        hypotheses = [""] * len(sources)
        for rows in batches_by_length([len(ids) for ids in sources], _SOURCE_TOKENS):
            if stop():
                raise Stopped
            found = self.model.generate(padded([sources[row] for row in rows], self.tokenizer.pad_id))
            for row, ids in zip(rows, np.asarray(found.sequences)[:, 0], strict=True):
                hypotheses[row] = self.tokenizer.decode(ids.tolist())
        return hypotheses


def padded(sources: Sequence[Sequence[int]], pad_id: int) -> Batch:
    """Token ids of several sources -> a batch, padded right to the longest."""
    length = max(len(ids) for ids in sources)
    input_ids = np.full((len(sources), length), pad_id, np.int32)
    attention_mask = np.zeros((len(sources), length), np.int32)
    for row, ids in enumerate(sources):
        input_ids[row, : len(ids)] = ids
        attention_mask[row, : len(ids)] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask}
