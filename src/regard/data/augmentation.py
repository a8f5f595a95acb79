"""Training images varied by chance. What becomes of one depends on (seed, epoch, example) alone, so that a run which
was stopped goes on with the same."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard.config import AugmentationConfig
from regard.data.distortion import outlined, recoloured, warped
from regard.data.noise import noise, shares
from regard.features.rgb import Pixels

AREA = (0.02, 0.4)  # of an erased rectangle, as shares of the image (Zhong et al. 2020)
ASPECT = (0.3, 1 / 0.3)  # its height over its width
INK = (0.5, 1.0)  # of the lines that are drawn over an image
_CROP, _FLIP, _ERASE, _FILL, _WARP, _COLOUR, _OUTLINE = range(7)  # streams of noise


class ImageAugmenter:
    """Turns, resizes, draws over, crops, mirrors, recolours (Chen et al. 2020, appendix A), and erases rectangles."""

    def __init__(self, config: AugmentationConfig, seed: int) -> None:
        self._config, self._seed = config, seed

    def __call__(self, pixels: Pixels, examples: NDArray[np.int64], epoch: int) -> Pixels:
        """Images (R, H, W, C) of bytes, and which examples they are (R,) -> as many, of the same size."""
        if self._config.turn or self._config.zoom:
            pixels = self._warped(pixels, self._draws(examples, epoch, _WARP, 2))
        if self._config.outline:
            pixels = self._outlined(pixels, self._draws(examples, epoch, _OUTLINE, 3))
        if self._config.crop_padding:
            pixels = self._cropped(pixels, self._draws(examples, epoch, _CROP, 2))
        if self._config.flip:
            mirrored = self._draws(examples, epoch, _FLIP, 1)[:, 0] < 0.5
            pixels = np.where(mirrored[:, None, None, None], pixels[:, :, ::-1], pixels)
        if self._config.colour or self._config.hue or self._config.grey:
            pixels = self._recoloured(pixels, self._draws(examples, epoch, _COLOUR, 5))
        if self._config.erase:
            draws = self._draws(examples, epoch, _ERASE, 5)
            chosen = np.flatnonzero(draws[:, 0] < self._config.erase)
            pixels = pixels.copy()
            for row in chosen:
                self._erase(pixels[row], draws[row, 1:], examples[row : row + 1], epoch)
        return pixels

    def _draws(self, examples: NDArray[np.int64], epoch: int, stream: int, width: int) -> NDArray[np.float64]:
        return shares(noise(self._seed, epoch, examples, width, stream))

    def _warped(self, pixels: Pixels, draws: NDArray[np.float64]) -> Pixels:
        either_way = 2 * draws - 1
        return warped(pixels, self._config.turn * either_way[:, 0], (1 + self._config.zoom) ** either_way[:, 1])

    def _outlined(self, pixels: Pixels, draws: NDArray[np.float64]) -> Pixels:
        chosen = draws[:, 0] < self._config.outline
        ink = INK[0] + draws[chosen, 1] * (INK[1] - INK[0])
        pixels = pixels.copy()
        pixels[chosen] = outlined(pixels[chosen], ink, draws[chosen, 2])
        return pixels

    def _recoloured(self, pixels: Pixels, draws: NDArray[np.float64]) -> Pixels:
        either_way = 2 * draws - 1
        brightness, contrast, saturation = (1 + self._config.colour * either_way[:, :3]).T
        saturation = np.where(draws[:, 4] < self._config.grey, 0.0, saturation)
        return recoloured(pixels, brightness, contrast, saturation, self._config.hue * either_way[:, 3])

    def _cropped(self, pixels: Pixels, draws: NDArray[np.float64]) -> Pixels:
        """Each image within a black border, cut to its size at a place of its own."""
        margin, cropped = self._config.crop_padding, np.zeros_like(pixels)
        _, height, width, _ = pixels.shape
        for image, made, (top, left) in zip(pixels, cropped, (draws * (2 * margin + 1)).astype(int), strict=True):
            (down, rows), (across, columns) = _overlap(top - margin, height), _overlap(left - margin, width)
            made[down, across] = image[rows, columns]
        return cropped

    def _erase(self, image: Pixels, draws: NDArray[np.float64], example: NDArray[np.int64], epoch: int) -> None:
        """Write noise over a rectangle of this image, whose area, aspect and place are drawn."""
        height, width, channels = image.shape
        area = (AREA[0] + draws[0] * (AREA[1] - AREA[0])) * height * width
        aspect = np.exp(np.log(ASPECT[0]) + draws[1] * np.log(ASPECT[1] / ASPECT[0]))
        rows, columns = _within(np.sqrt(area * aspect), height), _within(np.sqrt(area / aspect), width)
        top, left = int(draws[2] * (height - rows + 1)), int(draws[3] * (width - columns + 1))
        bits: Any = noise(self._seed, epoch, example, rows * columns * channels, _FILL)
        image[top : top + rows, left : left + columns] = (bits % np.uint64(256)).reshape(rows, columns, channels)


def _overlap(start: int, length: int) -> tuple[slice, slice]:
    """Where what begins at `start` of a side has something of it, and what."""
    return slice(max(0, -start), max(0, length - max(start, 0))), slice(max(0, start), max(0, length + min(start, 0)))


def _within(length: float, longest: int) -> int:
    return min(max(1, round(float(length))), longest)
