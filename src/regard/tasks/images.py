"""Images on their way into a model: prepared as its checkpoint says, in batches, in the order they come."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard.errors import CheckpointError, InputError, Refused
from regard.features.image import KIND_OF, Image, ImageProcessor, named
from regard.specs import ModelSpec, PatchSpec

BATCH_SIZE = 8  # images


def reads_images(spec: ModelSpec) -> bool:
    return isinstance(spec.source, PatchSpec)


def image_processor(config: Mapping[str, Any], family: str) -> ImageProcessor:
    """The processor that a parsed processor_config.json or preprocessor_config.json describes. Where it names no class,
    it is that of the family, a model_type that reads images."""
    return ImageProcessor.from_config(config, KIND_OF[family])


def encoder_family(spec: ModelSpec) -> str:
    """The model_type of the encoder of a captioner, which is told by its extra tokens alone."""
    return "vit" if _patches(spec).extra_tokens == 1 else "deit"


def _patches(spec: ModelSpec) -> PatchSpec:
    assert isinstance(spec.source, PatchSpec)
    return spec.source


class ImageBatches:
    """`batches(images, batch_size)`: the pixel values of images, as a network of this spec reads them.

    Raises CheckpointError where the processor makes images of a size that the network does not read.
    """

    def __init__(self, processor: ImageProcessor, spec: ModelSpec) -> None:
        self.processor, source = processor, _patches(spec)
        self.size = source.image_height, source.image_width
        made = processor.output_size
        if made is not None and made != self.size:
            raise CheckpointError(
                f"the checkpoint's image processor makes images of {_shown(made)} pixels (height x width), but its "
                f"model reads {_shown(self.size)}: put size or crop_size right in preprocessor_config.json"
            )
        if source.channels != 3:
            raise CheckpointError(
                f"the model reads images of {source.channels} channels, but images are prepared with 3: red, green, "
                "blue; regard.load_model loads it as a bare model"
            )

    def __call__(
        self, images: Iterable[Image], batch_size: int, refused: Refused | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """(B, H, W, 3), where B is `batch_size`, but for the last. So many images are held, and no more.

        An image that cannot be read is an InputError with its path, or its number from 1, after those before it; or is
        told to `refused`, and left out.
        """
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, but is {batch_size}")
        return self._batches(images, batch_size, refused)

    def _batches(
        self, images: Iterable[Image], batch_size: int, refused: Refused | None
    ) -> Iterator[NDArray[np.float32]]:
        prepared, refusal = self._all_prepared(images, refused), None
        while refusal is None:
            ready = []
            try:
                for pixels in islice(prepared, batch_size):
                    ready.append(pixels)  # those before a refusal are kept
            except InputError as error:
                refusal = error
            if ready:
                yield np.stack(ready)
            elif refusal is None:
                return
        raise refusal

    def _all_prepared(self, images: Iterable[Image], refused: Refused | None) -> Iterator[NDArray[np.float32]]:
        for number, image in enumerate(images, 1):
            try:
                pixels = self._prepared(image, f"image {number}")
            except InputError as error:
                if refused is None:
                    raise
                refused(number, error)
                continue
            yield pixels

    def _prepared(self, image: Image, name: str) -> NDArray[np.float32]:
        pixels = self.processor.pixel_values(image, name)
        if pixels.shape[:2] != self.size:
            made = _shown((pixels.shape[0], pixels.shape[1]))
            raise InputError(
                f"{named(image, name)} has {made} pixels (height x width) once prepared, but the model reads "
                f"{_shown(self.size)}: resize it, for the checkpoint's image processor does not"
            )
        return pixels


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
