"""Pictures of any size, with or without transparency -> squares of `SIDE` pixels on white, kept as PNG files.

64 pixels are what two of the four sets of emoji are drawn at: more would be invented there, and cost the encoder time
everywhere. White, since a network sees three channels and what is transparent must be something.
"""

import base64
import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from regard.corpora.svg import Rasteriser
from regard.errors import DataError

SIDE = 64


class Shelf:
    """A directory of albums, which are directories of pictures: one that is there is not drawn again."""

    def __init__(self, place: Path, rasteriser: Rasteriser) -> None:
        self._place, self._rasteriser = place, rasteriser

    def pictures(self, album: str, files: Mapping[str, bytes], *, svg: bool = False) -> dict[str, Path]:
        """The files of an album, by name, as PNGs. Raises DataError for one that is no image."""
        folder = self._place / f"{album}-{SIDE}"
        folder.mkdir(parents=True, exist_ok=True)
        paths = {name: folder / f"{name.replace('/', ' ')}.png" for name in files}
        missing = {name: files[name] for name, path in paths.items() if not path.is_file()}
        if svg and missing:
            missing = dict(zip(missing, self._rasteriser.draw(list(missing.values()), SIDE), strict=True))
        for name, content in missing.items():
            unfinished = paths[name].with_suffix(f".{os.getpid()}")
            _square(_opened(content, f"{album}: {name}")).save(unfinished, "PNG")
            unfinished.replace(paths[name])
        return paths


def _opened(content: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content)).convert("RGBA")
    except Exception as error:  # the decoders raise OSError, ValueError, SyntaxError and more
        raise DataError(f"{name} is no image: {error}") from error


def _square(image: Image.Image) -> Image.Image:
    """In the middle of a white square, as large as it fits. Composited first, so that what is transparent has no part
    in the colours of an edge."""
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    scale = SIDE / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    square = Image.new("RGB", (SIDE, SIDE), "white")
    square.paste(image, ((SIDE - width) // 2, (SIDE - height) // 2))
    return square


def pixels_hash(path: Path) -> str:
    """SHA-256 of the pixels: the file differs between versions of zlib. Raises DataError for a damaged file."""
    try:
        with Image.open(path) as image:
            return hashlib.sha256(np.asarray(image).tobytes()).hexdigest()
    except Exception as error:
        raise DataError(f"{path} is damaged ({error}): remove it, and it is drawn again") from error


def inline(path: Path) -> str:
    """The file in a data: URI."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
