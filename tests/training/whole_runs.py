"""What tests of whole runs share: trainings in processes of their own, and what was computed and scored in them."""

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from regard.config import RunConfig, to_toml
from regard.training.trainer import train

_COMPUTED = {"model.safetensors", "training_state.safetensors", "config.json", "tokenizer.json"}
_COMPUTED |= {"preprocessor_config.json"}


def quiet() -> Console:
    return Console(file=io.StringIO())


def validations(directory: Path) -> list[dict[str, Any]]:
    """What the log says of each validation, but how long it took."""
    records = map(json.loads, (directory / "metrics.jsonl").read_text("utf-8").splitlines())
    return [
        {key: value for key, value in record.items() if key != "seconds"}
        for record in records
        if record["kind"] == "validation"
    ]


def bits(directory: Path) -> dict[str, str]:
    """The hashes of all that a run computed."""
    files = [path for path in sorted(directory.glob("*/**/*")) if path.name in _COMPUTED]
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def with_training(run: RunConfig, **training: Any) -> RunConfig:
    return run.model_copy(update={"training": run.training.model_copy(update=training)})


def without_dropout(run: RunConfig) -> RunConfig:
    """T5 has one for all places."""
    rates = {"dropout": 0.0} if run.task == "span-corruption" else {"dropout": 0.0, "attention_dropout": 0.0}
    return run.model_copy(update={"model": run.model.model_copy(update=rates)})


def in_a_process(script: str, run: RunConfig, directory: Path) -> str:
    """A run by one of the scripts beside this file: what it said."""
    file = directory.with_name(f"{directory.name}.toml")
    file.write_text(to_toml(run), "utf-8")
    jobs = json.dumps([[str(file), str(directory), []]])
    command = [sys.executable, str(Path(__file__).with_name(script)), jobs]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_two_replicas_train_as_one_device(run: RunConfig, directory: Path) -> str:
    """Without dropout, which each replica draws for itself; -> what the run on two said."""
    run = without_dropout(run)
    said = in_a_process("mirrored_runs.py", run, directory / "two")
    train(run, directory / "one", console=quiet())
    one, two = (_losses(directory / name) for name in ("one", "two"))
    assert len(one) > 2
    assert one == pytest.approx(two, abs=1e-4)
    return said


def _losses(directory: Path) -> dict[str, float]:
    lines = map(json.loads, (directory / "metrics.jsonl").read_text("utf-8").splitlines())
    return {f"{line['kind']} {line['step']}": line["loss"] for line in lines if "loss" in line}
