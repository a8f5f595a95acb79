"""A document: each token is learned from those before it (Radford et al. 2019). Documents share windows, and see
nothing of each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from regard.config import CorpusConfig
from regard.data.documents import read_records
from regard.data.objectives.objective import Batching, Objective, Reports, Row, fill_id
from regard.data.packing import PackedBatches
from regard.data.records import Record, TextRecord, parse_text
from regard.data.shards import TokenShards
from regard.data.sources import DropReport, Located
from regard.errors import ConfigError
from regard.features.tokenizer import Tokenizer
from regard.features.tokenizer_layouts import LayoutName


@dataclass(frozen=True)
class LanguageModel(Objective):
    """A row is a document between the tokens that begin and end one; where no token begins one, that which ends it
    does, as in GPT-2."""

    noun: ClassVar[str] = "documents"
    columns: ClassVar[tuple[str, ...]] = ("text",)
    counted: ClassVar[tuple[str, ...]] = columns
    record = TextRecord
    layout: ClassVar[LayoutName] = "language"
    keys: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask", "segment_ids", "position_ids", "labels")

    def read(self, corpora: Sequence[CorpusConfig], report: DropReport) -> Iterator[Located]:
        return read_records(corpora, report, parse_text)

    def built(self, item: Any) -> Record:
        return parse_text(item)

    def refuse_tokenizer(self, tokenizer: Tokenizer, place: str) -> None:
        if tokenizer.eos_id is None:
            raise ConfigError(f"{place} must have an eos token, which ends documents, but has none")

    def encode(
        self, part: Sequence[Located], tokenizer: Tokenizer, reports: Reports
    ) -> Iterator[tuple[Located, list[Row]]]:
        end = tokenizer.id_of("eos")
        begin = end if tokenizer.bos_id is None else tokenizer.bos_id
        for located in part:
            ids = [begin, *tokenizer.encode_plain(located.example.texts[0]), end]
            if len(ids) > self.max_tokens:
                reports.changed.add(f"longer than data.max_tokens = {self.max_tokens}, read in windows", located.place)
            yield located, [(ids,)]

    def batches(self, shards: TokenShards, tokenizer: Tokenizer, how: Batching) -> PackedBatches:
        return PackedBatches(
            shards,
            window=self.max_tokens,
            batch_tokens=how.batch_tokens,
            seed=how.seed,
            pad_id=fill_id(tokenizer),
            shuffle=how.shuffle,
            mixture=how.mixture,
        )
