"""The captioning task: an image -> a text about it (Vinyals et al. 2015, with Transformers on both sides)."""

from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, replace
from typing import Any, overload

from regard.decoding.options import GenerationOptions
from regard.errors import InputError, Refused
from regard.features.image import Image, ImageProcessor, is_one
from regard.features.image import listed as images_of
from regard.features.tokenizer import Tokenizer
from regard.tasks.hypotheses import Hypothesis, Writer, check_seeds, hypotheses, item_seeds
from regard.tasks.images import BATCH_SIZE, ImageBatches
from regard.tasks.languages import known_language, listed


@dataclass(frozen=True)
class Caption(Hypothesis):
    """The best text about an image. alternatives: the other num_return_sequences - 1, best first."""

    alternatives: tuple[Hypothesis, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {**super().as_json(), "alternatives": [other.as_json() for other in self.alternatives]}


class Captioner:
    """A model that writes about images, with its tokenizer: `captioner("photo.png")`, or a list of images.

    An image is a path, the bytes of a file, a Pillow image or an array; see `ImageProcessor`. A model of several
    languages is told one: `captioner("photo.png", language="de")`.
    """

    def __init__(
        self, engine: Writer, processor: ImageProcessor, tokenizer: Tokenizer, defaults: GenerationOptions
    ) -> None:
        self.engine, self.tokenizer, self.defaults = engine, tokenizer, defaults
        self.batches = ImageBatches(processor, engine.spec)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages to choose from; none where the model writes one and is not told."""
        return tuple(self.tokenizer.languages)

    @overload
    def __call__(self, images: Image, **settings: Any) -> Caption: ...

    @overload
    def __call__(self, images: Iterable[Image], **settings: Any) -> list[Caption]: ...

    def __call__(self, images: Image | Iterable[Image], **settings: Any) -> Caption | list[Caption]:
        """An image -> its `Caption`; several -> a list of them, in their order. `settings` are those of `stream`.

        Raises InputError, with its path or its number, for an image that cannot be read.
        """
        found = self.stream(images_of(images), **settings)
        return next(found) if is_one(images) else list(found)

    def stream(
        self,
        images: Iterable[Image],
        *,
        language: str | None = None,
        batch_size: int = BATCH_SIZE,
        refused: Refused | None = None,
        **options: Any,
    ) -> Iterator[Caption]:
        """The captions of images as they come; `batch_size` of them are held at a time.

        language: one of `languages`, or another code of it (deu); without it the checkpoint's own forced_bos_token_id.
        InputError for one that is missing or unknown.
        `options` are those of GenerationOptions, over the checkpoint's own, but for `seed`: an int s means s + i for
        image i, counted from 0 over the whole stream; a tuple has one seed an image. So a sample does not depend on its
        batch-mates. An image that cannot be read is an InputError after the captions of those before it; or, given
        `refused`, has no caption: its number, from 1, and the error are passed to that, and seeds count the others.
        """
        merged = self._in(language, self.defaults.merged(**options))
        if isinstance(images, Sized):
            check_seeds(merged.seed, len(images))
        return self._stream(self.batches(images, batch_size, refused), merged)

    def _in(self, language: str | None, options: GenerationOptions) -> GenerationOptions:
        """The options that make the first token, the tag, that of a language."""
        if language is not None:
            code = known_language("language", language, self.languages, "writes in one language")
            return replace(options, forced_bos_token_id=self.tokenizer.languages[code])
        if self.languages and options.forced_bos_token_id is None:
            raise InputError(f"this model writes in several languages: give language, one of {listed(self.languages)}")
        return options

    def _stream(self, batches: Iterable[Any], options: GenerationOptions) -> Iterator[Caption]:
        first = 0
        for pixels in batches:
            seeds = item_seeds(options.seed, first, len(pixels))
            generation = self.engine.generate({"pixel_values": pixels}, replace(options, seed=seeds))
            for row in range(len(pixels)):
                best, *others = hypotheses(generation, row, self.tokenizer, options)
                yield Caption(**vars(best), alternatives=tuple(others))
            first += len(pixels)
        check_seeds(options.seed, first)
