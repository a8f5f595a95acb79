"""A pair of texts, for a language model: it reads the source behind a prompt, and goes on with the target (Radford et
al. 2019, section 3.6; Raffel et al. 2020, section 3.2.1). The target alone is learned."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from regard.batch import IGNORED_LABEL, Example
from regard.data.batching import ArrayBatch, BucketedBatches, PlannedBatch
from regard.data.objectives.objective import Batching, Reports, Row, fill_id
from regard.data.objectives.text_to_text import TextToText
from regard.data.shards import TokenShards
from regard.data.sources import Located
from regard.errors import ConfigError, InputError
from regard.features.tokenizer import Tokenizer
from regard.features.tokenizer_layouts import LayoutName


@dataclass(frozen=True)
class Continued(TextToText):
    """A row is the ids that the model is asked with, and the target's, eos too; each at most `max_tokens`."""

    prompt: str  # a text with {source}

    layout: ClassVar[LayoutName] = "language"
    few_labels: ClassVar[bool] = True

    def refuse_tokenizer(self, tokenizer: Tokenizer, place: str) -> None:
        if tokenizer.eos_id is None:
            raise ConfigError(f"{place} must have an eos token, which ends what is written, but has none")

    def equipped(self, tokenizer: Tokenizer) -> Tokenizer:
        from regard.features.asking import asked, chat_template  # and with it Jinja, which other objectives do without

        begins = tokenizer.bos_id is not None and tokenizer.encode("")[:1] == [tokenizer.bos_id]
        twice = begins and self.prompt.startswith(tokenizer.special_tokens["bos"])
        own = tokenizer.with_chat_template(chat_template(self.prompt, begins and not twice))
        length = len(asked(own, "").ids)
        if length >= self.max_tokens:
            raise ConfigError(
                f"data.prompt has {length} tokens, which must be fewer than data.max_tokens = {self.max_tokens}, since "
                "the source stands among them"
            )
        return own

    def encode(
        self, part: Sequence[Located], tokenizer: Tokenizer, reports: Reports
    ) -> Iterator[tuple[Located, list[Row]]]:
        from regard.features.asking import asked

        end = tokenizer.id_of("eos")
        for located in part:
            example = Example(*located.example)  # type: ignore[misc]  # its records are pairs
            try:
                source = asked(tokenizer, example.source, self.max_tokens if self.cuts_sources else None)
            except InputError as error:
                reports.dropped.add(str(error), located.place)
                continue
            if source.cut:
                reports.changed.add(f"source cut to data.max_tokens = {self.max_tokens}", located.place)
            target = [*tokenizer.encode_plain(example.target), end]
            objection = self.objection(len(source.ids), len(target))
            if objection is None:
                yield located, [(source.ids, target)]
            else:
                reports.dropped.add(objection, located.place)

    def batches(self, shards: TokenShards, tokenizer: Tokenizer, how: Batching) -> BucketedBatches:
        """input_ids (B,S): source and target in one; attention_mask (B,S); labels (B,S): the target where it stands,
        -100 elsewhere; int32."""
        fill = fill_id(tokenizer)

        def arrange(planned: PlannedBatch, epoch: int) -> ArrayBatch:
            rows, (size,) = planned
            sources, targets = shards.lengths[rows].T
            places = np.arange(size)
            source = places < sources[:, None]
            real = places < (sources + targets)[:, None]
            ids = np.full(real.shape, fill, np.int32)
            ids[source] = shards.gather(rows, 0)
            ids[real & ~source] = shards.gather(rows, 1)
            labels = np.where(real & ~source, ids, IGNORED_LABEL).astype(np.int32)
            return {"input_ids": ids, "attention_mask": real.astype(np.int32), "labels": labels}

        lengths = shards.lengths.sum(1, keepdims=True, dtype=np.int32)
        batches = how.bucketed(lengths, arrange, 2 * self.max_tokens)
        batches.learns_all = False
        return batches


@dataclass(frozen=True)
class ContinuedSummary(Continued):
    """The end of a longer source is not read, as `Summarise` does not."""

    cuts_sources: ClassVar[bool] = True
