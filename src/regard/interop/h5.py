"""The tf_model.h5 that Transformers wrote for TensorFlow until its fourth release, under PyTorch's names and layouts.

HDF5's library reads the table of what is in the file, and is closed; the weights, which Keras stores one after another
as they are, are mapped. Whatever else the format can do (links to other files, filters, data in pieces) no such file
needs, and it is refused.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from regard.errors import CheckpointError

FLOATS = ("float16", "float32", "float64")
DEEPEST = 32  # groups within groups
MOST_TENSORS = 100_000

# Layers that the TensorFlow classes have around what PyTorch's are themselves.
_WRAPPERS = ((r"^clip\.", ""), (r"^encoder\.(vit|deit|bert|roberta)\.", "encoder."))
_ENDS = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias"}
_KERNEL_AXES = {2: (1, 0), 3: (2, 1, 0), 4: (3, 2, 0, 1)}  # TensorFlow's (window.., in, out) -> (out, in, window..)


class Place(NamedTuple):
    """Where a tensor lies in the file, and how it is turned."""

    path: str  # in the file
    dtype: np.dtype[Any]
    start: int  # bytes
    stored: tuple[int, ...]  # its shape there
    axes: tuple[int, ...]  # the stored axes in PyTorch's order
    shape: tuple[int, ...]  # as PyTorch has it

    @property
    def end(self) -> int:
        return self.start + prod(self.stored) * self.dtype.itemsize


class H5Tensors(Mapping[str, np.ndarray]):
    """Tensors by PyTorch's names, memory-mapped. A table that several layers share is stored with each of them, and is
    one tensor here. `origin` says where they are from, for complaints."""

    def __init__(self, places: Mapping[str, list[Place]], origin: Path) -> None:
        self.places, self.origin = places, origin
        self.content = np.memmap(origin, np.uint8, "r")

    @classmethod
    def open(cls, path: Path) -> "H5Tensors":
        """Raises CheckpointError where the file is damaged, or holds anything but plain arrays."""
        places: dict[str, list[Place]] = {}
        try:
            with h5py.File(path, "r", locking=False) as file:
                for inside, dataset in _datasets(file, path):
                    name, place = _placed(inside, dataset, path)
                    places.setdefault(name, []).append(place)
        except CheckpointError:
            raise
        except Exception as error:  # the library raises whatever its C code finds
            reason = " ".join(str(error).split())
            raise CheckpointError(f"{path} is damaged or no HDF5 file: {reason}") from error
        if not places:
            raise CheckpointError(f"{path} holds no weights")
        _check_apart([place for copies in places.values() for place in copies], path)
        return cls(places, path)

    def __getitem__(self, name: str) -> np.ndarray:
        """Raises CheckpointError where it is no float, or the copies of a shared table differ."""
        place, *copies = self.places[name]
        if _float(place.dtype) is None:
            raise CheckpointError(f"{self.origin}: {place.path} must be one of {', '.join(FLOATS)}: {place.dtype}")
        content = self.content[place.start : place.end]
        for copy in copies:
            if copy[3:] != place[3:] or not np.array_equal(self.content[copy.start : copy.end], content):
                raise CheckpointError(f"{self.origin} has two tensors {name} that differ: {place.path} and {copy.path}")
        return content.view(place.dtype).reshape(place.stored).transpose(place.axes).reshape(place.shape)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.places[name][0].shape

    def dtype(self, name: str) -> str | None:
        """As NumPy names it; None for a type that no weight has."""
        return _float(self.places[name][0].dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.places))

    def __len__(self) -> int:
        return len(self.places)


def _float(dtype: np.dtype[Any]) -> str | None:
    return dtype.name if dtype.isnative and dtype.name in FLOATS else None


def _datasets(file: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """Every array of the file, with its path inside. Links are looked at before they are followed."""
    waiting, found = [("", file, 0)], 0
    while waiting:
        inside, group, depth = waiting.pop()
        for name in group:
            found += 1
            where = f"{inside}/{name}" if inside else name
            if depth == DEEPEST or found > MOST_TENSORS:
                bound = f"{DEEPEST} groups deep" if depth == DEEPEST else f"{MOST_TENSORS:,} entries"
                raise CheckpointError(f"{path}: what is in a file of weights must be at most {bound}: {where[:100]}")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise CheckpointError(f"{path}: {where} is a link to elsewhere, which is not followed")
            entry = group[name]
            if isinstance(entry, h5py.Dataset):
                yield where, entry
            elif isinstance(entry, h5py.Group):
                waiting.append((where, entry, depth + 1))
            else:
                raise CheckpointError(f"{path}: {where} must be a group or an array, but is a {type(entry).__name__}")


def _placed(inside: str, dataset: Any, path: Path) -> tuple[str, Place]:
    """The name of an array in PyTorch, and where it lies."""
    settings, start = dataset.id.get_create_plist(), dataset.id.get_offset()
    if settings.get_layout() != h5py.h5d.CONTIGUOUS or settings.get_external_count() or start is None:
        raise CheckpointError(f"{path}: {inside} must lie in the file in one piece, as Keras writes it, but does not")
    name, axes, shape = converted(inside, dataset.shape)
    place = Place(inside, dataset.dtype, start, dataset.shape, axes, shape)
    size = path.stat().st_size
    if place.end > size:
        raise CheckpointError(f"{path} is cut short: {inside} ends at byte {place.end:,}, but the file at {size:,}")
    return name, place


def _check_apart(places: Iterable[Place], path: Path) -> None:
    """A small file that says much would take much memory."""
    for one, other in pairwise(sorted(places, key=lambda place: place.start)):
        if other.start < one.end:
            raise CheckpointError(f"{path}: {one.path} and {other.path} lie on each other")


def converted(inside: str, stored: tuple[int, ...]) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """An array's path in the file and its shape -> its name in PyTorch, its axes in PyTorch's order, its shape there.

    The path is that of a layer, then the variable's own, which begins with the model's name, once or twice: bert,
    tf_bert_model/bert/encoder/layer_._0/output/dense/kernel:0. `_._` parts a list's name from its index, and of
    `mlm___cls` the first half is TensorFlow's.
    """
    variable = re.sub(r":0$", "", inside.split("/", 1)[-1])
    parts = re.sub(r"(^|/)[^/]*___", r"\1", variable).replace("_._", "/").split("/")
    repeated = len(parts) > 2 and parts[0] == parts[1] and parts[0].startswith("tf")
    *owners, last = parts[2 if repeated else 1 if len(parts) > 1 else 0 :]
    axes = _KERNEL_AXES.get(len(stored), ()) if last == "kernel" else ()
    axes = axes or tuple(range(len(stored)))
    shape = tuple(stored[axis] for axis in axes)
    name = ".".join([*owners, _ENDS.get(last, last)])
    for pattern, replacement in _WRAPPERS:
        name = re.sub(pattern, replacement, name)
    if shape[:1] == (1,) and (name == "logit_scale" or (name.endswith(".bias") and len(shape) == 2)):
        shape = shape[1:]  # GPT-2's layers and CLIP's scale have an axis of size 1 that PyTorch's lack
    return name, axes, shape
