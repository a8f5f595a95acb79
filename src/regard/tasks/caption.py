"""The captioning task: an image -> a text about it (Vinyals et al. 2015, with Transformers on both sides)."""

from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, replace
from typing import Any, overload

from regard.decoding.options import GenerationOptions
from regard.features.image import Image, ImageProcessor, is_one, listed
from regard.features.tokenizer import Tokenizer
from regard.tasks.hypotheses import Hypothesis, Writer, check_seeds, hypotheses, item_seeds
from regard.tasks.images import BATCH_SIZE, ImageBatches


@dataclass(frozen=True)
class Caption(Hypothesis):
    """The best text about an image. alternatives: the other num_return_sequences - 1, best first."""

    alternatives: tuple[Hypothesis, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {**super().as_json(), "alternatives": [other.as_json() for other in self.alternatives]}


class Captioner:
    """A model that writes about images, with its tokenizer: `captioner("photo.png")`, or a list of images.

    An image is a path, the bytes of a file, a Pillow image or an array; see `ImageProcessor`.
    """

    def __init__(
        self, engine: Writer, processor: ImageProcessor, tokenizer: Tokenizer, defaults: GenerationOptions
    ) -> None:
        self.engine, self.tokenizer, self.defaults = engine, tokenizer, defaults
        self.batches = ImageBatches(processor, engine.spec)

    @overload
    def __call__(self, images: Image, **settings: Any) -> Caption: ...

    @overload
    def __call__(self, images: Iterable[Image], **settings: Any) -> list[Caption]: ...

    def __call__(self, images: Image | Iterable[Image], **settings: Any) -> Caption | list[Caption]:
        """An image -> its `Caption`; several -> a list of them, in their order. `settings` are those of `stream`.

        Raises InputError, with its path or its number, for an image that cannot be read.
        """
        found = self.stream(listed(images), **settings)
        return next(found) if is_one(images) else list(found)

    def stream(self, images: Iterable[Image], *, batch_size: int = BATCH_SIZE, **options: Any) -> Iterator[Caption]:
        """The captions of images as they come; `batch_size` of them are held at a time.

        `options` are those of GenerationOptions, over the checkpoint's own, but for `seed`: an int s means s + i for
        image i, counted from 0 over the whole stream; a tuple has one seed an image. So a sample does not depend on its
        batch-mates. An image that cannot be read is an InputError after the captions of those before it.
        """
        merged = self.defaults.merged(**options)
        if isinstance(images, Sized):
            check_seeds(merged.seed, len(images))
        return self._stream(images, batch_size, merged)

    def _stream(self, images: Iterable[Image], batch_size: int, options: GenerationOptions) -> Iterator[Caption]:
        first = 0
        for pixels in self.batches(images, batch_size):
            seeds = item_seeds(options.seed, first, len(pixels))
            generation = self.engine.generate({"pixel_values": pixels}, replace(options, seed=seeds))
            for row in range(len(pixels)):
                best, *others = hypotheses(generation, row, self.tokenizer, options)
                yield Caption(**vars(best), alternatives=tuple(others))
            first += len(pixels)
        check_seeds(options.seed, first)
