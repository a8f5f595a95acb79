"""Images turned, resized and recoloured, each by numbers of its own: NumPy alone, for a batch at a time."""

import numpy as np
from numpy.typing import NDArray

from regard.features.rgb import Pixels

Numbers = NDArray[np.float64]

# Red, green, blue -> luma and the two axes of colour (YIQ, FCC 1953): a turn of the axes is a change of hue.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_RGB = np.linalg.inv(_YIQ)


def warped(pixels: Pixels, degrees: Numbers, scales: Numbers) -> Pixels:
    """Images (R, H, W, C) turned about their middle, counter-clockwise, and made `scales` (R,) times as large, in a
    frame of the same size: bilinear, and beyond an edge the colour of the edge."""
    count, height, width, channels = pixels.shape
    middle = np.array([height - 1, width - 1], np.float32) / 2
    y, x = np.indices((height, width), np.float32).reshape(2, -1) - middle[:, None]
    angles = np.deg2rad(degrees)
    cosine, sine = ((turn(angles) / scales)[:, None].astype(np.float32) for turn in (np.cos, np.sin))
    down = np.clip(y * cosine + x * sine + middle[0], 0, height - 1)  # (R, H * W): where each pixel is read
    right = np.clip(x * cosine - y * sine + middle[1], 0, width - 1)
    row = np.minimum(down.astype(np.int64), max(height - 2, 0))
    column = np.minimum(right.astype(np.int64), max(width - 2, 0))
    down, right = down - row, right - column
    first = np.arange(count)[:, None] * (height * width) + row * width + column
    below, beside = width * (height > 1), int(width > 1)
    made = np.empty((count, height * width, channels), np.uint8)
    for channel in range(channels):  # one after the other: planes of numbers in a row are several times as fast
        plane = pixels[..., channel].astype(np.float32).ravel()
        corners = (plane.take(first + offset) for offset in (0, beside, below, below + beside))
        upper_left, upper_right, lower_left, lower_right = corners
        upper = upper_left + (upper_right - upper_left) * right
        lower = lower_left + (lower_right - lower_left) * right
        made[..., channel] = np.rint(upper + (lower - upper) * down)
    return made.reshape(pixels.shape)


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
