"""The weights of a Hugging Face directory: in one safetensors file or in several, read when asked for."""

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from shlex import quote
from typing import Any

import ml_dtypes  # noqa: F401  # by which NumPy, and safetensors, know bfloat16
import numpy as np
from safetensors import SafetensorError, safe_open

from regard.errors import CheckpointError
from regard.interop.directory import WEIGHTS, read_json

INDEX = "model.safetensors.index.json"
H5_WEIGHTS = "tf_model.h5"  # of a TensorFlow estate: regard.interop.h5 reads it
PIECE = 2**20  # values
DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}


class Tensors(Mapping[str, np.ndarray]):
    """Tensors by name, memory-mapped. `origin` says where they are from, for complaints."""

    def __init__(self, files: Mapping[str, Any], origin: Path) -> None:
        """files: the open safetensors file of each name."""
        self.files, self.origin = files, origin

    @classmethod
    def open(cls, directory: Path) -> "Tensors":
        """Raises CheckpointError where there are no weights, a file is damaged, or an index lies."""
        if (directory / WEIGHTS).exists():
            file = _open(directory / WEIGHTS)
            return cls(dict.fromkeys(file.keys(), file), directory / WEIGHTS)
        if (directory / INDEX).exists():
            return cls(_sharded(directory), directory / INDEX)
        raise CheckpointError(f"{directory} has no {WEIGHTS} and no {H5_WEIGHTS}{_other_weights(directory)}")

    @classmethod
    def are_in(cls, directory: Path) -> bool:
        return any((directory / name).exists() for name in (WEIGHTS, INDEX))

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            tensor: np.ndarray = self.files[name].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{self.origin} is damaged: {name} cannot be read: {error}") from error
        return tensor

    def pieces(self, name: str) -> Iterator[np.ndarray]:
        """The tensor's rows, some at a time: each piece is read when it is asked for."""
        shape = self.shape(name)
        if not shape or not prod(shape):
            yield self[name]
            return
        rows = max(1, PIECE * shape[0] // prod(shape))
        for row in range(0, shape[0], rows):
            try:
                yield self.files[name].get_slice(name)[row : min(row + rows, shape[0])]
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{self.origin} is damaged: {name} cannot be read: {error}") from error

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.files[name].get_slice(name).get_shape())

    def dtype(self, name: str) -> str | None:
        """As NumPy names it; None for a type that no weight has."""
        return DTYPES.get(self.files[name].get_slice(name).get_dtype())

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.files))

    def __len__(self) -> int:
        return len(self.files)


def _other_weights(directory: Path) -> str:
    """What there is instead, and the way from it."""
    pickles = sorted(path for path in directory.glob("*.bin") if "model" in path.name)
    if pickles:
        return (
            f"; {pickles[0].name} is a pickle, which can run code: where torch is, convert it with "
            "python -c 'import sys, torch; from safetensors.torch import save_file; "
            "save_file({k: v.contiguous().clone() for k, v in torch.load(sys.argv[1], weights_only=True).items()}, "
            f"sys.argv[2])' {quote(str(pickles[0]))} {quote(str(directory / WEIGHTS))}"
        )
    if (directory / f"{H5_WEIGHTS}.index.json").exists():
        return "; one in several files is not read: save the model anew in one file, with a larger max_shard_size"
    return ""


def _open(path: Path) -> Any:
    if path.exists() and not path.is_file():  # to open a pipe would wait for its writer
        raise CheckpointError(f"{path} must be a file, but is a directory, a pipe or a device")
    try:
        return safe_open(path, framework="np")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file: {error}") from error


def _sharded(directory: Path) -> dict[str, Any]:
    """The file of each tensor, by the index; every file stands beside it."""
    listed = read_json(directory, INDEX).get("weight_map")
    if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
        raise CheckpointError(f"{directory / INDEX} must have a weight_map of tensors to files")
    opened = {}
    for name in sorted(set(listed.values())):
        path = directory / name
        if path.name != name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{directory / INDEX} must name .safetensors files beside it, but names {name!r}")
        if not path.exists():
            raise CheckpointError(f"{directory} has no {name}, which {INDEX} names: copy it there")
        opened[name] = _open(path)
    contents = {name: frozenset(file.keys()) for name, file in opened.items()}
    for tensor, name in listed.items():
        if tensor not in contents[name]:
            raise CheckpointError(f"{directory / name} has no {tensor}, though {INDEX} says so")
    unlisted = {tensor: name for name, tensors in contents.items() for tensor in tensors}
    return {tensor: opened[name] for tensor, name in {**unlisted, **listed}.items()}
