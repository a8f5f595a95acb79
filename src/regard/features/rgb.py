"""Images of whatever source, format and mode -> RGB: dimensions before pixels, named formats only."""

import io
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from regard.errors import InputError, no_file

logger = logging.getLogger(__name__)

Pixels = NDArray[Any]  # (H, W, 3): bytes, or numbers of the caller's

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 89_478_485  # 256 MiB in RGB: where Pillow starts to warn; it refuses twice as many, whatever we are told


def read_image(
    source: str | os.PathLike[str] | bytes,
    *,
    upright: bool = True,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
) -> Image.Image:
    """The RGB image in a file, or in the bytes of one. name: what errors call it; default: its path.

    As Transformers' loader does: the first frame; turned by its EXIF orientation, unless `upright` is False (a TIFF is
    turned by Pillow in any case); an alpha channel is dropped; palettes, greyscale and CMYK become RGB. Otherwise than
    there, 16-bit greyscale keeps its upper byte, as Pillow reads 16-bit colour: Transformers clips it at 255, to white.

    Raises InputError for what is no file, is damaged, of none of FORMATS, of 32 bits a pixel channel, or larger than
    `max_pixels` (read from the header, before memory is taken). What Pillow warns of, besides, is logged by name.
    """
    if name is None:
        name = f"an image of {len(source):,} bytes" if isinstance(source, bytes) else os.fspath(source)
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        image = _read(source, upright, max_pixels, name)
    for complaint in complaints:
        logger.warning("%s: %s", name, complaint.message)
    return image


def _read(source: str | os.PathLike[str] | bytes, upright: bool, max_pixels: int, name: str) -> Image.Image:
    try:
        if not isinstance(source, bytes) and not Path(source).is_file():
            raise InputError(f"cannot read {name or 'an image without a name'}: {no_file(source)}")
        # By its name, Pillow 13 would map an uncompressed TIFF that lies on its side into memory, and shear it.
        with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
            image = Image.open(file, formats=FORMATS)
            _check_size(image.width, image.height, max_pixels, name)
            return _opaque(ImageOps.exif_transpose(image) if upright else image, name)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"cannot read {name}: it is damaged, or none of {', '.join(FORMATS)}") from None
    except Exception as error:  # the decoders raise OSError, ValueError, SyntaxError, struct.error and more
        raise InputError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from error


def rgb_of_image(image: Image.Image, *, on_white: bool, max_pixels: int = MAX_PIXELS, name: str = "image") -> Pixels:
    """(H, W, 3) uint8 of a Pillow image as it stands, without regard for EXIF.

    What is transparent is composited onto white, or with `on_white` False loses its alpha channel.
    """
    _check_size(image.width, image.height, max_pixels, name)
    try:
        if on_white and ("A" in image.getbands() or image.info.get("transparency") is not None):
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.array(_opaque(image, name))
    except InputError:
        raise
    except Exception as error:  # a lazily opened file is decoded only here
        raise InputError(f"cannot read {name}: {error}") from error


def rgb_of_array(array: Pixels, *, on_white: bool, max_pixels: int = MAX_PIXELS, name: str = "image") -> Pixels:
    """(H, W, 3) of an array (H, W) or (H, W, C): C = 1 is repeated, of C = 4 the last is alpha. The dtype stays."""
    channels = {2: 1, 3: array.shape[-1]}.get(array.ndim, 0) if array.size else 0
    if channels not in (1, 3, 4):
        raise InputError(f"{name} must have shape (height, width, 1, 3 or 4 channels), but has {array.shape}")
    if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
        raise InputError(f"{name} must be of integers or floats, but is of {array.dtype}")
    _check_size(array.shape[1], array.shape[0], max_pixels, name)
    if not np.isfinite(array).all():
        raise InputError(f"{name} must be finite, but holds NaN or infinity")
    if channels == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=-1)
    return _on_white(array, name) if channels == 4 and on_white else array[..., :3]


def _on_white(array: Pixels, name: str) -> Pixels:
    white = 255.0 if np.issubdtype(array.dtype, np.integer) else 1.0
    if array.min() < 0 or array.max() > white:
        raise InputError(f"{name} has alpha, so it must be within [0, {white:g}], but spans {_span(array)}")
    alpha = array[..., 3:] / white
    blend = alpha * array[..., :3] + (1 - alpha) * white
    return (np.round(blend) if white == 255 else blend).astype(array.dtype)


def _opaque(image: Image.Image, name: str) -> Image.Image:
    if image.mode in ("I", "F"):
        raise InputError(f"cannot read {name}: its pixels have 32 bits and no known range: convert it to 8 bits")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def _check_size(width: int, height: int, max_pixels: int, name: str) -> None:
    if not 0 < width * height <= max_pixels:
        raise InputError(
            f"{name} must have 1 to {max_pixels:,} pixels (max_pixels), but has {width:,} x {height:,}: make it smaller"
        )


def _span(array: Pixels) -> str:
    return f"[{array.min():g}, {array.max():g}]"
