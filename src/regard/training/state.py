"""What a training run is at one moment, and how that goes to disk and comes back, bit for bit.

The weights are model.safetensors, which any tool reads. training_state.safetensors holds the rest of the tensors: the
optimizer's, the model's untrained variables (the state of its dropout noise), the running statistics. state.json
holds the numbers, the run file they belong to, and hashes of the data.
"""

import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file, save_file

import regard
from regard.data.batching import Position
from regard.errors import CheckpointError
from regard.interop.checkpoints import assign_weights
from regard.interop.directory import WEIGHTS, read_json, write_json
from regard.training.checkpoint import STATE, Entry
from regard.training.step import TrainStep

TENSORS = "training_state.safetensors"


@dataclass
class Interval:
    """Counts since the last training line of the log."""

    real_tokens: int = 0  # of both sides
    places: int = 0  # real and padding, of both sides
    timed_tokens: int = 0  # real target tokens of the steps that `seconds` times
    seconds: float = 0.0  # in steps alone: not in tracing the first one, not in validation, not in saving


@dataclass
class RunState:
    """The numbers of a run; the tensors are the model's, the optimizer's and the step's."""

    step: int = 0  # updates, skipped ones included
    tokens: int = 0  # real target tokens read
    position: Position = Position()  # of the next batch
    seconds: float = 0.0  # of training, summed over resumes
    best: float | None = None  # best score so far, smaller is better
    best_step: int | None = None
    stale: int = 0  # validations since then
    validated_step: int | None = None  # the last one
    score: dict[str, float | None] | None = None  # of the last validation
    skipped: int = 0  # steps that were not finite
    skipped_in_row: int = 0
    interval: Interval = field(default_factory=Interval)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RunState":
        """The inverse of `dataclasses.asdict` and JSON."""
        fields = dict(values)
        fields["position"] = Position(*fields["position"])
        fields["interval"] = Interval(**fields["interval"])
        return cls(**fields)

    @property
    def validated(self) -> bool:
        """Whether the last validation was of this very step."""
        return self.validated_step == self.step


def entry_of(state: RunState, rank: Callable[[dict[str, Any]], float]) -> Entry:
    """What the keep rules need of a checkpoint; `rank` makes a number of a score, smaller is better."""
    score = state.score if state.validated else None
    return Entry(state.step, regular=state.validated, rank=None if score is None else rank(score))


def write_state(directory: Path, state: RunState, step: TrainStep, facts: Mapping[str, Any]) -> None:
    """Write training_state.safetensors and state.json; `facts` are what else state.json says."""
    tensors = {name: _array(variable) for name, variable in _variables(step).items()}
    save_file(tensors, directory / TENSORS)
    write_json(directory, STATE, {"state": asdict(state), **facts})


def restore(directory: Path, step: TrainStep) -> RunState:
    """Fill model, optimizer and statistics from a checkpoint; what it says of the run's progress.

    Raises CheckpointError where the checkpoint is of another network or optimizer.
    """
    values = read_json(directory, STATE, required=True)
    assign_weights(step.model, load_file(directory / WEIGHTS))
    tensors = load_file(directory / TENSORS)
    variables = _variables(step)
    if tensors.keys() != variables.keys():
        odd = sorted(tensors.keys() ^ variables.keys())
        raise CheckpointError(f"{directory / TENSORS} is of another model: {len(odd)} names differ, {odd[0]} first")
    for name, variable in variables.items():
        variable.assign(tensors[name])
    return RunState.from_json(values["state"])


def state_bytes(step: TrainStep) -> int:
    """The size of a checkpoint's tensors."""
    arrays = [*step.model.trainable_variables, *_variables(step).values()]
    return sum(int(np.prod(each.shape)) * tf.as_dtype(each.dtype).size for each in arrays)


def versions() -> dict[str, str]:
    """Of the software that made a checkpoint."""
    names = ("keras", "numpy", "tokenizers")
    found = {name: version(name) for name in names}
    return {"regard": regard.__version__, "python": platform.python_version(), "tensorflow": _tensorflow(), **found}


def _tensorflow() -> str:
    for name in ("tensorflow-cpu", "tensorflow"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


def _variables(step: TrainStep) -> dict[str, Any]:
    """Every variable that is no weight, under a name that is the same in each process.

    Keras numbers its seed generators by process, so the model's untrained variables are named by their order.
    """
    untrained = step.model.non_trainable_variables
    return {
        **{variable.path: variable for variable in step.optimizer.variables},
        **{f"untrained/{index:04d}": variable for index, variable in enumerate(untrained)},
        **{f"statistics/{name}": variable for name, variable in step.variables.items()},
    }


def _array(variable: Any) -> np.ndarray:
    return np.asarray(variable.numpy())
