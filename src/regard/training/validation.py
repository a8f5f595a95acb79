"""Validation: loss over the whole split, BLEU and chrF of the first examples, translated as the run file says."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from regard.batch import Batch
from regard.data.batching import BucketedBatches, batches_by_length
from regard.metrics.translation import score
from regard.nn.losses import cross_entropy
from regard.training.step import batch_signature

Score = dict[str, float | None]  # loss (nats a token), perplexity, bleu, chrf (0..100)

_SOURCE_TOKENS = 1024  # of one translated batch


class Stopped(Exception):
    """Validation was left unfinished because training was asked to stop."""


class Validator:
    """Measures a model on one split; nothing of the training's state changes by it."""

    def __init__(self, model: Any, shards: Any, tokenizer: Any, batches: BucketedBatches, examples: int) -> None:
        """batches: of the split, unshuffled. examples: how many are translated for BLEU and chrF; 0: none."""
        self.model = model
        self.shards = shards
        self.tokenizer = tokenizer
        self.batches = batches
        self.examples = min(examples, len(shards))
        self._losses: Any = None

    def measure(self, stop: Callable[[], bool] = lambda: False) -> Score:
        """The scores now; bleu and chrf are None where no example is translated. Raises Stopped if `stop` says so."""
        loss = self._mean_loss(stop)
        # exp(700) is near the largest float64; a run that stands there has gone astray anyway.
        scores: Score = {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), "bleu": None, "chrf": None}
        if self.examples:
            scores |= self._translation_scores(stop)
        return scores

    def _mean_loss(self, stop: Callable[[], bool]) -> float:
        total, count = 0.0, 0.0
        for batch in self.batches.epoch():
            if stop():
                raise Stopped
            if self._losses is None:
                self._losses = tf.function(self._batch_loss, input_signature=[batch_signature(batch)])
            loss_sum, labels = self._losses(batch)
            total += float(loss_sum)
            count += float(labels)
        return total / count

    def _batch_loss(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        logits = self.model(batch, training=False).logits
        loss_sum, count = cross_entropy(logits, batch["labels"])
        return loss_sum, count

    def _translation_scores(self, stop: Callable[[], bool]) -> Score:
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

    def _translate(self, stop: Callable[[], bool]) -> list[str]:
        sources = [self.shards.pair(index)[0] for index in range(self.examples)]
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
