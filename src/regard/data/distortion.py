"""Images turned, resized, drawn over and recoloured, each by numbers of its own."""

import functools
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from regard.features.rgb import Pixels

Numbers = NDArray[np.float64]

# Red, green, blue -> luma and the two axes of colour (YIQ, FCC 1953): a turn of the axes is a change of hue.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_RGB = np.linalg.inv(_YIQ)
_EDGE = 128.0  # levels by which a channel changes over two pixels where a line is at its darkest


def warped(pixels: Pixels, degrees: Numbers, scales: Numbers) -> Pixels:
    """Images (R, H, W, C) of bytes, turned about their middle, counter-clockwise, and made `scales` (R,) times as
    large, in a frame of the same size: bilinear by Pillow, and beyond an edge the colour of the edge."""
    height, width = pixels.shape[1:3]
    reach = np.hypot(height, width) / 2 / scales.min()  # from the middle to the farthest place that is read
    border = max(0, math.ceil(reach - min(height, width) / 2)) + 1
    middle, made = np.array([width, height]) / 2, np.empty_like(pixels)
    for row, (angle, scale) in enumerate(zip(np.deg2rad(degrees), scales, strict=True)):
        across = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale  # of (x, y)
        shift = middle + border - across @ middle
        affine = (*across[0], shift[0], *across[1], shift[1])
        turned = Image.fromarray(_bordered(pixels[row], border).squeeze()).transform(
            (width, height), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
        )
        made[row] = np.asarray(turned).reshape(made[row].shape)
    return made


def _bordered(image: Pixels, border: int) -> Pixels:
    """(H, W, C) amid the colours of its edges: np.pad's, in about a third of its time."""
    height, width, channels = image.shape
    made = np.empty((height + 2 * border, width + 2 * border, channels), np.uint8)
    rows = made[border : border + height]
    rows[:, border : border + width] = image
    rows[:, :border], rows[:, border + width :] = image[:, :1], image[:, -1:]
    made[:border], made[border + height :] = rows[0], rows[-1]
    return made


def outlined(pixels: Pixels, ink: Numbers, paper: Numbers) -> Pixels:
    """Images (R, H, W, C) of bytes with lines along their edges, and what lies between them paler: the shape stays, as
    another hand might draw it. ink (R,): 0 for no lines, 1 for black ones; paper (R,): 0 for the colours as they are,
    1 for none, lines on white."""
    dark, pale = (each.astype(np.float32)[:, None, None, None] for each in (ink, paper))
    bordered = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge").astype(np.float32)
    down = bordered[:, 2:, 1:-1] - bordered[:, :-2, 1:-1]
    right = bordered[:, 1:-1, 2:] - bordered[:, 1:-1, :-2]
    steepness = down * down + right * right
    steepest = functools.reduce(np.maximum, np.moveaxis(steepness, -1, 0))[..., None]  # of the channels
    edges = np.minimum(np.sqrt(steepest) / np.float32(_EDGE), 1)
    return _bytes((255 - (1 - pale) * (255 - pixels.astype(np.float32))) * (1 - dark * edges))


def recoloured(
    pixels: Pixels, brightness: Numbers, contrast: Numbers, saturation: Numbers, hue_degrees: Numbers
) -> Pixels:
    """Images (R, H, W, 3) with saturation, contrast and brightness multiplied by factors (R,) and their hues turned,
    from red towards yellow.

    Saturation is the distance from grey of the same luma; contrast that from the image's mean luma; 0 is grey, or flat.
    """
    angles = np.deg2rad(hue_degrees)
    colours = np.zeros((len(pixels), 3, 3))
    colours[:, 0, 0] = 1
    colours[:, 1, 1] = colours[:, 2, 2] = saturation * np.cos(angles)
    colours[:, 1, 2] = saturation * np.sin(angles)
    colours[:, 2, 1] = -colours[:, 1, 2]
    mixed = (brightness * contrast)[:, None, None] * (_RGB @ colours @ _YIQ)
    flat = pixels.reshape(len(pixels), -1, 3).astype(np.float32)
    mean = flat.mean(axis=1) @ _YIQ[0]
    level = brightness * (1 - contrast) * mean
    changed = flat @ mixed.transpose(0, 2, 1).astype(np.float32) + level[:, None, None].astype(np.float32)
    return _bytes(changed).reshape(pixels.shape)


def _bytes(values: NDArray[np.floating]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
