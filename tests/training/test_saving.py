"""Checkpoints are written beside training, one at a time, and a failure is heard of."""

import errno
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from regard.config import OptimizerConfig, RunConfig, parse_run
from regard.errors import CheckpointError
from regard.models.catalog import spec
from regard.models.forms import build_model
from regard.training.checkpoint import CheckpointStore, verify
from regard.training.optimizer import build_optimizer
from regard.training.saving import Saver
from regard.training.state import RunState
from regard.training.step import TrainStep


class Prepared:
    """Prepared data, as far as a checkpoint is concerned."""

    content_hash, tokenizer_hash = "abc", "def"

    def save(self, directory: Path) -> None:
        """It has nothing that stands beside the weights."""


@pytest.fixture(scope="module")
def step() -> TrainStep:
    keras.utils.set_random_seed(0)
    sizes = {"width": 8, "heads": 2, "ffn_width": 8, "encoder_depth": 1, "decoder_depth": 1}
    model = build_model(spec("tiny", vocab_size=11, pad_id=10, eos_id=0, **sizes))
    optimizer = build_optimizer(OptimizerConfig(), model.trainable_variables)
    return TrainStep(model, optimizer, keys=("input_ids", "attention_mask", "labels"))


@pytest.fixture
def run() -> RunConfig:
    training = {"steps": 9, "schedule": {"warmup_steps": 4}, "keep_last": 2}
    return parse_run({"data": {"train": [{"tsv": "a"}]}, "training": training})


@pytest.fixture
def saver(tmp_path: Path, run: RunConfig, step: TrainStep) -> Iterator[Saver]:
    with Saver(CheckpointStore(tmp_path / "checkpoints"), run, Prepared(), "float32", step) as saver:
        yield saver


class Gate:
    """Holds `CheckpointStore.write` at its beginning until it is opened; the first writes can be made to fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failures: int = 0) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()
        self.writing = self.most = 0
        write = CheckpointStore.write

        def held(store: CheckpointStore, number: int, *arguments: Any) -> Path:
            nonlocal failures
            self.writing += 1
            self.most = max(self.most, self.writing)
            self.entered.set()
            try:
                assert self.opened.wait(60)
                if failures:
                    failures -= 1
                    raise OSError(errno.ENOSPC, "No space left on device")
                return write(store, number, *arguments)
            finally:
                self.writing -= 1

        monkeypatch.setattr(CheckpointStore, "write", held)


def at(number: int, **values: Any) -> RunState:
    return RunState(step=number, validated_step=number, score={"loss": 1.0 / number}, **values)


def silent(text: str) -> None:
    raise AssertionError(f"nothing is to be warned of, but: {text}")


def test_training_goes_on_while_a_checkpoint_is_written_and_it_is_of_the_moment_of_the_call(
    saver: Saver, step: TrainStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, weight, state = Gate(monkeypatch), step.weights[0], at(1)
    weight.assign(np.ones(weight.shape, np.float32))
    saver.save(state, silent)
    gate.entered.wait(60)
    weight.assign(np.zeros(weight.shape, np.float32))
    state.step, state.tokens = 2, 77
    saver.look(silent)
    assert saver.saved_step is None
    gate.opened.set()
    saver.wait(silent)
    assert saver.saved_step == 1
    assert json.loads((saver.store.path(1) / "state.json").read_text())["state"]["tokens"] == 0
    assert saver.restore_steady(silent) == 1
    assert weight.numpy().min() == 1


def test_a_save_waits_for_the_one_before(saver: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    saver.save(at(1), silent)
    gate.entered.wait(60)
    threading.Timer(0.05, gate.opened.set).start()
    saver.save(at(2), silent)
    assert saver.saved_step == 1
    saver.wait(silent)
    assert (saver.saved_step, gate.most) == (2, 1)
    assert [path.name for path in saver.store.complete()] == ["step-00000001", "step-00000002"]


def test_leaving_waits_until_the_checkpoint_is_on_the_disk(
    tmp_path: Path, run: RunConfig, step: TrainStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    with Saver(CheckpointStore(tmp_path), run, Prepared(), "float32", step) as saver:
        saver.save(at(1), silent)
        gate.entered.wait(60)
        threading.Timer(0.05, gate.opened.set).start()
    assert saver.store.complete() == [saver.store.path(1)]
    verify(saver.store.path(1))


def test_a_failure_is_told_once_it_is_known_and_the_third_in_a_row_ends_training(
    saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    Gate(monkeypatch, failures=3).opened.set()
    told: list[str] = []
    saver.save(at(1), told.append)
    while not told:
        saver.look(told.append)
    assert "step 1 could not be written: [Errno 28] No space left" in told[0]
    assert "training goes on, the older checkpoints stay" in told[0]
    saver.save(at(2), told.append)
    saver.save(at(3), told.append)
    assert len(told) == 2
    with pytest.raises(CheckpointError, match=r"step 3 could not be written: .*3 in a row have failed"):
        saver.wait(told.append)
    assert saver.saved_step is None


def test_a_success_between_failures_begins_the_count_anew(saver: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    for number in (1, 4):
        with monkeypatch.context() as patch:
            Gate(patch, failures=2).opened.set()
            for _ in range(2):
                saver.save(at(number), told.append)
                saver.wait(told.append)
        saver.save(at(number + 1), told.append)
        saver.wait(told.append)
    assert len(told) == 4
    assert saver.saved_step == 5


def test_a_rollback_is_to_the_newest_checkpoint_by_schedule_that_no_skipped_step_stands_at(
    saver: Saver, step: TrainStep
) -> None:
    weight = step.weights[0]
    assert saver.restore_steady(silent) is None
    states = [at(1), at(2), at(3, skipped_in_row=1), RunState(step=4)]
    for state in states:
        weight.assign(np.full(weight.shape, state.step, np.float32))
        saver.save(state, silent)
    assert saver.restore_steady(silent) == 2
    assert weight.numpy().min() == weight.numpy().max() == 2


def test_a_rollback_passes_over_a_damaged_checkpoint_and_says_so(saver: Saver) -> None:
    for number in (1, 2):
        saver.save(at(number), silent)
    saver.wait(silent)
    (saver.store.path(2) / "training_state.safetensors").write_bytes(b"")
    told: list[str] = []
    assert saver.restore_steady(told.append) == 1
    assert len(told) == 1
    assert "training_state.safetensors is damaged" in told[0]


def test_a_disk_without_room_is_found_out_before_anything_is_written(
    saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage: Callable[[Path], Any] = lambda _: SimpleNamespace(free=2**20)  # noqa: E731
    monkeypatch.setattr("regard.training.checkpoint.shutil.disk_usage", usage)
    told: list[str] = []
    saver.save(at(1), told.append)
    saver.wait(told.append)
    assert "has 1 MiB free, but a checkpoint needs" in told[0]
    assert list(saver.store.directory.iterdir()) == []
