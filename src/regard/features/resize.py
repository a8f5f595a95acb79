"""Resizing and centre cropping, rounded as Transformers' processors on Pillow round them."""

import numpy as np
from PIL import Image

from regard.errors import InputError
from regard.features.rgb import Pixels


def target_size(height: int, width: int, size: tuple[int, int] | int) -> tuple[int, int]:
    """The (height, width) to resize to; an int is the length of the shorter edge, and the shape is kept."""
    if isinstance(size, tuple):
        return size
    longer = int(size * max(height, width) / min(height, width))
    return (longer, size) if width <= height else (size, longer)


def resize(pixels: Pixels, size: tuple[int, int], resample: int, name: str = "image") -> Pixels:
    """(H, W, 3) -> (*size, 3) by Pillow's filter number `resample`.

    Pillow resizes bytes. Floats in [0, 1] become bytes, are resized, and come back as float32 in [0, 1]; whole numbers
    in [0, 255], of any dtype, become bytes and stay bytes. Other numbers are an InputError.
    """
    height, width = size
    unit = is_unit_range(pixels)
    if unit:
        pixels = (pixels.astype(np.float64) * 255).astype(np.float32)
    elif pixels.min() < 0 or pixels.max() > 255 or not _is_whole(pixels):
        raise InputError(
            f"{name} must hold whole numbers in [0, 255], or floats in [0, 1], to be resized, "
            f"but spans [{pixels.min():g}, {pixels.max():g}]"
        )
    resized = np.array(Image.fromarray(pixels.astype(np.uint8)).resize((width, height), Image.Resampling(resample)))
    return (resized * np.float64(1 / 255)).astype(np.float32) if unit else resized


def is_unit_range(pixels: Pixels) -> bool:
    """Whether these are floats in [0, 1]; such as are all 0 or 1 count as bytes, as they do in Transformers."""
    return (
        bool(np.issubdtype(pixels.dtype, np.floating))
        and bool(pixels.min() >= 0 and pixels.max() <= 1)
        and not _is_whole(pixels)
    )


def _is_whole(pixels: Pixels) -> bool:
    return bool(np.issubdtype(pixels.dtype, np.integer)) or np.allclose(pixels, np.trunc(pixels))


def center_crop(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """(H, W, 3) -> (*size, 3): the middle, the odd pixel left at the far edge; a smaller image gets a black border."""
    height, width = pixels.shape[:2]
    top, rows = _placed(height, size[0])
    left, columns = _placed(width, size[1])
    cropped = np.zeros((*size, pixels.shape[2]), pixels.dtype)
    part = pixels[max(-top, 0) :, max(-left, 0) :][:rows, :columns]
    cropped[max(top, 0) : max(top, 0) + rows, max(left, 0) : max(left, 0) + columns] = part
    return cropped


def _placed(length: int, wanted: int) -> tuple[int, int]:
    """Where an edge begins within the wanted length (below 0: cut off), and how much of it is kept."""
    return -((length - wanted) // 2), min(length, wanted)
