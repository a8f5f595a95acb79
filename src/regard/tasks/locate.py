"""Where the model of a path is: a model directory itself, or what a run directory has to offer."""

import logging
from collections.abc import Iterable
from pathlib import Path

from regard.errors import CheckpointError
from regard.interop.directory import CONFIG, read_json
from regard.interop.opening import local_copy
from regard.interop.packaged import PACKAGES, packaged

log = logging.getLogger(__name__)

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
