"""An image, and a text about it that the decoder learns to write (Vinyals et al. 2015).

The text may begin with a tag of its language, the first token that is written: whoever forces it chooses the language.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from regard.batch import IGNORED_LABEL, CaptionExample
from regard.data.batching import MULTIPLE, ArrayBatch, Rows, padded
from regard.data.objectives.images import ImageObjective
from regard.data.objectives.language_tags import language_tags, require_language, tag_id_of
from regard.data.objectives.objective import Reports, SensedRow
from regard.data.objectives.text_to_text import require_ending
from regard.data.records import Parse, parse_captioned
from regard.data.shards import TokenShards
from regard.data.sources import Located
from regard.features.tokenizer import Tokenizer
from regard.features.tokenizer_layouts import LayoutName


@dataclass(frozen=True)
class Caption(ImageObjective):
    """A row is the caption's ids, tag and eos too, and the pixels."""

    language_tags: bool = False

    columns: ClassVar[tuple[str, ...]] = ("caption",)
    counted: ClassVar[tuple[str, ...]] = columns
    record = CaptionExample
    parse: ClassVar[Parse] = parse_captioned
    layout: ClassVar[LayoutName | None] = "translate"
    keys: ClassVar[tuple[str, ...]] = ("pixel_values", "labels")

    def refuse_record(self, located: Located) -> None:
        if self.language_tags:
            require_language(located, "caption", 'give it a "language"')

    def tags(self, names: Sequence[str]) -> list[str]:
        return language_tags(names) if self.language_tags else []

    def refuse_tokenizer(self, tokenizer: Tokenizer, place: str) -> None:
        if tokenizer.end_id is None or tokenizer.encode(""):  # else the end is put there: GPT-2's puts none
            require_ending(tokenizer, place)

    def encode(
        self, part: Sequence[Located], tokenizer: Tokenizer, reports: Reports
    ) -> Iterator[tuple[Located, list[SensedRow]]]:
        records = [CaptionExample(*located.example) for located in part]  # type: ignore[misc]  # they are of this kind
        texts = tokenizer.encode_batch([record.text for record in records])
        end = tokenizer.end_id
        assert end is not None  # see refuse_tokenizer
        captions = (ids if ids[-1:] == [end] else [*ids, end] for ids in texts)
        for located, record, caption in zip(part, records, captions, strict=True):
            if self.language_tags:
                caption = [tag_id_of(located, tokenizer, "caption's language"), *caption]
            if len(caption) > self.max_tokens:
                reports.dropped.add(f"a caption longer than data.max_tokens = {self.max_tokens}", located.place)
                continue
            pixels = self.pixels(record.image, located, reports)
            if pixels is not None:
                yield located, [SensedRow((caption,), pixels)]

    def targets(self, shards: TokenShards, rows: Rows) -> ArrayBatch:
        lengths = shards.lengths[rows, 0]
        size = -(-int(lengths.max()) // MULTIPLE) * MULTIPLE
        return {"labels": padded(shards.gather(rows, 0), lengths, min(size, self.max_tokens), IGNORED_LABEL)[0]}
