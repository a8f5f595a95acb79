"""The classification of images: an image -> labels with their scores (Dosovitskiy et al. 2021)."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np

from regard.errors import Refused
from regard.features.image import Image, ImageProcessor, is_one, listed
from regard.tasks.classify import Ranking, check_top_k, label_scores, ranked
from regard.tasks.images import BATCH_SIZE, ImageBatches
from regard.tasks.reading import Reader


class ImageClassifier:
    """A model of images with a class head: `classifier("photo.png")`, or a list of images.

    An image is a path, the bytes of a file, a Pillow image or an array; see `ImageProcessor`. Scores are as
    `TextClassifier` has them: probabilities, or for a regression the model's numbers.
    """

    def __init__(self, engine: Reader, processor: ImageProcessor, labels: Sequence[str]) -> None:
        self.engine, self.labels = engine, tuple(labels)
        self.batches = ImageBatches(processor, engine.spec)

    @overload
    def __call__(self, images: Image, **settings: Any) -> Ranking: ...

    @overload
    def __call__(self, images: Iterable[Image], **settings: Any) -> list[Ranking]: ...

    def __call__(self, images: Image | Iterable[Image], **settings: Any) -> Ranking | list[Ranking]:
        """An image -> its labels; several -> a list of such, in their order. `settings` are those of `stream`.

        Raises InputError, with its path or its number, for an image that cannot be read.
        """
        found = self.stream(listed(images), **settings)
        return next(found) if is_one(images) else list(found)

    def stream(
        self,
        images: Iterable[Image],
        *,
        top_k: int | None = None,
        batch_size: int = BATCH_SIZE,
        refused: Refused | None = None,
    ) -> Iterator[Ranking]:
        """The labels of images as they come; `batch_size` of them are held at a time.

        top_k: how many labels; default: all. An image that cannot be read is an InputError after the labels of those
        before it; or, given `refused`, has none: its number, from 1, and the error are passed to that.
        """
        check_top_k(top_k)
        return self._stream(self.batches(images, batch_size, refused), top_k)

    def _stream(self, batches: Iterable[Any], top_k: int | None) -> Iterator[Ranking]:
        for pixels in batches:
            logits = np.asarray(self.engine({"pixel_values": pixels}).logits, np.float64)
            for scores in label_scores(logits, self.engine.spec.output):
                yield Ranking(ranked(scores, self.labels, top_k))
