"""`regard prepare` and `regard train`: a run file, or a run directory to go on with."""

import os
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from regard.commands.engine import import_tensorflow
from regard.commands.launch import COMMAND, train_here
from regard.commands.text import program
from regard.config import DataConfig, RunConfig, load_run
from regard.config.tf_config import worker_of
from regard.data.fingerprint import reads_stdin
from regard.data.given import Given
from regard.data.objectives.catalog import objective_of
from regard.data.prepare import open_or_prepare, prepare, prepare_share
from regard.data.shards import MANIFEST
from regard.errors import ConfigError
from regard.interop.directory import read_json
from regard.training.checkpoint import STATE, CheckpointStore, is_whole
from regard.training.lock import locked
from regard.training.resume import refuse_another_run


def prepare_run(run_file: Path, output: Path | None, overrides: Sequence[str]) -> None:
    """Prepare the data of a run under its run directory, where `train_run` finds it.

    Where `TF_CONFIG` names several workers, this is one of them, and writes its share.
    """
    run = load_run(run_file, overrides)
    directory = _run_directory(run_file, output)
    given = None if run.model.from_ is None else partial(_brought, run)
    place = worker_of(os.environ.get("TF_CONFIG", "").strip() or "{}")
    if place.worker:
        written = prepare_share(run, directory / "data", *place[:2], given=given, progress=True)
        print(f"{directory / 'data'}: worker {place.worker} of {place.workers} wrote {written} shards of it")
        return
    with locked(directory):
        store = CheckpointStore(directory / "checkpoints")
        newest = next(filter(is_whole, reversed(store.complete())), None)
        if newest is None and store.complete():
            raise store.none_left()
        if newest is not None:
            saved = read_json(newest, STATE, required=True)
            refuse_another_run(saved["run"], run, newest, saved["state"]["step"])
            prepared = open_or_prepare(run, directory / "data", begun=True, given=given, progress=True)
        else:
            prepared = prepare(run, directory / "data", given=given, progress=True, workers=place.workers)
    objective = objective_of(run)
    rows = objective.rows_are or objective.noun
    print(f"{directory / 'data'}: ready, {len(prepared.split('train'))} {rows} to train on")


def _brought(run: RunConfig) -> Given:
    """What the checkpoint brings which a run starts from."""
    import_tensorflow()
    from regard.training.starting import brought_by

    bring = brought_by(run)
    assert bring is not None
    return bring()


def train_run(
    run: Path, output: Path | None, overrides: Sequence[str], workers: int | None = None, launcher: str = "local"
) -> None:
    """Train by a run file, or go on in a run directory; print where the model is.

    workers: processes that train together, started by `launcher`; absent: this one, as one of those that TF_CONFIG
    names where it is set.
    """
    config, directory = resolve_run(run, output, overrides)
    if workers is not None:
        arguments = [str(run), *(["-o", str(output)] if output else []), *_sets(overrides)]
        _launch(arguments, config.data, directory, workers, launcher)
        print(directory / "model")
        return
    if launcher != "local":
        raise ConfigError(f"--launcher {launcher} starts the processes that --workers counts: say how many")
    import_tensorflow()
    from regard.training.streams import share_cores
    from regard.training.trainer import streams_to_be, train

    share_cores(streams_to_be(config, directory))
    train(config, directory, command=os.environ.get(COMMAND, shlex.join([program(), "train", str(directory)])))
    print(directory / "model")


def _sets(overrides: Sequence[str]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


def _launch(arguments: list[str], data: DataConfig, directory: Path, workers: int, launcher: str) -> None:
    if reads_stdin(data) and not (directory / "data" / MANIFEST).exists():
        raise ConfigError("a corpus on stdin reaches one process: run `regard prepare` first, then train by --workers")
    if os.environ.get("TF_CONFIG"):
        raise ConfigError("--workers starts the workers itself, but TF_CONFIG says that this is one: leave one out")
    if launcher == "ray":
        from regard.commands.launch_ray import train_on_ray

        train_on_ray(arguments, directory, workers)
    else:
        train_here(arguments, directory, workers)


def resolve_run(run: Path, output: Path | None, overrides: Sequence[str]) -> tuple[RunConfig, Path]:
    """The run that a run file or a run directory says, and its directory."""
    if not run.is_dir():
        return load_run(run, overrides), _run_directory(run, output)
    if output is not None:
        raise ConfigError(f"{run} is a run directory and goes on in itself: leave --output out")
    if not (run / "run.toml").is_file():
        raise ConfigError(f"{run} is no run directory: it has no run.toml; give a run file instead")
    return load_run(run / "run.toml", overrides), run


def _run_directory(run_file: Path, output: Path | None) -> Path:
    return Path("runs") / run_file.stem if output is None else output
