"""A text, or a pair of texts, and its labels, or a number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from regard.batch import Key
from regard.config import CorpusConfig
from regard.data.batching import ArrayBatch, BucketedBatches, PlannedBatch, Rows
from regard.data.documents import read_records
from regard.data.objectives.objective import Batching, Objective, Reports, Row, fill_id, token_batch
from regard.data.records import (
    ClassRecord,
    Parse,
    Record,
    parse_labelled,
    parse_multi_labelled,
    parse_valued,
)
from regard.data.shards import TokenShards
from regard.data.sources import DropReport, Located
from regard.errors import DataError
from regard.features.tokenizer import Tokenizer
from regard.features.tokenizer_layouts import LayoutName
from regard.specs import Problem

_PARSE: dict[Problem, Parse] = {
    "single_label": parse_labelled,
    "multi_label": parse_multi_labelled,
    "regression": parse_valued,
}
_LABELS: dict[Problem, Key] = {
    "single_label": Key("B", "int32", "the class"),
    "multi_label": Key("B C", "float32", "1 for each class that holds"),
    "regression": Key("B", "float32", "the number"),
}


@dataclass(frozen=True)
class Classify(Objective):
    """A row is the text's ids, their token types, and the label's number: of several labels all of them, of a number
    the bits of its float32."""

    problem: Problem = "single_label"
    names: tuple[str, ...] = ()

    noun: ClassVar[str] = "texts"
    columns: ClassVar[tuple[str, ...]] = ("text", "type", "label")
    counted: ClassVar[tuple[str, ...]] = ("text",)
    record = ClassRecord
    layout: ClassVar[LayoutName] = "encoder"
    keys: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask", "token_type_ids", "labels")

    @property
    def named(self) -> bool:  # type: ignore[override]  # a number has no label
        return self.problem != "regression"

    @property
    def labels(self) -> Key:
        return _LABELS[self.problem]

    def read(self, corpora: Sequence[CorpusConfig], report: DropReport) -> Iterator[Located]:
        return read_records(corpora, report, _PARSE[self.problem])

    def built(self, item: Any) -> Record:
        return _PARSE[self.problem](item)

    def with_names(self, names: Sequence[str]) -> Self:
        least = {"single_label": 2, "multi_label": 1, "regression": 0}[self.problem]
        if len(names) < least:
            raise DataError(
                f"the training data has {len(names)} different labels, but objective.problem = {self.problem!r} "
                f"needs at least {least}"
            )
        return replace(self, names=tuple(names))

    def refuse_tokenizer(self, tokenizer: Tokenizer, place: str) -> None:
        """Any will do: padding is masked."""

    def encode(
        self, part: Sequence[Located], tokenizer: Tokenizer, reports: Reports
    ) -> Iterator[tuple[Located, list[Row]]]:
        numbers = {name: number for number, name in enumerate(self.names)}
        for located in part:
            record = ClassRecord(*located.example)  # type: ignore[misc]  # its records are of this kind
            if any(label not in numbers for label in record.labels):
                reports.dropped.add("a label that the training data does not have", located.place)
                continue
            if record.pair is None:
                encoding = tokenizer.encode_text(record.text, max_length=self.max_tokens)
            else:
                encoding = tokenizer.encode_pair(record.text, record.pair, max_length=self.max_tokens)
            if encoding.cut:
                reports.changed.add(f"cut to data.max_tokens = {self.max_tokens}", located.place)
            bits = [int(np.float32(record.value).view(np.int32))]
            labels = bits if self.problem == "regression" else [numbers[label] for label in record.labels]
            yield located, [(encoding.ids, encoding.token_type_ids, labels)]

    def batches(self, shards: TokenShards, tokenizer: Tokenizer, how: Batching) -> BucketedBatches:
        fill = fill_id(tokenizer)

        def arrange(planned: PlannedBatch, _: int) -> ArrayBatch:
            types = 1 if how.token_types else None
            batch, _ = token_batch(shards, planned.rows, planned.sizes[0], fill, types)
            return {**batch, "labels": self._labels(shards, planned.rows)}

        return how.bucketed(shards.lengths[:, :1], arrange, self.max_tokens)

    def _labels(self, shards: TokenShards, rows: Rows) -> NDArray[Any]:
        stored = shards.gather(rows, 2)
        if self.problem == "regression":
            return stored.view(np.float32)
        if self.problem == "single_label":
            return stored
        found = np.zeros((len(rows), len(self.names)), np.float32)
        found[np.repeat(np.arange(len(rows)), shards.lengths[rows, 2]), stored] = 1
        return found
