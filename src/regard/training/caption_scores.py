"""BLEU of the captions of the first validation images, written as the run file says."""

from typing import Any

import numpy as np

from regard.data.objectives.images import stacked
from regard.data.shards import TokenShards
from regard.features.image import ImageProcessor
from regard.features.tokenizer import Tokenizer
from regard.metrics.language import perplexity
from regard.metrics.translation import score
from regard.training.scores import Score, Scores, Stop, Stopped

_IMAGES = 16  # that are captioned at a time


class CaptionScores(Scores):
    """Perplexity, and BLEU (0..100) of each caption against the one of its row; None where none is written."""

    def __init__(
        self, model: Any, shards: TokenShards, tokenizer: Tokenizer, processor: ImageProcessor, examples: int
    ) -> None:
        """examples: how many are captioned; 0: none."""
        self.model, self.shards, self.tokenizer, self.processor = model, shards, tokenizer, processor
        self.examples = min(examples, len(shards))

    def end(self, total: float, count: float, stop: Stop) -> Score:
        loss, bleu = total / count, None
        if self.examples:
            references = [str(self.shards.text(row)[1]) for row in range(self.examples)]
            bleu = score(self._captions(stop), references).bleu
        return {"loss": loss, "perplexity": perplexity(loss), "bleu": bleu}

    def _captions(self, stop: Stop) -> list[str]:
        written = []
        for first in range(0, self.examples, _IMAGES):
            if stop():
                raise Stopped
            rows = np.arange(first, min(first + _IMAGES, self.examples))
            pixels = self.processor.normalised(stacked(self.shards, rows))
            found = self.model.generate({"pixel_values": pixels})
            written += [self.tokenizer.decode(ids.tolist()) for ids in np.asarray(found.sequences)[:, 0]]
        return written
