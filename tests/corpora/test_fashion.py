"""The builder of Fashion-MNIST, on a tiny package in the cache under a hash of its own: no apt is called."""

import base64
import gzip
import hashlib
import io
import struct
import tarfile
from functools import partial

import numpy as np
import pytest
from PIL import Image

from regard.corpora import build, fashion
from regard.corpora.corpus import Pinned
from regard.corpora.fetch import Package
from regard.errors import DataError

IMAGES = {"train": 120, "t10k": 4}


def pixels_of(split):
    return np.random.default_rng(len(split)).integers(0, 256, (IMAGES[split], 28, 28), np.uint8)


def idx(array):
    header = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


def package_bytes(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./usr/share/datasets/fashion-mnist/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    data = buffer.getvalue()
    header = f"{'data.tar.xz':<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
    return b"!<arch>\n" + header + data + b"\n" * (len(data) % 2)


def pin_package(cache, monkeypatch, **others):
    """Put the package into a cache, as if it had been fetched; there is no apt. others: files instead of the right."""
    files = {}
    for split, count in IMAGES.items():
        files[f"{split}-images-idx3-ubyte.gz"] = idx(pixels_of(split))
        files[f"{split}-labels-idx1-ubyte.gz"] = idx(np.arange(count) % 10)
    content = package_bytes(files | others)
    package = Package("dataset-fashion-mnist", "1", hashlib.sha256(content).hexdigest())
    (cache / "packages").mkdir(parents=True, exist_ok=True)
    (cache / "packages" / "dataset-fashion-mnist_1_all.deb").write_bytes(content)
    monkeypatch.setattr(fashion, "PACKAGE", package)
    monkeypatch.setattr(fashion, "PINNED", None)
    monkeypatch.setenv("PATH", "")
    return cache


@pytest.fixture
def cache(tmp_path, monkeypatch):
    return partial(pin_package, tmp_path, monkeypatch)


def decoded(example):
    return np.array(Image.open(io.BytesIO(base64.b64decode(example.image.partition(",")[2]))))


def test_every_image_is_in_one_split_with_its_label_and_the_test_is_the_official_one(cache):
    corpus = build("fashion-mnist", cache())
    assert np.array_equal([decoded(example) for example in corpus.test], pixels_of("t10k"))
    assert [example.label for example in corpus.test] == list(fashion.LABELS[:4])
    held = {example.image for example in corpus.validation}
    assert 0 < len(held) < 20
    assert not held & {example.image for example in corpus.train}
    by_image = {fashion.inline(image): fashion.LABELS[n % 10] for n, image in enumerate(pixels_of("train"))}
    assert {example.image: example.label for example in corpus.train + corpus.validation} == by_image
    assert corpus.counts == {"train": 120 - len(held), "validation": len(held), "test": 4}


def test_a_second_build_gives_the_same(cache):
    place = cache()
    assert build("fashion-mnist", place) == build("fashion-mnist", place)


def test_what_is_not_as_pinned_is_refused(cache, monkeypatch):
    place = cache()
    counts = build("fashion-mnist", place).counts.values()
    for pinned, words in ((Pinned(1, 2, 3, ""), "but 1 and 2 and 3 are pinned"), (Pinned(*counts, "0"), "but 0 is")):
        monkeypatch.setattr(fashion, "PINNED", pinned)
        with pytest.raises(DataError, match=words):
            build("fashion-mnist", place)


CUT = idx(np.zeros((2, 28, 28)))[:30]


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(b"\0\0"), idx(np.zeros(3)), CUT], ids=["no gzip", "short", "one axis", "cut"]
)
def test_a_damaged_file_of_the_package_is_named(cache, content):
    place = cache(**{"train-images-idx3-ubyte.gz": content})
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is missing or damaged"):
        build("fashion-mnist", place)
