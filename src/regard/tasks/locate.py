"""Where the model of a path is: a model directory itself, or what a run directory has to offer."""

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

from regard.errors import CheckpointError, ConfigError
from regard.interop.directory import CONFIG, read_json
from regard.interop.directory import ENGINE as EXPORTED
from regard.interop.opening import local_copy
from regard.interop.packaged import PACKAGES, packaged

log = logging.getLogger(__name__)

ENGINES = ("tensorflow", "openvino")
_WEIGHTS = {".safetensors", ".bin", ".h5"}
_BLOCK, _BLOCKS = 2**16, 256  # bytes, and how many of a file are read, to tell it by
_MODULES = "modules.json"  # of a sentence-transformers directory, whose config.json may stand deeper


def model_place(path: str | Path) -> Path:
    """The model directory or .gguf file that `path` stands for: what is there under this name, else the installed
    package of a model so called, else the hub's.

    Raises CheckpointError where there is none, MissingDependencyError for a name whose package is not installed.
    """
    place = Path(path)
    if not place.exists() and str(path) in PACKAGES:
        return packaged(str(path))
    if not place.exists() and isinstance(path, str):
        place = local_copy(path)
    if place.suffix == ".gguf" and place.is_file():
        return place
    return place if (place / _MODULES).is_file() else model_directory(place)


def weights_mark(path: str | Path) -> str:
    """What tells the weights of the model that `path` stands for from others under the same path: a hash of the sizes
    of its files of weights, and of blocks at equal distances through each. Raises as `model_place`."""
    place, digest = model_place(path), hashlib.sha256()
    files = [place] if place.is_file() else sorted(each for each in place.iterdir() if each.suffix in _WEIGHTS)
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb") as stream:
            for start in range(0, size, max(_BLOCK, size // _BLOCKS)):
                stream.seek(start)
                digest.update(stream.read(_BLOCK))
    return digest.hexdigest()[:16]


def engine_of(place: Path, engine: str | None, dtype: str) -> str:
    """What runs the model at `place`: "tensorflow" or "openvino". Where nobody says it, OpenVINO for a directory that
    was exported for it, and for weights of 8 bits, which it alone multiplies. Raises ConfigError for any other
    engine, for one that cannot, and for weights that an exported model does not have."""
    if engine not in (None, *ENGINES):
        raise ConfigError(f"engine must be one of {', '.join(ENGINES)}, but is {engine!r}")
    exported = (place / EXPORTED).is_file()
    if engine == "tensorflow" and exported:
        raise ConfigError(f"{place} was exported for OpenVINO: TensorFlow needs the model that it was made of")
    if exported and dtype not in ("float32", _stored(place)):  # float32 is what nobody asked for, too
        raise ConfigError(
            f"{place} was exported with weights in {_stored(place)}, which dtype {dtype} does not change: leave it "
            f"out, or export the model again with --weights {dtype}"
        )
    if engine == "tensorflow" and dtype == "int8":
        raise ConfigError("dtype int8 is for engine='openvino' (--engine openvino): TensorFlow has no such weights")
    return engine or ("openvino" if exported or dtype == "int8" else "tensorflow")


def _stored(exported: Path) -> str:
    return str(read_json(exported, EXPORTED).get("weights", "float32"))


def model_directory(path: str | Path) -> Path:
    """The directory with config.json that `path` stands for.

    A run directory stands for the model that it hands over; without one yet, for its best complete checkpoint, or the
    newest where none has been validated, and the choice is logged, as is each damaged one that it passes over. Raises
    CheckpointError where there is none.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"no model at {path}: there is no such directory")
    if not path.is_dir():
        raise CheckpointError(f"no model at {path}: it is a file, but a model or run directory is needed")
    for directory in (path, path / "model"):
        if (directory / CONFIG).is_file():
            return directory
    return _checkpoint(path)


def _checkpoint(run: Path) -> Path:
    from regard.training.checkpoint import STATE, CheckpointStore  # TensorFlow, which an exported model does without

    store = CheckpointStore(run / "checkpoints")
    complete = store.complete()
    if not complete:
        raise CheckpointError(f"no model at {run}: it has no {CONFIG}, no model/ and no complete checkpoint of a run")
    newest = _first_good(reversed(complete))
    if newest is None:
        raise CheckpointError(f"no model at {run}: all of its checkpoints are damaged")
    best_step = read_json(newest, STATE).get("state", {}).get("best_step")
    best = None if best_step is None else store.path(best_step)
    if best is not None and best != newest:
        best = _first_good([best] if best in complete else [])
    chosen, why = (newest, "newest") if best is None else (best, "best")
    log.info("%s is not finished: taking its %s checkpoint, %s", run, why, chosen.name)
    return chosen


def _first_good(checkpoints: Iterable[Path]) -> Path | None:
    """The first checkpoint whose files are what its manifest says; each one before it is complained about."""
    from regard.training.checkpoint import verify

    for path in checkpoints:
        try:
            verify(path)
        except CheckpointError as error:
            log.warning("%s; looking for another checkpoint", error)
        else:
            return path
    return None
