"""Words with a tag each: the first token of a word carries its tag, the others carry none (Devlin et al. 2019, 5.3)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from regard.batch import IGNORED_LABEL
from regard.config import CorpusConfig
from regard.data.batching import ArrayBatch, BucketedBatches, PlannedBatch, padded
from regard.data.documents import read_records
from regard.data.objectives.objective import Batching, Objective, Reports, Row, fill_id, token_batch
from regard.data.records import TagRecord, parse_tagged
from regard.data.shards import TokenShards
from regard.data.sources import DropReport, Located
from regard.errors import ConfigError, DataError
from regard.features.encoding import Encoding
from regard.features.first_tokens import first_tokens
from regard.features.tokenizer import Tokenizer
from regard.features.tokenizer_layouts import LayoutName


@dataclass(frozen=True)
class Tag(Objective):
    """A row is a window's ids, their token types, for each of them 0 or the number of its tag + 1, and which window of
    its text it is. Where neighbours share tokens, the tags of the first half count in the one, the others in the other.
    """

    stride: int | None = None
    names: tuple[str, ...] = ()

    noun: ClassVar[str] = "texts"
    rows_are: ClassVar[str] = "windows"
    columns: ClassVar[tuple[str, ...]] = ("text", "type", "tag", "window")
    counted: ClassVar[tuple[str, ...]] = ("text",)
    record = TagRecord
    layout: ClassVar[LayoutName] = "encoder"
    keys: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask", "token_type_ids", "labels")
    named: ClassVar[bool] = True

    def read(self, corpora: Sequence[CorpusConfig], report: DropReport) -> Iterator[Located]:
        return read_records(corpora, report, parse_tagged)

    def with_names(self, names: Sequence[str]) -> Self:
        if len(names) < 2:
            raise DataError(f"the training data has {len(names)} different tags, but at least 2 are needed")
        return replace(self, names=tuple(names))

    def refuse_tokenizer(self, tokenizer: Tokenizer, place: str) -> None:
        if tokenizer.algorithm == "SentencePiece":
            raise ConfigError(f"{place} does not say which characters a token is of, which tags need")
        window_room(tokenizer.encode_text("a"), self.max_tokens, self.stride)

    def encode(
        self, part: Sequence[Located], tokenizer: Tokenizer, reports: Reports
    ) -> Iterator[tuple[Located, list[Row]]]:
        numbers = {name: number for number, name in enumerate(self.names, 1)}
        for located in part:
            record = TagRecord(*located.example)  # type: ignore[misc]  # its records are of this kind
            if any(tag not in numbers for tag in record.tags):
                reports.dropped.add("a tag that the training data does not have", located.place)
                continue
            encoding = tokenizer.encode_text(" ".join(record.words))
            tags = first_tokens(encoding, record.words, [numbers[tag] for tag in record.tags])
            if np.count_nonzero(tags) < len(record.words):
                reports.dropped.add("a word that the tokenizer leaves without a token", located.place)
                continue
            rows = list(self._rows(encoding, tags))
            if len(rows) > 1:
                reports.changed.add(f"longer than data.max_tokens = {self.max_tokens}, read in windows", located.place)
            yield located, rows

    def _rows(self, encoding: Encoding, tags: Sequence[int]) -> Iterator[Row]:
        inside = [place for place, of in enumerate(encoding.segments) if of is not None]
        first, last = inside[0], inside[-1] + 1
        room, shared = window_room(encoding, self.max_tokens, self.stride)
        starts = range(first, max(last - shared, first + 1), room - shared)
        for number, start in enumerate(starts):
            stop = min(start + room, last)
            counted = (start + (shared // 2 if number else 0), stop if stop == last else stop - (shared - shared // 2))
            places = [*range(first), *range(start, stop), *range(last, len(encoding.ids))]
            yield (
                [encoding.ids[place] for place in places],
                [encoding.token_type_ids[place] for place in places],
                [tags[place] if counted[0] <= place < counted[1] else 0 for place in places],
                [number],
            )

    def batches(self, shards: TokenShards, tokenizer: Tokenizer, how: Batching) -> BucketedBatches:
        fill = fill_id(tokenizer)

        def arrange(planned: PlannedBatch, epoch: int) -> ArrayBatch:
            rows, (size,) = planned
            batch, _ = token_batch(shards, rows, size, fill, 1 if how.token_types else None)
            tags, _ = padded(shards.gather(rows, 2), shards.lengths[rows, 2], size, 0)
            return {**batch, "labels": np.where(tags > 0, tags - 1, IGNORED_LABEL).astype(np.int32)}

        return how.bucketed(shards.lengths[:, :1], arrange, self.max_tokens)


def window_room(encoding: Encoding, max_tokens: int, stride: int | None) -> tuple[int, int]:
    """How many tokens of a text a window holds, and how many of them it shares with the next."""
    room = max_tokens - sum(of is None for of in encoding.segments)
    shared = max_tokens // 4 if stride is None else stride
    if room <= shared:
        raise ConfigError(
            f"objective.stride must be below the {room} tokens of a text that fit into data.max_tokens = {max_tokens}, "
            f"but is {shared}"
        )
    return room, shared
