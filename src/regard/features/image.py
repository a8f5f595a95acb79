"""Images -> pixel values, as the preprocessor_config.json of ViT, DeiT, CLIP and image captioners has it.

Equal to Transformers 5's processors on Pillow, which are the ones that were called slow.
"""

import hashlib
import json
import logging
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from regard.errors import CheckpointError, ConfigError, InputError
from regard.features.processor_config import FILE, as_number, as_whole, flag, number, section, whole
from regard.features.resize import center_crop, is_unit_range, resize, target_size
from regard.features.rgb import MAX_PIXELS, Pixels, read_image, rgb_of_array, rgb_of_image

logger = logging.getLogger(__name__)

Image = str | os.PathLike[str] | bytes | PillowImage.Image | NDArray[Any]
Triple = tuple[float, float, float]  # red, green, blue


@dataclass(frozen=True)
class ImageProcessor:
    """Resize, crop, rescale and normalise: each step as the checkpoint was trained with.

    The fields bear the names of preprocessor_config.json. A constructor's nonsense is a ConfigError.
    """

    kind: str = "ViTImageProcessor"  # the class that Transformers reads the file with
    do_resize: bool = True
    size: tuple[int, int] | int = (224, 224)  # (height, width) in pixels; an int is the shorter edge's length
    resample: int = 2  # Pillow's filter: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic, 4 box, 5 Hamming
    do_center_crop: bool = False
    crop_size: tuple[int, int] = (224, 224)
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: Triple = (0.5, 0.5, 0.5)
    image_std: Triple = (0.5, 0.5, 0.5)
    do_convert_rgb: bool = False  # transparency goes onto white; False drops the alpha channel
    max_pixels: int = MAX_PIXELS  # of an image as it comes, and as it is resized
    others: Mapping[str, Any] = field(default_factory=dict, hash=False)  # keys of the file that change no pixel

    def __post_init__(self) -> None:
        sizes = {"size": self.size, "crop_size": self.crop_size}
        for name, size in sizes.items():
            height, width = size if isinstance(size, tuple) else (size, size)
            if height < 1 or width < 1 or height * width > self.max_pixels:
                raise ConfigError(f"{name} must give 1 to {self.max_pixels:,} pixels, but is {size}")
        if self.resample not in range(6):
            raise ConfigError(f"resample must be one of Pillow's filters, 0 to 5, but is {self.resample}")
        for name, values in {"image_mean": self.image_mean, "image_std": self.image_std}.items():
            if len(values) != 3 or not all(map(math.isfinite, values)):
                raise ConfigError(f"{name} must be 3 numbers (red, green, blue), but is {values}")
        if not all(self.image_std):
            raise ConfigError(f"image_std must not be 0, but is {self.image_std}")

    @classmethod
    def from_config(cls, config: Mapping[str, Any], kind: str = "ViTImageProcessor") -> "ImageProcessor":
        """Read a parsed preprocessor_config.json, or the processor_config.json that nests one.

        Absent keys mean what they mean to the class that the file names (old spelling: feature_extractor_type); `kind`
        stands in where it names none. CheckpointError for another class, and for values that cannot be.
        """
        values = section(config, "image_processor")
        named = values.get("image_processor_type") or values.get("feature_extractor_type") or kind
        base = _defaults(named)
        if flag(values, "do_pad", False):
            raise CheckpointError(f"{FILE}: do_pad must be false: images of this family are not padded")
        square = flag(values, "default_to_square", isinstance(base.size, tuple))
        flags: dict[str, Any] = {key: flag(values, key, getattr(base, key)) for key in _FLAGS}
        try:
            return replace(
                base,
                **flags,
                size=_size(values, "size", base.size, square),
                crop_size=_size(values, "crop_size", base.crop_size, True),
                resample=whole(values, "resample", base.resample),
                rescale_factor=number(values, "rescale_factor", base.rescale_factor),
                image_mean=_triple(values, "image_mean", base.image_mean),
                image_std=_triple(values, "image_std", base.image_std),
                others={key: value for key, value in values.items() if key not in _KEYS},
            )
        except ConfigError as error:
            raise CheckpointError(f"{FILE}: {error}") from None

    def to_config(self) -> dict[str, Any]:
        """The preprocessor_config.json, in the spelling of Transformers 5."""
        height, width = self.crop_size
        return {
            **self.others,
            "image_processor_type": self.kind,
            **{key: getattr(self, key) for key in _FLAGS},
            "size": _spelled(self.size),
            "crop_size": {"height": height, "width": width},
            "resample": self.resample,
            "rescale_factor": self.rescale_factor,
            "image_mean": list(self.image_mean),
            "image_std": list(self.image_std),
        }

    def save(self, directory: Path) -> None:
        """Write preprocessor_config.json, as a checkpoint has it."""
        (directory / FILE).write_text(json.dumps(self.to_config(), indent=2, sort_keys=True) + "\n", "utf-8")

    @property
    def content_hash(self) -> str:
        """SHA-256 of what it says: equal processors, equal hash."""
        return hashlib.sha256(json.dumps(self.to_config(), sort_keys=True).encode()).hexdigest()

    @property
    def output_size(self) -> tuple[int, int] | None:
        """(height, width) in pixels of what comes out, of whatever image; None where that hangs on the image."""
        if self.do_center_crop:
            return self.crop_size
        return self.size if self.do_resize and isinstance(self.size, tuple) else None

    def __call__(self, images: Image | Iterable[Image]) -> NDArray[np.float32]:
        """`pixel_values`, (B, H, W, C) float32 with C = 3, of one image or of several.

        Files and bytes of files are turned upright by their EXIF orientation and lose their alpha channel
        (`read_image`); Pillow images and arrays (H, W) or (H, W, C), in [0, 255], are taken as they stand. So does
        Transformers. InputError for what cannot be read, and for images that end up with different sizes.
        """
        pixels = [self.pixel_values(image, f"image {place}") for place, image in enumerate(listed(images), 1)]
        sizes = sorted({one.shape[:2] for one in pixels})
        if len(sizes) != 1:
            raise InputError(f"images of one batch must have one size, but have {sizes or 'none: there are no images'}")
        return np.stack(pixels)

    def pixel_values(self, image: Image, name: str = "image") -> NDArray[np.float32]:
        """(H, W, C) of one image; see `__call__`. name: what errors call it, unless it has a path."""
        return self.normalised(self.pixels(image, name))

    def pixels(self, image: Image, name: str = "image") -> Pixels:
        """(H, W, C) of one image, resized and cropped: bytes, unless it is an array of something else."""
        name = named(image, name)
        pixels = self._rgb(image, name)
        if self.do_rescale and is_unit_range(pixels):
            logger.warning("%s is of floats in [0, 1], and will be rescaled by %g again", name, self.rescale_factor)
        if self.do_resize:
            size = target_size(pixels.shape[0], pixels.shape[1], self.size)
            if math.prod(size) > self.max_pixels:
                raise InputError(f"{name} would be resized to {size}, above max_pixels ({self.max_pixels:,})")
            pixels = resize(pixels, size, self.resample, name)
        if self.do_center_crop:
            pixels = center_crop(pixels, self.crop_size)
        return pixels

    def normalised(self, pixels: Pixels) -> NDArray[np.float32]:
        """What the model reads of such pixels, of one image or of several: (..., C) -> (..., C)."""
        values = pixels.astype(np.float32)
        if self.do_rescale:  # in float64, of which a whole batch would be large
            np.multiply(pixels, self.rescale_factor, out=values, dtype=np.float64, casting="unsafe")
        if self.do_normalize:
            values -= np.array(self.image_mean, np.float32)
            values /= np.array(self.image_std, np.float32)
        return values

    def _rgb(self, image: Image, name: str) -> Pixels:
        if isinstance(image, str | os.PathLike | bytes):
            image = read_image(image, max_pixels=self.max_pixels, name=name)
        if isinstance(image, PillowImage.Image):
            return rgb_of_image(image, on_white=self.do_convert_rgb, max_pixels=self.max_pixels, name=name)
        if isinstance(image, np.ndarray):
            return rgb_of_array(image, on_white=self.do_convert_rgb, max_pixels=self.max_pixels, name=name)
        raise InputError(f"{name} must be a path, bytes, a Pillow image or an array, but is a {type(image).__name__}")


_FLAGS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb")
_KEYS = {
    *_FLAGS,
    *"image_processor_type feature_extractor_type size crop_size resample rescale_factor image_mean image_std".split(),
}

# What the classes of Transformers take for granted where a file is silent.
_KINDS = (
    ImageProcessor(),
    ImageProcessor("DeiTImageProcessor", size=(256, 256), resample=3, do_center_crop=True),
    ImageProcessor(
        "CLIPImageProcessor",
        size=224,
        resample=3,
        do_center_crop=True,
        image_mean=(0.48145466, 0.4578275, 0.40821073),
        image_std=(0.26862954, 0.26130258, 0.27577711),
        do_convert_rgb=True,
    ),
)


# The class for a model's images where no file names one, by model_type.
KIND_OF = {"vit": "ViTImageProcessor", "deit": "DeiTImageProcessor", "clip": "CLIPImageProcessor"}


def _defaults(named: Any) -> ImageProcessor:
    """The defaults of a class: ViTFeatureExtractor, ViTImageProcessorFast and ViTImageProcessorPil are one."""
    stem = re.sub("(FeatureExtractor|ImageProcessor(Fast|Pil)?)$", "ImageProcessor", str(named))
    for known in _KINDS:
        if known.kind == stem:
            return known
    kinds = ", ".join(known.kind for known in _KINDS)
    raise CheckpointError(f"{FILE}: image_processor_type must be one of {kinds}, but is {named!r}")


def _size(values: Mapping[str, Any], key: str, default: Any, square: bool) -> Any:
    """(height, width), or the shorter edge's length, from each of the spellings that files have used."""
    value = values.get(key)
    match value:
        case None:
            return default
        case {"height": height, "width": width} if len(value) == 2:
            return as_whole(height, f"{key}.height"), as_whole(width, f"{key}.width")
        case {"shortest_edge": length} if len(value) == 1 and key == "size":
            return as_whole(length, f"{key}.shortest_edge")
        case [height, width]:
            return as_whole(height, key), as_whole(width, key)
        case int():
            return (as_whole(value, key),) * 2 if square else as_whole(value, key)
    raise CheckpointError(f"{FILE}: {key} must be height and width, or for size the shortest_edge, but is {value!r}")


def _spelled(size: tuple[int, int] | int) -> dict[str, int]:
    return {"shortest_edge": size} if isinstance(size, int) else {"height": size[0], "width": size[1]}


def _triple(values: Mapping[str, Any], key: str, default: Triple) -> Triple:
    value = values.get(key)
    if value is None:
        return default
    red, green, blue = value if isinstance(value, list | tuple) and len(value) == 3 else (value,) * 3
    return as_number(red, key), as_number(green, key), as_number(blue, key)


def is_one(images: object) -> TypeGuard[Image]:
    """Whether this is one image, and not several; an array of four axes is several."""
    if isinstance(images, np.ndarray):
        return images.ndim != 4
    return isinstance(images, str | os.PathLike | bytes | PillowImage.Image)


def listed(images: Image | Iterable[Image]) -> Iterable[Image]:
    """One image as several."""
    return [images] if is_one(images) else cast(Iterable[Image], images)


def named(image: Image, name: str) -> str:
    """What to call an image: its path, if it has one, else `name`."""
    return os.fsdecode(image) if isinstance(image, str | os.PathLike) else name
