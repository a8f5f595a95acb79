"""Where the model of a path is: a model directory itself, or what a run directory has to offer."""

import logging
from pathlib import Path

from regard.errors import CheckpointError
from regard.interop.directory import CONFIG, read_json
from regard.training.checkpoint import STATE, CheckpointStore

log = logging.getLogger(__name__)


def model_directory(path: str | Path) -> Path:
    """The directory with config.json that `path` stands for.

    A run directory stands for the model that it hands over; without one yet, for its best complete checkpoint, or the
    newest where none has been validated, and the choice is logged. Raises CheckpointError where there is none.
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
    store = CheckpointStore(run / "checkpoints")
    complete = store.complete()
    if not complete:
        raise CheckpointError(f"no model at {run}: it has no {CONFIG}, no model/ and no complete checkpoint of a run")
    newest = complete[-1]
    best_step = read_json(newest, STATE).get("state", {}).get("best_step")
    best = None if best_step is None else store.path(best_step)
    chosen, why = (best, "best") if best in complete else (newest, "newest")
    log.info("%s is not finished: taking its %s checkpoint, %s", run, why, chosen.name)
    return chosen
