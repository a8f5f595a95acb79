"""The mean of the weights of several checkpoints (Vaswani et al. 2017, section 6.1)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import safe_open

from regard.errors import CheckpointError
from regard.interop.directory import WEIGHTS


def mean_weights(checkpoints: Sequence[Path]) -> dict[str, np.ndarray]:
    """Name -> the mean over the checkpoints, computed in float64 and given in the stored dtype.

    Memory: one set of weights and two tensors. Raises CheckpointError where the names or shapes differ.
    """
    if not checkpoints:
        raise CheckpointError("there is no checkpoint to average")
    files = [safe_open(path / WEIGHTS, framework="np") for path in checkpoints]
    names = list(files[0].keys())
    for path, file in zip(checkpoints, files, strict=True):
        if list(file.keys()) != names:
            raise CheckpointError(f"{path / WEIGHTS} is of another model than {checkpoints[0]}: it has other tensors")
    return {name: _mean([file.get_slice(name) for file in files], checkpoints, name) for name in names}


def _mean(slices: Sequence[object], checkpoints: Sequence[Path], name: str) -> np.ndarray:
    total: np.ndarray | None = None
    dtype = np.dtype(np.float32)
    for path, piece in zip(checkpoints, slices, strict=True):
        tensor = np.asarray(piece[...])  # type: ignore[index]
        if total is None:
            total, dtype = tensor.astype(np.float64), tensor.dtype
        elif tensor.shape != total.shape:
            raise CheckpointError(f"{path / WEIGHTS}: {name} is {tensor.shape}, but {total.shape} in {checkpoints[0]}")
        else:
            total += tensor
    assert total is not None, "there is at least one checkpoint"
    return (total / len(checkpoints)).astype(dtype)
