"""Word and character error rates of validation's recordings, transcribed as the task will: written by the decoder as
the run file says, or read off the frames."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from regard.batch import Batch
from regard.data.objectives.transcribe import Transcribe
from regard.data.shards import TokenShards
from regard.decoding.frames import collapsed
from regard.features.tokenizer import Tokenizer
from regard.interop.speech_tokens import told_by
from regard.metrics.language import perplexity
from regard.metrics.transcripts import error_rates
from regard.nn.output import Output
from regard.training.scores import Score, Scores, Stop, Stopped

_RECORDINGS = 16  # that are written down at a time


class WrittenScores(Scores):
    """Perplexity, and both rates of the first recordings; None where none is written down."""

    def __init__(
        self, model: Any, shards: TokenShards, tokenizer: Tokenizer, objective: Transcribe, examples: int
    ) -> None:
        """examples: how many are written down; 0: none."""
        self.model, self.shards, self.tokenizer, self.objective = model, shards, tokenizer, objective
        self.examples = min(examples, len(shards))
        told = told_by(model.kept_config, model.kept_generation, model.spec, tokenizer)
        self.start, self.told = told.start, told.prefix_length

    def end(self, total: float, count: float, stop: Stop) -> Score:
        loss = total / count
        found: Score = {"loss": loss, "perplexity": perplexity(loss), "wer": None, "cer": None}
        if self.examples:
            found |= error_rates(self._written(stop), [str(self.shards.text(row)[1]) for row in range(self.examples)])
        return found

    def _written(self, stop: Stop) -> list[str]:
        texts = []
        for first in range(0, self.examples, _RECORDINGS):
            if stop():
                raise Stopped
            rows = np.arange(first, min(first + _RECORDINGS, self.examples))
            heard = {"input_features": self.objective.features(self.shards, rows)}
            if self.told:  # each is told what stands before its own text
                begun = [[self.start, *self.shards.gather(row, 0)[: self.told]] for row in rows[:, None]]
                heard["decoder_input_ids"] = np.array(begun, np.int32)
            found = self.model.generate(heard)
            texts += [self.tokenizer.decode(ids.tolist()) for ids in np.asarray(found.sequences)[:, 0]]
        return texts


class FrameScores(Scores):
    """Both rates of all recordings."""

    def __init__(self, shards: TokenShards, tokenizer: Tokenizer, blank: int) -> None:
        self.shards, self.tokenizer, self.blank = shards, tokenizer, blank

    def begin(self) -> None:
        self.texts: list[str] = []
        self.references: list[str] = []

    def read(self, output: Output, batch: Batch) -> list[tf.Tensor]:
        return [ops.argmax(output.logits, axis=-1)]

    def add(self, batch: Batch, read: Sequence[np.ndarray], rows: Sequence[int]) -> None:
        self.texts += [self.tokenizer.decode(list(ids)) for ids in collapsed(read[0], self.blank)]
        self.references += [str(self.shards.text(row)[1]) for row in rows]

    def end(self, total: float, count: float, stop: Stop) -> Score:
        return {"loss": total / count, **error_rates(self.texts, self.references)}
