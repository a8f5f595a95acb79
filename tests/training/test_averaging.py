from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from regard.errors import CheckpointError
from regard.training.averaging import mean_weights


def checkpoint(directory: Path, name: str, **tensors: np.ndarray) -> Path:
    path = directory / name
    path.mkdir()
    save_file({key: np.asarray(value, np.float32) for key, value in tensors.items()}, path / "model.safetensors")
    return path


def test_the_mean_is_taken_in_float64(tmp_path: Path) -> None:
    # In float32, 2**24 + 1 + 1 loses both ones.
    values = [2.0**24, 1.0, 1.0]
    paths = [checkpoint(tmp_path, str(i), a=np.full((2, 3), value), b=np.ones(4)) for i, value in enumerate(values)]
    mean = mean_weights(paths)
    assert mean["a"].dtype == np.float32
    np.testing.assert_array_equal(mean["a"], np.full((2, 3), np.float32((2.0**24 + 2) / 3)))
    np.testing.assert_array_equal(mean["b"], np.ones(4))


def test_the_mean_of_one_checkpoint_is_its_very_bits(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=100).astype(np.float32)
    mean = mean_weights([checkpoint(tmp_path, "one", a=values)])
    assert mean["a"].tobytes() == values.tobytes()


def test_checkpoints_of_different_models_are_refused(tmp_path: Path) -> None:
    one = checkpoint(tmp_path, "one", a=np.ones(3))
    renamed = checkpoint(tmp_path, "renamed", b=np.ones(3))
    reshaped = checkpoint(tmp_path, "reshaped", a=np.ones(4))
    with pytest.raises(CheckpointError, match="has other tensors"):
        mean_weights([one, renamed])
    with pytest.raises(CheckpointError, match=r"a is \(4,\), but \(3,\)"):
        mean_weights([one, reshaped])
    with pytest.raises(CheckpointError, match="no checkpoint to average"):
        mean_weights([])
