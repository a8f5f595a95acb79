"""Two texts that belong together: their vectors are to be near, and far from those of the rest of the batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from regard.batch import Key
from regard.config import CorpusConfig
from regard.data.batching import ArrayBatch, BucketedBatches, PlannedBatch, padded
from regard.data.documents import read_records
from regard.data.objectives.objective import Batching, Objective, Reports, Row, fill_id
from regard.data.records import PairRecord, Record, parse_pair
from regard.data.shards import TokenShards
from regard.data.sources import DropReport, Located
from regard.features.tokenizer import Tokenizer
from regard.features.tokenizer_layouts import LayoutName


@dataclass(frozen=True)
class Embed(Objective):
    """A row is the ids of both texts. In a batch they stand in one row, as two segments that see nothing of each other;
    `labels` number the texts, so that equal ones are known."""

    noun: ClassVar[str] = "pairs"
    whole_batches: ClassVar[bool] = True
    columns: ClassVar[tuple[str, ...]] = ("text", "positive")
    counted: ClassVar[tuple[str, ...]] = columns
    record = PairRecord
    layout: ClassVar[LayoutName] = "encoder"
    keys: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask", "segment_ids", "labels")

    @property
    def labels(self) -> Key:
        return Key("B 2", "int32", "which text each of the two is: the same number, the same text")

    def read(self, corpora: Sequence[CorpusConfig], report: DropReport) -> Iterator[Located]:
        return read_records(corpora, report, parse_pair)

    def built(self, item: Any) -> Record:
        return parse_pair(item)

    def refuse_tokenizer(self, tokenizer: Tokenizer, place: str) -> None:
        """Any will do: padding is masked."""

    def encode(
        self, part: Sequence[Located], tokenizer: Tokenizer, reports: Reports
    ) -> Iterator[tuple[Located, list[Row]]]:
        for located in part:
            encodings = [tokenizer.encode_text(text, max_length=self.max_tokens) for text in located.example.texts]
            if any(encoding.cut for encoding in encodings):
                reports.changed.add(f"cut to data.max_tokens = {self.max_tokens}", located.place)
            text, positive = (encoding.ids for encoding in encodings)
            yield located, [(text, positive)]

    def batches(self, shards: TokenShards, tokenizer: Tokenizer, how: Batching) -> BucketedBatches:
        fill = fill_id(tokenizer)
        both = shards.lengths[:, :2].sum(axis=1, keepdims=True)

        def arrange(planned: PlannedBatch, _: int) -> ArrayBatch:
            rows, (size,) = planned
            sides = [np.split(shards.gather(rows, side), shards.lengths[rows, side].cumsum()[:-1]) for side in (0, 1)]
            pairs = [np.concatenate(pair) for pair in zip(*sides, strict=True)]
            ids, real = padded(np.concatenate(pairs), both[rows, 0], size, fill)
            second = np.arange(size) >= shards.lengths[rows, 0][:, None]
            segments = np.where(real, 1 + second, 0).astype(np.int32)
            batch = {"input_ids": ids, "attention_mask": real.astype(np.int32), "segment_ids": segments}
            return {**batch, "labels": np.stack([_numbers(side) for side in sides], axis=1)}

        return how.bucketed(both, arrange, 2 * self.max_tokens)


def _numbers(texts: Sequence[NDArray[Any]]) -> NDArray[np.int32]:
    """The place of the first text that is the same, (R,)."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(text.tobytes(), place) for place, text in enumerate(texts)], np.int32)
