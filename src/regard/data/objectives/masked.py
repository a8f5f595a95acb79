"""A text with some of its tokens hidden: each hidden one is learned from all the others (Devlin et al. 2019, 3.1)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from regard.batch import IGNORED_LABEL
from regard.config import CorpusConfig
from regard.data.batching import ArrayBatch, BucketedBatches, PlannedBatch
from regard.data.documents import read_records
from regard.data.noise import noise, shares
from regard.data.objectives.objective import Batching, Objective, Reports, Row, fill_id
from regard.data.objectives.whole_words import Words
from regard.data.packing import windows
from regard.data.records import Record, TextRecord, parse_text
from regard.data.shards import TokenShards
from regard.data.sources import DropReport, Located
from regard.errors import ConfigError
from regard.features.tokenizer import Tokenizer
from regard.features.tokenizer_layouts import LayoutName

MASKED, REPLACED = 0.8, 0.1  # of the hidden tokens: shown as the mask, or as any other; the rest stand as they are


@dataclass(frozen=True)
class MaskedLanguageModel(Objective):
    """A row is a document's ids. What is hidden is drawn anew each epoch, by a hash."""

    rate: float = 0.15
    whole_words: bool = False

    noun: ClassVar[str] = "documents"
    columns: ClassVar[tuple[str, ...]] = ("text",)
    counted: ClassVar[tuple[str, ...]] = columns
    record = TextRecord
    layout: ClassVar[LayoutName] = "encoder"

    def read(self, corpora: Sequence[CorpusConfig], report: DropReport) -> Iterator[Located]:
        return read_records(corpora, report, parse_text)

    def built(self, item: Any) -> Record:
        return parse_text(item)

    def refuse_tokenizer(self, tokenizer: Tokenizer, place: str) -> None:
        if tokenizer.mask_id is None:
            raise ConfigError(f"{place} must have a mask token, but has none")
        if sum(map(len, frame(tokenizer))) >= self.max_tokens:
            raise ConfigError(f"data.max_tokens must leave room for more than special tokens, but is {self.max_tokens}")

    def encode(
        self, part: Sequence[Located], tokenizer: Tokenizer, reports: Reports
    ) -> Iterator[tuple[Located, list[Row]]]:
        room = self.max_tokens - sum(map(len, frame(tokenizer)))
        for located in part:
            ids = tokenizer.encode_plain(located.example.texts[0])
            if not ids:
                reports.dropped.add("a text of no token", located.place)
                continue
            if len(ids) > room:
                reports.changed.add(f"longer than data.max_tokens = {self.max_tokens}, read in windows", located.place)
            yield located, [(ids,)]

    def batches(self, shards: TokenShards, tokenizer: Tokenizer, how: Batching) -> BucketedBatches:
        before, after = frame(tokenizer)
        pieces = windows(shards.lengths[:, 0], self.max_tokens - len(before) - len(after))
        lengths = (pieces.lengths + len(before) + len(after)).astype(np.int32)
        masker = Masker(tokenizer, self.rate, self.whole_words, how.seed)
        fill = fill_id(tokenizer)

        def arrange(planned: PlannedBatch, epoch: int) -> ArrayBatch:
            chosen = pieces.at(planned.rows)
            place = np.arange(planned.sizes[0])
            text = (place >= len(before)) & (place < len(before) + chosen.lengths[:, None])
            ids = np.full(text.shape, fill, np.int32)
            ids[:, : len(before)] = before
            ids[text] = shards.slices(chosen.rows, 0, chosen.begins, chosen.lengths)
            for number, token in enumerate(after):
                ids[np.arange(len(ids)), len(before) + chosen.lengths + number] = token
            mask = (place < lengths[planned.rows, None]).astype(np.int32)
            shown, labels = masker(ids, text, planned.rows, epoch)
            return {"input_ids": shown, "attention_mask": mask, "labels": labels}

        return how.bucketed(lengths[:, None], arrange, self.max_tokens, pieces.rows)


class Masker:
    """Hides tokens. What becomes of an example depends on (seed, epoch, example) alone."""

    def __init__(self, tokenizer: Tokenizer, rate: float, whole_words: bool, seed: int) -> None:
        self._rate, self._seed, self._mask = rate, seed, tokenizer.id_of("mask")
        self._words = Words.of(tokenizer) if whole_words else None
        self._ordinary = np.array([i for i in range(tokenizer.vocab_size) if tokenizer.is_visible(i)], np.int32)

    def __call__(
        self, ids: NDArray[np.int32], text: NDArray[np.bool_], examples: NDArray[Any], epoch: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """ids (R, S), and which of them are text -> what the model sees, and the labels, both (R, S)."""
        order, fate, other = (noise(self._seed, epoch, examples, ids.shape[1], stream) for stream in range(3))
        wanted = np.maximum(1, np.round(self._rate * text.sum(1))).astype(np.int64)
        if self._words is None:
            rank = np.argsort(np.argsort(np.where(text, order, np.uint64(2**64 - 1)), axis=1, kind="stable"), axis=1)
            hidden = text & (rank < wanted[:, None])
        else:
            hidden = np.array([self._words.hidden(*row) for row in zip(ids, text, order, wanted, strict=True)])
        share = shares(fate)
        shown = np.where(hidden & (share < MASKED), np.int32(self._mask), ids)
        replaced = hidden & (share >= MASKED) & (share < MASKED + REPLACED)
        shown[replaced] = self._ordinary[other[replaced] % np.uint64(len(self._ordinary))]
        return shown, np.where(hidden, ids, np.int32(IGNORED_LABEL))


def frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The special tokens that stand before and after a text."""
    encoding = tokenizer.encode_text("a")
    inside = [place for place, of in enumerate(encoding.segments) if of is not None] or [len(encoding.ids)]
    return encoding.ids[: inside[0]], encoding.ids[inside[-1] + 1 :]
