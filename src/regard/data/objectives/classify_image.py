"""An image and its label (Dosovitskiy et al. 2021)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from regard.batch import ImageExample, Key
from regard.data.batching import ArrayBatch, Rows
from regard.data.objectives.images import ImageObjective
from regard.data.objectives.objective import Reports, SensedRow
from regard.data.records import Parse, parse_image
from regard.data.shards import TokenShards
from regard.data.sources import Located
from regard.errors import DataError
from regard.features.tokenizer import Tokenizer
from regard.features.tokenizer_layouts import LayoutName


@dataclass(frozen=True)
class ClassifyImage(ImageObjective):
    """A row is the label's number, and the pixels."""

    names: tuple[str, ...] = ()

    columns: ClassVar[tuple[str, ...]] = ("label",)
    counted: ClassVar[tuple[str, ...]] = ()
    record = ImageExample
    parse: ClassVar[Parse] = parse_image
    layout: ClassVar[LayoutName | None] = None
    keys: ClassVar[tuple[str, ...]] = ("pixel_values", "labels")
    named: ClassVar[bool] = True

    @property
    def labels(self) -> Key:
        return Key("B", "int32", "the class")

    def with_names(self, names: Sequence[str]) -> Self:
        if len(names) < 2:
            raise DataError(f"the training data has {len(names)} different labels, but at least 2 are needed")
        return replace(self, names=tuple(names))

    def refuse_tokenizer(self, tokenizer: Tokenizer, place: str) -> None:
        """It meets none."""

    def encode(
        self, part: Sequence[Located], tokenizer: Tokenizer, reports: Reports
    ) -> Iterator[tuple[Located, list[SensedRow]]]:
        numbers = {name: number for number, name in enumerate(self.names)}
        for located in part:
            record = ImageExample(*located.example)  # type: ignore[misc]  # its records are of this kind
            if record.label not in numbers:
                reports.dropped.add("a label that the training data does not have", located.place)
                continue
            pixels = self.pixels(record.image, located, reports)
            if pixels is not None:
                yield located, [SensedRow(([numbers[record.label]],), pixels)]

    def targets(self, shards: TokenShards, rows: Rows) -> ArrayBatch:
        return {"labels": shards.gather(rows, 0)}
