"""A text with some of its spans hidden: the decoder learns to write what stood there (Raffel et al. 2020, 3.1.4).

As in their code: the noise is 15 % of the tokens in spans of 3 on average; text and noise are cut into as many random
spans, which take turns, text first; so a text with one span of noise hides its end. The source is the text with a
sentinel for each span of noise, the target each sentinel with its span; both end with eos.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from regard.batch import IGNORED_LABEL
from regard.config import CorpusConfig
from regard.data.batching import ArrayBatch, BucketedBatches, PlannedBatch, padded
from regard.data.documents import read_records
from regard.data.noise import noise
from regard.data.objectives.objective import Batching, Objective, Reports, Row, fill_id
from regard.data.packing import Pieces, windows
from regard.data.records import Record, TextRecord, parse_text
from regard.data.shards import TokenShards
from regard.data.sources import DropReport, Located
from regard.errors import ConfigError
from regard.features.tokenizer import Tokenizer
from regard.features.tokenizer_layouts import SENTINELS, LayoutName

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class SpanCorruption(Objective):
    """A row is a document's ids. What is hidden is drawn anew each epoch, by a hash."""

    rate: float = 0.15
    mean_span: float = 3.0

    noun: ClassVar[str] = "documents"
    columns: ClassVar[tuple[str, ...]] = ("text",)
    counted: ClassVar[tuple[str, ...]] = columns
    record = TextRecord
    layout: ClassVar[LayoutName] = "sentinels"

    def read(self, corpora: Sequence[CorpusConfig], report: DropReport) -> Iterator[Located]:
        return read_records(corpora, report, parse_text)

    def built(self, item: Any) -> Record:
        return parse_text(item)

    def refuse_tokenizer(self, tokenizer: Tokenizer, place: str) -> None:
        for role in ("eos", "pad"):
            if role not in tokenizer.special_tokens:
                raise ConfigError(f"{place} must have an {role} token, but has none")
        if not sentinels(tokenizer):
            raise ConfigError(f"{place} must have the sentinels <extra_id_0> and so on, but has none")

    def noise_of(self, length: Any) -> tuple[Any, Any]:
        """How many tokens of so many are hidden, and in how many spans."""
        length = np.asarray(length)
        hidden = np.clip(np.round(length * self.rate), 1, length - 1).astype(np.int64)
        spans = np.maximum(np.round(hidden / self.mean_span), 1).astype(np.int64)
        return hidden, np.minimum(spans, np.minimum(hidden, length - hidden))

    def sides(self, length: Any) -> NDArray[np.int32]:
        """The tokens of source and target that so many tokens become: (n,) -> (n, 2)."""
        hidden, spans = self.noise_of(length)
        return np.stack([np.asarray(length) - hidden + spans + 1, hidden + spans + 1], -1).astype(np.int32)

    def window(self, known: int) -> int:
        """The most tokens of a text that become no more than `max_tokens` on either side, and `known` sentinels."""
        lengths = np.arange(2, 2 * self.max_tokens + 2)
        fits = (self.sides(lengths).max(1) <= self.max_tokens) & (self.noise_of(lengths)[1] <= known)
        if not fits[0]:
            raise ConfigError(f"data.max_tokens must be at least 4 for span-corruption, but is {self.max_tokens}")
        return int(lengths[np.argmin(fits)] - 1 if not fits.all() else lengths[-1])

    def encode(
        self, part: Sequence[Located], tokenizer: Tokenizer, reports: Reports
    ) -> Iterator[tuple[Located, list[Row]]]:
        window = self.window(len(sentinels(tokenizer)))
        for located in part:
            ids = tokenizer.encode_plain(located.example.texts[0])
            if len(ids) < 2:
                reports.dropped.add("a text of fewer than 2 tokens, of which none can be hidden", located.place)
                continue
            if len(ids) > window:
                reports.changed.add(f"longer than {window} tokens, read in windows", located.place)
            yield located, [(ids,)]

    def batches(self, shards: TokenShards, tokenizer: Tokenizer, how: Batching) -> BucketedBatches:
        marks, eos, fill = sentinels(tokenizer), tokenizer.id_of("eos"), fill_id(tokenizer)
        pieces = _at_least_two(windows(shards.lengths[:, 0], self.window(len(marks))))
        lengths = self.sides(pieces.lengths)

        def arrange(planned: PlannedBatch, epoch: int) -> ArrayBatch:
            chosen = pieces.at(planned.rows)
            ids = shards.slices(chosen.rows, 0, chosen.begins, chosen.lengths)
            texts = np.split(ids, np.cumsum(chosen.lengths)[:-1])
            bits = noise(how.seed, epoch, planned.rows, 2 * int(chosen.lengths.max()))
            found = [self.corrupted(*row, marks, eos) for row in zip(texts, bits, strict=True)]
            both = lengths[planned.rows]
            sources, real = padded(np.concatenate([s for s, _ in found]), both[:, 0], planned.sizes[0], fill)
            labels, _ = padded(np.concatenate([t for _, t in found]), both[:, 1], planned.sizes[1], IGNORED_LABEL)
            return {"input_ids": sources, "attention_mask": real.astype(np.int32), "labels": labels}

        return how.bucketed(lengths, arrange, self.max_tokens, pieces.rows)

    def corrupted(self, ids: Ids, bits: NDArray[np.uint64], marks: Ids, eos: int) -> tuple[Ids, Ids]:
        """ids (L,), at least 2 L bits -> source and target."""
        hidden, spans = map(int, self.noise_of(len(ids)))
        kept = random_spans(len(ids) - hidden, spans, bits)
        noised = random_spans(hidden, spans, bits[len(ids) :])
        ends = np.cumsum(np.stack([kept, noised], 1).ravel())
        parts = np.split(ids, ends[:-1])
        source = [part for text, mark in zip(parts[::2], marks, strict=False) for part in (text, [mark])]
        target = [part for mark, text in zip(marks, parts[1::2], strict=False) for part in ([mark], text)]
        return np.concatenate([*source, [eos]]).astype(np.int32), np.concatenate([*target, [eos]]).astype(np.int32)


def random_spans(items: int, spans: int, bits: NDArray[np.uint64]) -> NDArray[np.int64]:
    """`items` cut into so many spans of at least 1, all ways alike; at least items - 1 bits. -> lengths (spans,)."""
    cuts = np.sort(np.argsort(bits[: items - 1], kind="stable")[: spans - 1]) + 1
    return np.diff(np.concatenate([[0], cuts, [items]])).astype(np.int64)


def sentinels(tokenizer: Tokenizer) -> Ids:
    """The ids of <extra_id_0>, <extra_id_1> and so on, as many as there are."""
    found = [tokenizer.token_id(f"<extra_id_{number}>") for number in range(SENTINELS)]
    known = found.index(None) if None in found else len(found)
    return np.array(found[:known], np.int32)


def _at_least_two(pieces: Pieces) -> Pieces:
    """A window with the one token that is left of a document takes the token before it, too."""
    alone = pieces.lengths == 1
    return Pieces(pieces.rows, pieces.begins - alone, pieces.lengths + alone)
