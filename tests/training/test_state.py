from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from regard.config import OptimizerConfig
from regard.data.batching import Position
from regard.errors import CheckpointError
from regard.interop.checkpoints import write_model
from regard.interop.directory import read_json
from regard.models.catalog import spec
from regard.models.forms import build_model
from regard.training.optimizer import build_optimizer
from regard.training.state import (
    TENSORS,
    Interval,
    RunState,
    Snapshot,
    machine,
    not_finite,
    other_bits,
    restore,
    snapshot,
    versions,
    write_state,
)
from regard.training.step import TrainStep

KEYS = ("input_ids", "attention_mask", "labels")


def fresh(seed: int, accumulation: int = 1) -> TrainStep:
    keras.utils.set_random_seed(seed)
    sizes = {"width": 8, "heads": 2, "ffn_width": 16, "encoder_depth": 1, "decoder_depth": 1, "dropout": 0.2}
    model = build_model(spec("tiny", vocab_size=11, pad_id=10, eos_id=0, **sizes))
    optimizer = build_optimizer(OptimizerConfig(name="adamw", weight_decay=0.01), model.trainable_variables)
    return TrainStep(model, optimizer, keys=KEYS, label_smoothing=0.1, clip_norm=1.0, accumulation=accumulation)


def bits(step: TrainStep) -> list[bytes]:
    variables = [*step.model.variables, *step.optimizer.variables, *step.variables.values()]
    return [np.asarray(variable.numpy()).tobytes() for variable in variables]


def saved(directory: Path, step: TrainStep, state: RunState) -> Path:
    return written(directory, step, snapshot(state, step))


def written(directory: Path, step: TrainStep, taken: Snapshot) -> Path:
    write_model(step.model, directory, values=taken.weights)
    write_state(directory, taken, {"run": {}})
    return directory


STATE = RunState(
    step=7,
    tokens=123,
    position=Position(2, 5),
    seconds=1.25,
    best=0.1,
    best_step=4,
    stale=1,
    validated_step=7,
    score={"loss": 0.1, "bleu": None},
    skipped=3,
    skipped_in_row=1,
    interval=Interval(1, 2, 3, 0.5),
)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_saving_and_going_on_in_a_fresh_network_gives_the_bits_of_an_undisturbed_run(
    tmp_path: Path, random_batch: Callable[..., Any], accumulation: int
) -> None:
    batches = [[random_batch(seed=10 * step + part) for part in range(accumulation)] for step in range(4)]
    undisturbed = fresh(seed=1, accumulation=accumulation)
    for number, batch in enumerate(batches):
        if number == 2:
            saved(tmp_path, undisturbed, STATE)
        assert undisturbed(batch, 0.01)
    resumed = fresh(seed=99, accumulation=accumulation)
    assert restore(tmp_path, resumed) == STATE
    for batch in batches[2:]:
        assert resumed(batch, 0.01)
    assert bits(resumed) == bits(undisturbed)


def test_the_size_of_a_checkpoint_is_known_before_it_is_written(tmp_path: Path) -> None:
    step = fresh(seed=0)
    size = snapshot(STATE, step).size
    saved(tmp_path, step, STATE)
    on_disk = sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    assert size <= on_disk < 1.5 * size + 40_000


def test_a_snapshot_stays_what_it_was_when_training_goes_on(tmp_path: Path, random_batch: Callable[..., Any]) -> None:
    step, state = fresh(seed=1), deepcopy(STATE)
    assert step([random_batch()], 0.01)
    then, taken = bits(step), snapshot(state, step)
    assert step([random_batch(seed=1)], 0.01)
    state.step, state.interval.places = 99, 99
    assert bits(step) != then
    assert restore(written(tmp_path, step, taken), step) == STATE
    assert bits(step) == then


def test_a_weight_or_a_moment_that_is_not_finite_is_named() -> None:
    step = fresh(seed=0)
    assert not_finite(step) is None
    for variable in (step.model.trainable_variables[3], step.optimizer.variables[-1]):
        good = variable.numpy()
        spoiled = good.copy()
        spoiled.flat[-1] = np.inf
        variable.assign(spoiled)
        assert not_finite(step) == variable.path
        variable.assign(good)


def test_a_state_of_another_version_is_refused_by_the_name_of_its_field() -> None:
    values = asdict(STATE)
    with pytest.raises(CheckpointError, match="does not know: mood"):
        RunState.from_json({**values, "mood": 1})
    with pytest.raises(CheckpointError, match="not of a run"):
        RunState.from_json({**values, "interval": None})


def test_a_checkpoint_of_a_version_without_rollbacks_goes_on() -> None:
    values = asdict(STATE)
    for name in ("rollbacks", "spikes"):
        del values[name]
    assert RunState.from_json(values) == STATE


def test_a_checkpoint_of_another_network_is_refused_by_name(tmp_path: Path) -> None:
    step = fresh(seed=0)
    saved(tmp_path, step, STATE)
    tensors = load_file(tmp_path / TENSORS)
    tensors["optimizer/of_another"] = np.zeros(3, np.float32)
    save_file(tensors, tmp_path / TENSORS)
    with pytest.raises(CheckpointError, match="1 names differ, optimizer/of_another first"):
        restore(tmp_path, step)


def test_every_number_of_the_state_survives_json(tmp_path: Path) -> None:
    saved(tmp_path, fresh(seed=0), STATE)
    assert RunState.from_json(read_json(tmp_path, "state.json")["state"]) == STATE


def test_what_may_change_the_bits_is_told_when_a_run_goes_on_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: [])
    saved = {"versions": versions(), "machine": machine()}
    assert other_bits(saved) is None
    assert other_bits({"versions": versions()}) is None  # of a version that did not note the machine
    older = {"versions": {**versions(), "tensorflow": "2.0"}, "machine": {**machine(), "threads": "99"}}
    said = other_bits(older)
    assert said is not None
    assert f"tensorflow was 2.0, is {versions()['tensorflow']}; threads was 99, is {machine()['threads']}" in said
    on_a_gpu = other_bits({"versions": versions(), "machine": {"devices": "NVIDIA H200"}})
    assert on_a_gpu is not None
    assert "devices was NVIDIA H200, is none; processor was none, is " in on_a_gpu


def test_the_machine_is_its_gpus_or_its_processor_and_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("model name\t: A CPU\nflags\t\t: fpu avx512_bf16 avx2\nmodel name : B\n")
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: [])
    assert machine(tmp_path / "cpuinfo") == {"processor": "A CPU avx2 avx512_bf16", "threads": "3"}
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: ["one", "two"])
    monkeypatch.setattr("tensorflow.config.experimental.get_device_details", lambda _: {"device_name": "H200"})
    assert machine() == {"devices": "H200, H200"}
