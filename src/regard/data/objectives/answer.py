"""A question and its context: where the answer begins and ends (Devlin et al. 2019, section 4.2)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from regard.config import CorpusConfig
from regard.data.batching import ArrayBatch, BucketedBatches, PlannedBatch
from regard.data.documents import read_records
from regard.data.objectives.objective import Batching, Objective, Reports, Row, fill_id, token_batch
from regard.data.records import AnswerRecord, Record, parse_answered
from regard.data.shards import TokenShards
from regard.data.sources import DropReport, Located
from regard.errors import ConfigError, InputError
from regard.features.encoding import Encoding
from regard.features.tokenizer import Tokenizer
from regard.features.tokenizer_layouts import LayoutName


@dataclass(frozen=True)
class AnswerSpans(Objective):
    """A row is a window's ids, their token types, the first and last token of the first answer, and which window of its
    context it is. A window without the whole answer points to its class token, as BERT's do."""

    stride: int | None = None

    noun: ClassVar[str] = "questions"
    rows_are: ClassVar[str] = "windows"
    columns: ClassVar[tuple[str, ...]] = ("text", "type", "span", "window")
    counted: ClassVar[tuple[str, ...]] = ("text",)
    split_by: ClassVar[str] = "context"
    record = AnswerRecord
    layout: ClassVar[LayoutName] = "encoder"
    keys: ClassVar[tuple[str, ...]] = (
        *("input_ids", "attention_mask", "token_type_ids"),
        *("start_positions", "end_positions"),
    )

    def read(self, corpora: Sequence[CorpusConfig], report: DropReport) -> Iterator[Located]:
        return read_records(corpora, report, parse_answered)

    def built(self, item: Any) -> Record:
        return parse_answered(item)

    def refuse_tokenizer(self, tokenizer: Tokenizer, place: str) -> None:
        if tokenizer.algorithm == "SentencePiece":
            raise ConfigError(f"{place} does not say which characters a token is of, which answers need")

    def windows(self, record: AnswerRecord, tokenizer: Tokenizer) -> list[Encoding]:
        """The question with a stretch of the context, as often as it takes. Raises InputError where the question leaves
        no room."""
        shared = self.max_tokens // 4 if self.stride is None else self.stride
        return tokenizer.windows(record.question, record.context, max_length=self.max_tokens, stride=shared)

    def encode(
        self, part: Sequence[Located], tokenizer: Tokenizer, reports: Reports
    ) -> Iterator[tuple[Located, list[Row]]]:
        for located in part:
            record = AnswerRecord(*located.example)  # type: ignore[misc]  # its records are of this kind
            try:
                found = self.windows(record, tokenizer)
            except InputError:
                reports.dropped.add(
                    f"a question that leaves no room for its context in data.max_tokens = {self.max_tokens}",
                    located.place,
                )
                continue
            if len(found) > 1:
                reports.changed.add(f"longer than data.max_tokens = {self.max_tokens}, read in windows", located.place)
            spans = [span_of(window, record, tokenizer) for window in found]
            if record.answers and all(span is None for span in spans):
                reports.dropped.add("an answer that no window holds whole", located.place)
                continue
            rows: list[Row] = []
            for number, (window, span) in enumerate(zip(found, spans, strict=True)):
                null = null_place(window, tokenizer)
                rows.append((window.ids, window.token_type_ids, span or (null, null), [number]))
            yield located, rows

    def batches(self, shards: TokenShards, tokenizer: Tokenizer, how: Batching) -> BucketedBatches:
        fill = fill_id(tokenizer)

        def arrange(planned: PlannedBatch, epoch: int) -> ArrayBatch:
            batch, _ = token_batch(shards, planned.rows, planned.sizes[0], fill, 1 if how.token_types else None)
            spans = shards.gather(planned.rows, 2).reshape(-1, 2)
            return {**batch, "start_positions": spans[:, 0].copy(), "end_positions": spans[:, 1].copy()}

        return how.bucketed(shards.lengths[:, :1], arrange, self.max_tokens)


def context_places(window: Encoding) -> list[int]:
    """The places of the context's tokens in a window."""
    return [place for place, of in enumerate(window.segments) if of == 1]


def null_place(window: Encoding, tokenizer: Tokenizer) -> int:
    """Where a window points to that holds no answer: its class token, or its first."""
    return window.ids.index(tokenizer.cls_id) if tokenizer.cls_id in window.ids else 0


def span_of(window: Encoding, record: AnswerRecord, tokenizer: Tokenizer) -> tuple[int, int] | None:
    """The first and last token of the first answer; None where the window does not hold all of it."""
    places = context_places(window)
    if not record.answers or not places:
        return None
    begin, end = record.starts[0], record.starts[0] + len(record.answers[0])
    starts, ends = (np.array([window.offsets[place][side] for place in places]) for side in (0, 1))
    touched = np.flatnonzero((ends > begin) & (starts < end))
    if not len(touched) or starts[touched[0]] > begin or ends[touched[-1]] < end:
        return None
    return places[touched[0]], places[touched[-1]]
