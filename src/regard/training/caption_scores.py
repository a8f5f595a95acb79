"""BLEU of the captions of the first validation images, written as the run file says."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from regard.batch import CaptionExample
from regard.data.objectives.images import stacked
from regard.data.shards import TokenShards
from regard.features.image import ImageProcessor
from regard.features.tokenizer import Tokenizer
from regard.metrics.language import perplexity
from regard.metrics.translation import score
from regard.training.scores import Score, Scores, Stop, Stopped

_IMAGES = 16  # that are captioned at a time


class CaptionScores(Scores):
    """Perplexity, and BLEU (0..100) of each caption against the one of its row, of several languages their mean; None
    where none is written."""

    def __init__(
        self, model: Any, shards: TokenShards, tokenizer: Tokenizer, processor: ImageProcessor, examples: int
    ) -> None:
        """examples: how many are captioned; 0: none."""
        self.model, self.shards, self.tokenizer, self.processor = model, shards, tokenizer, processor
        self.examples = min(examples, len(shards))

    def end(self, total: float, count: float, stop: Stop) -> Score:
        loss, bleu = total / count, None
        if self.examples:
            bleu = float(np.mean([self._bleu(tag, rows, stop) for tag, rows in self._by_language().items()]))
        return {"loss": loss, "perplexity": perplexity(loss), "bleu": bleu}

    def _by_language(self) -> dict[int | None, list[int]]:
        """The rows by the tag that their captions begin with; None where no caption has one."""
        tags = set(self.tokenizer.languages.values())
        found: dict[int | None, list[int]] = {}
        for row in range(self.examples):
            first = int(self.shards.row(row)[0][0])
            found.setdefault(first if first in tags else None, []).append(row)
        return found

    def _bleu(self, tag: int | None, rows: Sequence[int], stop: Stop) -> float:
        references = [CaptionExample(*self.shards.text(row)) for row in rows]
        captions = self._captions(tag, rows, stop)
        return score(captions, [reference.text for reference in references], references[0].language).bleu

    def _captions(self, tag: int | None, rows: Sequence[int], stop: Stop) -> list[str]:
        written = []
        for first in range(0, len(rows), _IMAGES):
            if stop():
                raise Stopped
            pixels = self.processor.normalised(stacked(self.shards, np.array(rows[first : first + _IMAGES])))
            found = self.model.generate({"pixel_values": pixels}, forced_bos_token_id=tag)
            written += [self.tokenizer.decode(ids.tolist()) for ids in np.asarray(found.sequences)[:, 0]]
        return written
