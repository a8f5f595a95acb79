"""What the objectives that read images share: files -> bytes of one size -> the pixel values of a batch."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from regard.config import AugmentationConfig, CorpusConfig
from regard.data.augmentation import ImageAugmenter
from regard.data.batching import ArrayBatch, BucketedBatches, Rows
from regard.data.documents import read_records
from regard.data.given import Given
from regard.data.objectives.files import INLINE, beside, opened, reason
from regard.data.objectives.objective import Batching, Objective, Reports
from regard.data.records import Parse
from regard.data.shards import PreparedData, TokenShards
from regard.data.sources import DropReport, Located
from regard.errors import InputError
from regard.features.image import ImageProcessor
from regard.features.rgb import Pixels
from regard.features.tokenizer import Tokenizer

MOST_BYTES = 2**26  # of a shard's pixels, which are in memory while it is made


@dataclass(frozen=True)
class ImageObjective(Objective):
    """A row holds the pixels as the processor resized them: bytes, normalised when batches are made, by that same
    processor, which goes with the model."""

    images: ImageProcessor
    augmentation: AugmentationConfig

    noun: ClassVar[str] = "images"
    split_by: ClassVar[str] = "path"
    parse: ClassVar[Parse]  # of a line of JSON Lines; its records have the image as their first field

    def with_given(self, given: Given) -> Self:
        assert isinstance(given.processor, ImageProcessor)
        return replace(self, images=given.processor)

    def of(self, prepared: PreparedData) -> Self:
        named = super().of(prepared)
        found = prepared.processor
        return replace(named, images=found) if isinstance(found, ImageProcessor) else named

    @property
    def processor(self) -> ImageProcessor:
        return self.images

    @property
    def most_rows(self) -> int:
        height, width = self.images.output_size or (1, 1)
        return max(1, MOST_BYTES // (3 * height * width))

    def read(self, corpora: Sequence[CorpusConfig], report: DropReport) -> Iterator[Located]:
        for located in read_records(corpora, report, type(self).parse):
            fields: tuple[Any, ...] = tuple(located.example)  # type: ignore[arg-type]  # which is a NamedTuple
            yield located._replace(example=self.record(beside(fields[0], located.place.file), *fields[1:]))

    def listed_files(self, corpora: Sequence[CorpusConfig]) -> Iterator[str]:
        found = (located.example.key for located in self.read(corpora, DropReport()))
        return (image for image in found if not image.startswith(INLINE) and Path(image).is_file())

    def pixels(self, image: str, located: Located, reports: Reports) -> Pixels | None:
        """Of an image that can be read; any other is reported."""
        try:
            return self.images.pixels(opened(image))
        except InputError as error:
            reports.dropped.add(f"an image that cannot be read ({reason(error, image)})", located.place)
            return None

    def batches(self, shards: TokenShards, tokenizer: Tokenizer, how: Batching) -> BucketedBatches:
        vary = ImageAugmenter(self.augmentation, how.seed) if how.varied else None

        def pixel_values(rows: Rows, epoch: int) -> Any:
            pixels = stacked(shards, rows)
            return self.images.normalised(pixels if vary is None else vary(pixels, rows, epoch))

        return how.of_one_size(
            len(shards),
            lambda planned, epoch: {
                "pixel_values": pixel_values(planned.rows, epoch),
                **self.targets(shards, planned.rows),
            },
        )

    @abstractmethod
    def targets(self, shards: TokenShards, rows: Rows) -> ArrayBatch:
        """What is learned of the images of these rows."""


def square(size: int | None) -> ImageProcessor:
    """The processor of images of so many pixels a side; of None any, for the checkpoint's takes its place."""
    return ImageProcessor() if size is None else ImageProcessor(size=(size, size), crop_size=(size, size))


def stacked(shards: TokenShards, rows: Any) -> Pixels:
    """The images of ascending rows: (R, H, W, C) bytes."""
    pixels = shards.features(rows)
    return pixels.reshape(len(rows), -1, *pixels.shape[1:])
