"""What is saved beside a recogniser that searches its frames for the words of its training texts."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regard.config import NgramsConfig
from regard.data.shards import PreparedData
from regard.decoding.ngrams import NGrams
from regard.interop.word_search import WordSearch


@dataclass(frozen=True)
class WordFiles:
    """The tokenizer, the processor, and the n-grams of the training texts."""

    prepared: PreparedData
    config: NgramsConfig

    def save(self, directory: Path) -> None:
        self.prepared.save(directory)
        ngrams = NGrams.of_texts(training_words(self.prepared), self.config.order)
        WordSearch(ngrams, self.config.num_beams, self.config.alpha, self.config.beta).save(directory)


def training_words(prepared: PreparedData) -> Iterator[list[str]]:
    """The words of each text, as white space parts them."""
    shards = prepared.split("train")
    ids = shards.gather(np.arange(len(shards)), 0)
    for text in np.split(ids, np.cumsum(shards.lengths[:, 0])[:-1]):
        yield prepared.tokenizer.decode(text.tolist()).split()
