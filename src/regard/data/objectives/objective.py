"""What every objective is: data, and pure functions record -> rows -> batch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from regard.batch import KEYS, Key
from regard.config import CorpusConfig
from regard.data.batching import Arrange, ArrayBatch, Batches, BucketedBatches, Rows, padded, threads_to_feed
from regard.data.curriculum import Curriculum
from regard.data.given import Given
from regard.data.mixture import Mixture
from regard.data.records import Record
from regard.data.shards import PreparedData, TokenShards
from regard.data.sources import DropReport, Located
from regard.features.processors import Processor
from regard.features.tokenizer import Tokenizer
from regard.features.tokenizer_layouts import LayoutName

Row = tuple[Sequence[int], ...]  # the columns of one row


class SensedRow(NamedTuple):
    """A row of an image or a sound."""

    columns: Row
    features: NDArray[Any]  # of the same dtype and shape in all rows, but for its length, the first axis


class Reports(NamedTuple):
    """What became of the records that did not become rows as they are."""

    dropped: DropReport
    changed: DropReport  # cut, or read in several windows


class Batching(NamedTuple):
    """How rows become batches."""

    batch_tokens: int
    seed: int
    shuffle: bool
    token_types: bool = False  # whether the model tells two texts apart by `token_type_ids`
    temperature: float | None = None  # at which corpora are mixed; None: each row once an epoch
    corpora: tuple[int, ...] = ()  # prepared rows of each corpus, one after another
    curriculum: Curriculum | None = None
    varied: bool = False  # whether images and sounds are varied by hashes, as the run file says
    batch_rows: int = 1  # of images and sounds

    def bucketed(
        self, lengths: NDArray[Any], arrange: Arrange, max_tokens: int, of: Rows | None = None
    ) -> BucketedBatches:
        """Batches of rows of like lengths, (rows, sides); `arrange` makes the arrays of one. of: the prepared row that
        each is of, ascending; absent: they are the prepared rows."""
        return BucketedBatches(
            lengths,
            arrange,
            batch_tokens=self.batch_tokens,
            seed=self.seed,
            shuffle=self.shuffle,
            max_tokens=max_tokens,
            mixture=self.mixture(np.arange(len(lengths)) if of is None else of),
            curriculum=self.curriculum,
        )

    def mixture(self, of: Rows) -> Mixture | None:
        """What the epochs of rows are made of, given the prepared row that each is of, ascending."""
        if self.temperature is None:
            return None
        ends = np.searchsorted(of, np.cumsum(self.corpora))
        return Mixture([int(count) for count in np.diff(ends, prepend=0)], self.temperature, self.seed)

    def of_one_size(self, count: int, arrange: Arrange) -> BucketedBatches:
        """Batches of `batch_rows` rows, all of one shape."""
        return self.of_equal_sizes(np.zeros(count, np.int64), arrange)

    def of_equal_sizes(self, sizes: Rows, arrange: Arrange) -> BucketedBatches:
        """Batches of `batch_rows` rows of one of the `sizes` (rows,), which are numbered from 0."""
        return BucketedBatches(
            np.ones((len(sizes), 1), np.int32),
            arrange,
            batch_tokens=self.batch_rows,
            seed=self.seed,
            shuffle=self.shuffle,
            max_tokens=1,
            mixture=self.mixture(np.arange(len(sizes))),
            kinds=sizes,
            threads=threads_to_feed(),
        )


@dataclass(frozen=True)
class Objective(ABC):
    """One task's way from corpora to batches. It is sent to the processes that tokenise, so it holds plain values."""

    max_tokens: int  # that the model reads at once

    noun: ClassVar[str]  # what its records are called
    rows_are: ClassVar[str] = ""  # what its rows are called, where a record may be several
    columns: ClassVar[tuple[str, ...]]  # of a row
    counted: ClassVar[tuple[str, ...]]  # the columns whose tokens are worth telling
    split_by: ClassVar[str] = "text"  # the key of a record, in words
    record: ClassVar[Any]  # the type of its records
    layout: ClassVar[LayoutName | None]  # of a tokenizer that is trained for it; None: it reads no texts
    keys: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask", "labels")  # of its batches
    named: ClassVar[bool] = False  # whether it must know all labels before it makes a row
    few_labels: ClassVar[bool] = False  # whether most places of its batches, which a language model reads, have none
    whole_batches: ClassVar[bool] = False  # whether a row's loss depends on the batch's other rows

    @property
    def labels(self) -> Key:
        """The shape and dtype of `labels` in its batches."""
        return KEYS["labels"]

    def with_names(self, names: Sequence[str]) -> Self:
        """The objective once the labels of the training data are known."""
        return self

    def with_given(self, given: Given) -> Self:
        """The objective of a run that starts from a checkpoint, which brings this."""
        return self

    def of(self, prepared: PreparedData) -> Self:
        """The objective once the data are prepared."""
        return self.with_names(prepared.manifest.get("names", []))

    @property
    def processor(self) -> Processor | None:
        """What prepares its images or sounds, where it has any."""
        return None

    @property
    def most_rows(self) -> int | None:
        """Of a shard, where its features would take too much memory otherwise."""
        return None

    def listed_files(self, corpora: Sequence[CorpusConfig]) -> Iterator[str]:
        """The files that the records of corpora name, in order."""
        return iter(())

    @abstractmethod
    def read(self, corpora: Sequence[CorpusConfig], report: DropReport) -> Iterator[Located]:
        """The usable records of corpora; the rest goes to `report`."""

    def built(self, item: Any) -> Record:
        """What a builder made, as a record: a pair of texts is one, others say what a line of JSON Lines would."""
        record: Record = item
        return record

    def refuse_record(self, located: Located) -> None:
        """Raise DataError for a record that the run file rules out."""
        return

    def tags(self, names: Sequence[str]) -> list[str]:
        """The language tags that a trained tokenizer must have."""
        return []

    def equipped(self, tokenizer: Tokenizer) -> Tokenizer:
        """The tokenizer that goes with the data and the model: with what the objective has to say in its files."""
        return tokenizer

    @abstractmethod
    def refuse_tokenizer(self, tokenizer: Tokenizer, place: str) -> None:
        """Raise ConfigError for a tokenizer that lacks what the rows need."""

    @abstractmethod
    def encode(
        self, part: Sequence[Located], tokenizer: Tokenizer, reports: Reports
    ) -> Iterator[tuple[Located, Sequence[Row | SensedRow]]]:
        """The rows of the records that are kept, in order; a pure function of them."""

    @abstractmethod
    def batches(self, shards: TokenShards, tokenizer: Tokenizer, how: Batching) -> Batches:
        """The batches of prepared rows."""


def token_batch(shards: TokenShards, rows: Rows, size: int, pad_id: int, types: int | None) -> tuple[ArrayBatch, Any]:
    """`input_ids` of column 0, `attention_mask`, and where a column of types is given `token_type_ids`; and where the
    tokens are, (R, S)."""
    lengths = shards.lengths[rows, 0]
    ids, real = padded(shards.gather(rows, 0), lengths, size, pad_id)
    batch = {"input_ids": ids, "attention_mask": real.astype(np.int32)}
    if types is not None:
        batch["token_type_ids"] = padded(shards.gather(rows, types), lengths, size, 0)[0]
    return batch, real


def fill_id(tokenizer: Tokenizer) -> int:
    """What stands in the padding, which no model reads: the pad token where there is one."""
    return tokenizer.pad_id if tokenizer.pad_id is not None else 0
