"""`regard prepare` and `regard train`: a run file, or a run directory to go on with."""

from collections.abc import Sequence
from pathlib import Path

from regard.commands.engine import import_tensorflow
from regard.config import RunConfig, load_run
from regard.data.prepare import prepare
from regard.errors import ConfigError


def prepare_run(run_file: Path, output: Path | None, overrides: Sequence[str]) -> None:
    """Prepare the data of a run under its run directory, where `train_run` finds it."""
    run = load_run(run_file, overrides)
    directory = _run_directory(run_file, output)
    prepared = prepare(run, directory / "data", progress=True)
    print(f"{directory / 'data'}: ready, {len(prepared.split('train'))} pairs to train on")


def train_run(run: Path, output: Path | None, overrides: Sequence[str]) -> None:
    """Train by a run file, or go on in a run directory; print where the model is."""
    config, directory = _resolve(run, output, overrides)
    import_tensorflow()
    from regard.training.trainer import train

    train(config, directory)
    print(directory / "model")


def _resolve(run: Path, output: Path | None, overrides: Sequence[str]) -> tuple[RunConfig, Path]:
    if not run.is_dir():
        return load_run(run, overrides), _run_directory(run, output)
    if output is not None:
        raise ConfigError(f"{run} is a run directory and goes on in itself: leave --output out")
    if not (run / "run.toml").is_file():
        raise ConfigError(f"{run} is no run directory: it has no run.toml; give a run file instead")
    return load_run(run / "run.toml", overrides), run


def _run_directory(run_file: Path, output: Path | None) -> Path:
    return Path("runs") / run_file.stem if output is None else output
