"""A pair of texts: the encoder reads the source, the decoder learns to write the target (Vaswani et al. 2017)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from regard.batch import IGNORED_LABEL, Example
from regard.config import CorpusConfig
from regard.data.batching import ArrayBatch, BucketedBatches, PlannedBatch, padded
from regard.data.objectives.objective import Batching, Objective, Reports, Row
from regard.data.shards import TokenShards
from regard.data.sources import DropReport, Located, read_located
from regard.errors import ConfigError
from regard.features.tokenizer import Tokenizer
from regard.features.tokenizer_layouts import LayoutName


@dataclass(frozen=True)
class TextToText(Objective):
    """A row is the source's ids and the target's. Lengths count what the model reads: eos too.

    A longer target is dropped, for its end is what teaches to stop; a longer source too, unless sources are cut.
    """

    cuts_sources: ClassVar[bool] = False

    noun: ClassVar[str] = "pairs"
    columns: ClassVar[tuple[str, ...]] = ("source", "target")
    counted: ClassVar[tuple[str, ...]] = columns
    split_by: ClassVar[str] = "source"
    record = Example
    layout: ClassVar[LayoutName] = "translate"

    def read(self, corpora: Sequence[CorpusConfig], report: DropReport) -> Iterator[Located]:
        return read_located(corpora, report)

    def refuse_tokenizer(self, tokenizer: Tokenizer, place: str) -> None:
        require_ending(tokenizer, place)

    def objection(self, source: int, target: int) -> str | None:
        """Why a pair of these lengths is dropped; None where it is kept."""
        if max(source, target) > self.max_tokens:
            return f"longer than data.max_tokens = {self.max_tokens}"
        return None

    def before(self, located: Located, tokenizer: Tokenizer) -> list[int]:
        """The ids that stand before a source."""
        return []

    def encode(
        self, part: Sequence[Located], tokenizer: Tokenizer, reports: Reports
    ) -> Iterator[tuple[Located, list[Row]]]:
        examples = [Example(*located.example) for located in part]  # type: ignore[misc]  # its records are pairs
        sources = tokenizer.encode_batch([example.source for example in examples])
        targets = _targets([example.target for example in examples], tokenizer)
        for located, example, source, target in zip(part, examples, sources, targets, strict=True):
            source = [*self.before(located, tokenizer), *source]
            if self.cuts_sources and len(source) > self.max_tokens:
                source = tokenizer.encode_text(example.source, max_length=self.max_tokens).ids
                reports.changed.add(f"source cut to data.max_tokens = {self.max_tokens}", located.place)
            objection = self.objection(len(source), len(target))
            if objection is None:
                yield located, [(source, target)]
            else:
                reports.dropped.add(objection, located.place)

    def batches(self, shards: TokenShards, tokenizer: Tokenizer, how: Batching) -> BucketedBatches:
        return pair_batches(
            shards,
            batch_tokens=how.batch_tokens,
            seed=how.seed,
            pad_id=tokenizer.id_of("pad"),
            shuffle=how.shuffle,
            max_tokens=self.max_tokens,
            mixture=how.mixture(np.arange(len(shards))),
            curriculum=how.curriculum,
        )


def require_ending(tokenizer: Tokenizer, place: str) -> None:
    """Raise ConfigError unless each text ends with eos (or sep, see `Tokenizer.end_id`), and there is padding. It may
    begin with cls, which says nothing, and not with a language, as NLLB's: nobody has said which."""
    known = tokenizer.special_tokens
    end = "sep" if "eos" not in known and "sep" in known else "eos"
    for role in (end, "unk", "pad"):
        if role not in known:
            raise ConfigError(f"{place} has no {role} token, which a text that is written needs")
    if tokenizer.encode("") not in ([tokenizer.end_id], [tokenizer.cls_id, tokenizer.end_id]):
        raise ConfigError(
            f"{place} must end every text with its {end} token, and put nothing but cls before it, but does not: "
            f"have its post-processor add {known[end]}, or leave tokenizer.path out to train a tokenizer"
        )


def pair_batches(
    shards: TokenShards,
    *,
    batch_tokens: int,
    seed: int,
    pad_id: int,
    **how: Any,
) -> BucketedBatches:
    """input_ids (B,S) with `pad_id` in padding, attention_mask (B,S), labels (B,T) with -100 in padding; int32.

    how: what else `BucketedBatches` is told."""

    def arrange(planned: PlannedBatch, epoch: int) -> ArrayBatch:
        rows, (source_size, target_size) = planned
        sources, real = padded(shards.gather(rows, 0), shards.lengths[rows, 0], source_size, pad_id)
        labels, _ = padded(shards.gather(rows, 1), shards.lengths[rows, 1], target_size, IGNORED_LABEL)
        return {"input_ids": sources, "attention_mask": real.astype(np.int32), "labels": labels}

    return BucketedBatches(shards.lengths, arrange, batch_tokens=batch_tokens, seed=seed, **how)


def _targets(texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    """Marian's SentencePiece tokenizers cut targets by a model of their own."""
    if tokenizer.algorithm == "SentencePiece":
        return [tokenizer.encode_target(text) for text in texts]
    return tokenizer.encode_batch(texts)
