"""What a training run is at one moment: copied in memory, written from there, and read back, bit for bit.

The weights are model.safetensors, which any tool reads. training_state.safetensors holds the rest of the tensors: the
optimizer's, the model's untrained variables (the state of its dropout noise), the running statistics. state.json
holds the numbers, the run file they belong to, and hashes of the data.
"""

import os
import platform
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file

import regard
from regard.data.batching import Position
from regard.data.processes import available_cores
from regard.errors import CheckpointError
from regard.interop.checkpoints import assign_weights, values_of
from regard.interop.directory import WEIGHTS, read_json, write_json, write_tensors
from regard.training.checkpoint import STATE, Entry
from regard.training.step import TrainStep

TENSORS = "training_state.safetensors"
# By these kernels are chosen, and so the order of additions.
_VECTORS = {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16"}


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
    skipped: int = 0  # steps that were not applied: not finite, or a spike
    spikes: int = 0  # of them
    skipped_in_row: int = 0
    rollbacks: int = 0
    interval: Interval = field(default_factory=Interval)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RunState":
        """The inverse of `dataclasses.asdict` and JSON; a field that is absent has its default.

        Raises CheckpointError where the values are not those of a run.
        """
        odd = sorted(values.keys() - {each.name for each in fields(cls)})
        if odd:
            raise CheckpointError(f"{STATE} has a field that this version of Regard does not know: {odd[0]}")
        try:
            position, interval = Position(*values["position"]), Interval(**values["interval"])
            return cls(**{**values, "position": position, "interval": interval})
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{STATE} is not of a run: {error!r}") from error

    @property
    def validated(self) -> bool:
        """Whether the last validation was of this very step."""
        return self.validated_step == self.step


class Snapshot(NamedTuple):
    """A run at one moment, in memory of its own: training goes on while it is written.

    Its arrays take as many bytes as the checkpoint's on disk: with Adam, 12 a parameter.
    """

    state: RunState
    weights: dict[str, np.ndarray]  # by the paths of the model's variables
    tensors: dict[str, np.ndarray]  # what training_state.safetensors holds

    @property
    def size(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in (*self.weights.values(), *self.tensors.values()))


def entry_of(state: RunState, rank: Callable[[dict[str, Any]], float]) -> Entry:
    """What the keep rules need of a checkpoint; `rank` makes a number of a score, smaller is better."""
    score = state.score if state.validated else None
    return Entry(
        state.step,
        regular=state.validated,
        rank=None if score is None else rank(score),
        steady=state.skipped_in_row == 0,
    )


def snapshot(state: RunState, step: TrainStep) -> Snapshot:
    """Copy the numbers and every tensor; later steps change nothing of it."""
    tensors = {name: np.asarray(variable) for name, variable in _variables(step).items()}
    return Snapshot(deepcopy(state), values_of(step.model), tensors)


def not_finite(step: TrainStep) -> str | None:
    """The path of the first weight or optimizer's tensor with a NaN or an infinity."""
    for variable in (*step.model.trainable_variables, *step.optimizer.variables):
        value = tf.convert_to_tensor(variable.value)
        if value.dtype.is_floating and not bool(tf.reduce_all(tf.math.is_finite(value))):
            return str(variable.path)
    return None


def write_state(directory: Path, taken: Snapshot, facts: Mapping[str, Any]) -> None:
    """Write training_state.safetensors and state.json; `facts` are what else state.json says."""
    write_tensors(taken.tensors, directory / TENSORS)
    write_json(directory, STATE, {"state": asdict(taken.state), **facts})


def restore(directory: Path, step: TrainStep) -> RunState:
    """Fill model, optimizer and statistics from a checkpoint; what it says of the run's progress.

    Raises CheckpointError where the checkpoint is of another network, optimizer or version.
    """
    state = RunState.from_json(read_json(directory, STATE, required=True)["state"])
    assign_weights(step.model, load_file(directory / WEIGHTS))
    tensors = load_file(directory / TENSORS)
    variables = _variables(step)
    if tensors.keys() != variables.keys():
        odd = sorted(tensors.keys() ^ variables.keys())
        raise CheckpointError(f"{directory / TENSORS} is of another model: {len(odd)} names differ, {odd[0]} first")
    for name, variable in variables.items():
        variable.assign(tensors[name])
    step.cluster.own_noise(step.model)
    return state


def versions() -> dict[str, str]:
    """Of the software that made a checkpoint."""
    names = ("keras", "numpy", "tokenizers")
    found = {name: version(name) for name in names}
    return {"regard": regard.__version__, "python": platform.python_version(), "tensorflow": _tensorflow(), **found}


def machine(cpu_info: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """What decides which bits come out, beside the software: the GPUs, or else the processor and how many threads."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = map(tf.config.experimental.get_device_details, gpus)
        return {"devices": ", ".join(str(each.get("device_name", "a GPU")) for each in details)}
    lines = cpu_info.read_text("utf-8", errors="replace").splitlines() if cpu_info.is_file() else []
    pairs = (line.partition(":") for line in reversed(lines))  # what the first core says counts
    said = {key.strip(): value.strip() for key, _, value in pairs}
    vectors = sorted(_VECTORS & set((said.get("flags") or said.get("Features", "")).split()))
    processor = " ".join([said.get("model name") or platform.machine(), *vectors])
    threads = tf.config.threading.get_intra_op_parallelism_threads() or os.environ.get("TF_NUM_INTRAOP_THREADS")
    return {"processor": processor, "threads": str(threads or available_cores())}


def other_bits(saved: Mapping[str, Any]) -> str | None:
    """What to tell where a checkpoint was made under other circumstances than those of now; saved: its state.json."""
    here = machine()
    now, before = versions() | here, saved.get("versions", {}) | saved.get("machine", here)
    differ = [key for key in before | now if before.get(key) != now.get(key)]
    if not differ:
        return None
    changed = "; ".join(f"{key} was {before.get(key, 'none')}, is {now.get(key, 'none')}" for key in differ)
    return f"the run goes on, but perhaps not to the bits of an undisturbed one: {changed}"


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
