"""The files of a Hugging Face directory: read with suspicion, written whole or not at all."""

import ctypes
import errno
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from regard.errors import CheckpointError

LARGEST_JSON = 16 * 2**20  # bytes
CONFIG, WEIGHTS, GENERATION, REGARD = "config.json", "model.safetensors", "generation_config.json", "regard.json"
ENGINE = "engine.json"  # of a model that was exported for another runtime
MODULES = "modules.json"  # of a sentence-transformers directory


def read_json(directory: Path, name: str, required: bool = False) -> dict[str, Any]:
    """One JSON object of the directory; {} where the file is absent and not required."""
    path = directory / name
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_JSON:
            raise CheckpointError(f"{path} must be a file of at most {LARGEST_JSON:,} bytes")
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if not required:
            return {}
        hint = f"; this run's model is {directory / 'model'}" if (directory / "model" / name).is_file() else ""
        raise CheckpointError(f"{directory} is no model directory: it has no {name}{hint}") from None
    except NotADirectoryError:
        raise CheckpointError(f"{directory} is a file: a model directory is needed") from None
    except CheckpointError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold a JSON object, but holds a {type(values).__name__}")
    return values


def write_json(directory: Path, name: str, values: dict[str, Any] | list[Any]) -> None:
    (directory / name).write_text(json.dumps(values, indent=2, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")


def write_tensors(tensors: Mapping[str, np.ndarray], path: Path, metadata: dict[str, str] | None = None) -> None:
    """A safetensors file that whoever may read its neighbours may read; OSError where it cannot be written."""
    path.touch()
    mode = path.stat().st_mode  # safetensors makes its file anew, for its owner alone
    try:
        save_file(dict(tensors), path, metadata=metadata)
    except SafetensorError as error:
        said = re.search(r"os error (\d+)", str(error))
        number = int(said[1]) if said else errno.EIO
        raise OSError(number, os.strerror(number) if said else str(error), str(path)) from error
    path.chmod(stat.S_IMODE(mode))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a directory beside `path`, then put it in its place: whoever looks sees the old one or the new one.

    Raises CheckpointError where `path` is a file, or a directory that holds something else than a model.
    """
    path = path.resolve()  # a link stays one, and what it points to is replaced
    if path.exists() and not path.is_dir():
        raise CheckpointError(f"{path} is a file: a model is saved to a directory")
    if path.exists() and any(path.iterdir()) and not any((path / name).exists() for name in (CONFIG, MODULES)):
        raise CheckpointError(f"{path} is no model directory (it has no {CONFIG}), and saving would empty it")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}-new-", dir=path.parent))
    try:
        yield fresh
        fresh.chmod(0o755)
        sync(fresh)
        _swap(fresh, path)
        sync_directory(path.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _swap(fresh: Path, path: Path) -> None:
    if not path.exists():
        fresh.rename(path)
    elif _exchange(fresh, path):
        shutil.rmtree(fresh, ignore_errors=True)  # the old one, by now
    else:
        old = fresh.with_name(fresh.name.replace("-new-", "-old-"))
        path.rename(old)
        try:
            fresh.rename(path)
        except OSError:
            old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step, where the system can (Linux): a kill leaves the one state or the other."""
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        rename = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return False
    done: int = rename(here, os.fsencode(one), here, os.fsencode(other), exchange)
    return done == 0


def sync(directory: Path) -> None:
    """Bring the directory and its files to the disk."""
    for path in directory.rglob("*"):
        if path.is_dir():
            sync_directory(path)
        elif path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
    sync_directory(directory)


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
