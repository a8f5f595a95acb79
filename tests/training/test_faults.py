"""The faults that a whole run must outlive: signals at any stage, steps that go wrong, data that goes missing."""

import io
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from regard.config import RunConfig, parse_run
from regard.data.prepare import open_or_prepare
from regard.errors import CheckpointError, RegardError, TrainingInterrupted
from regard.training import trainer
from regard.training.checkpoint import CheckpointStore, verify
from regard.training.schedule import learning_rate
from regard.training.step import NOT_FINITE, TrainStep
from regard.training.trainer import train
from regard.training.validation import Validator

sys.path.append(str(Path(__file__).parent))

from whole_runs import quiet

Make = Callable[..., RunConfig]
Check = Callable[[Path, Path], None]


def complete(run: Path) -> list[str]:
    return [path.name for path in CheckpointStore(run / "checkpoints").complete()]


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def at_call(number: int, work: Callable[[], None] = terminate) -> Callable[[], bool]:
    """A stop that never asks to, and does `work` when it is asked for the `number`-th time."""
    calls = iter(range(1, 1000))

    def stop() -> bool:
        if next(calls) == number:
            work()
        return False

    return stop


def test_two_runs_of_one_run_file_are_equal_bit_by_bit(
    toy_run: Make, begun: Path, undisturbed: Path, assert_as_if_nothing_had_happened: Check
) -> None:
    train(toy_run(), begun, console=quiet())
    assert_as_if_nothing_had_happened(begun, undisturbed)


def test_a_signal_while_the_batch_is_looked_for_ends_the_run_as_one_before_its_first_step_does(
    toy_run: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "settled", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(TrainingInterrupted, match="SIGINT: nothing was to be saved; go on with: regard train"):
        train(toy_run(batch_tokens="auto"), tmp_path / "run", console=quiet())


def test_sigterm_finishes_the_step_saves_and_leaves_with_code_75(toy_run: Make, begun: Path) -> None:
    output = io.StringIO()
    with pytest.raises(TrainingInterrupted, match="stopped at step 3 and is saved") as caught:
        train(toy_run(validate_every=5), begun, stop=at_call(3), console=Console(file=output))
    assert caught.value.exit_code == 75
    assert complete(begun) == ["step-00000003"]
    assert "SIGTERM: stopping after this step" in output.getvalue()


def test_sigterm_while_a_checkpoint_is_written_waits_until_it_is_on_the_disk(
    toy_run: Make, begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = CheckpointStore.write

    def slowly(store: CheckpointStore, step: int, *arguments: Any) -> Path:
        if step == 3:
            terminate()
            time.sleep(0.3)
        return write(store, step, *arguments)

    monkeypatch.setattr(CheckpointStore, "write", slowly)
    with pytest.raises(TrainingInterrupted, match=r"stopped at step \d+ and is saved"):
        train(toy_run(), begun, console=quiet())
    names = complete(begun)
    assert names[0] == "step-00000003"
    for name in names:
        verify(begun / "checkpoints" / name)


def test_sigterm_in_validation_leaves_it_and_it_is_made_up_for(
    toy_run: Make,
    begun: Path,
    undisturbed: Path,
    assert_as_if_nothing_had_happened: Check,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measure = Validator.measure

    def interrupted(validator: Validator, stop: Callable[[], bool]) -> Any:
        terminate()
        return measure(validator, stop)

    with monkeypatch.context() as patch:
        patch.setattr(Validator, "measure", interrupted)
        with pytest.raises(TrainingInterrupted, match="stopped at step 3 and is saved"):
            train(toy_run(), begun, console=quiet())
    state = json.loads((begun / "checkpoints" / "step-00000003" / "state.json").read_text("utf-8"))["state"]
    assert (state["validated_step"], state["best"]) == (None, None)
    train(toy_run(), begun, console=quiet())
    assert_as_if_nothing_had_happened(begun, undisturbed)


def test_sigterm_in_preparation_ends_it_at_once_and_frees_the_run(
    toy_run: Make, begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> Any:
        terminate()
        return open_or_prepare(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr("regard.training.trainer.open_or_prepare", interrupted)
        with pytest.raises(TrainingInterrupted, match=f"SIGTERM: nothing was to be saved; go on .*{begun}") as caught:
            train(toy_run(), begun, console=quiet())
    assert caught.value.exit_code == 75
    assert not (begun / "checkpoints").exists()
    assert train(toy_run(steps=1, average="none"), begun, console=quiet()).step == 1


def test_a_run_that_rolled_back_ends_with_the_same_bits_wherever_it_was_stopped(
    toy_run: Make,
    begun: Path,
    tmp_path: Path,
    records: Callable[[Path], list[dict[str, Any]]],
    assert_as_if_nothing_had_happened: Check,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = toy_run(max_bad_steps=2, spike_deviations=5.0)
    call = TrainStep.__call__
    width = run.model.width or 0
    bad = {learning_rate(number, run.training.schedule, width=width) for number in (8, 9)}

    def stumbling(step: TrainStep, batches: Any, rate: float) -> Any:
        return NOT_FINITE if rate in bad else call(step, batches, rate)

    monkeypatch.setattr(TrainStep, "__call__", stumbling)
    stopped, straight = tmp_path / "stopped", begun
    shutil.copytree(begun, stopped)
    train(run, straight, console=quiet())
    for calls in (11, 2):  # after step 8, in the midst of the bad ones; after step 9, right after the rollback
        with pytest.raises(TrainingInterrupted):
            train(run, stopped, stop=at_call(calls), console=quiet())
    train(run, stopped, console=quiet())
    (record,) = (record for record in records(straight) if record["kind"] == "rolled_back")
    assert (record["step"], record["to"]) == (9, 6)
    assert b"statistics/spike_mean" in (straight / "checkpoints/step-00000012/training_state.safetensors").read_bytes()
    assert_as_if_nothing_had_happened(stopped, straight)


def test_a_weight_that_is_not_finite_is_never_written(
    toy_run: Make, begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = TrainStep.__call__
    calls = iter(range(1, 1000))

    def poisoned(step: TrainStep, batches: Any, rate: float) -> Any:
        outcome = call(step, batches, rate)
        if next(calls) > 4:
            step.weights[0].assign(np.full(step.weights[0].shape, np.inf, np.float32))
        return outcome

    monkeypatch.setattr(TrainStep, "__call__", poisoned)
    with pytest.raises(RegardError, match=r"kernel is not finite at step 12 .* 2 rollbacks are behind it"):
        train(toy_run(max_rollbacks=2), begun, console=quiet())
    assert complete(begun) == ["step-00000003"]


def with_own_corpus(run: RunConfig, place: Path) -> RunConfig:
    """The same run, whose training corpus a test may change."""
    values = run.model_dump(exclude_none=True)
    shutil.copy(values["data"]["train"][0]["tsv"], place / "own.tsv")
    values["data"]["train"] = [{"tsv": str(place / "own.tsv")}]
    return parse_run(values)


def test_a_missing_shard_is_prepared_again_and_the_run_goes_on_with_the_same_bits(
    toy_run: Make, begun: Path, undisturbed: Path, assert_as_if_nothing_had_happened: Check
) -> None:
    with pytest.raises(TrainingInterrupted):
        train(toy_run(), begun, stop=at_call(5), console=quiet())
    (begun / "data" / "train-00000.tokens.npy").unlink()
    train(toy_run(), begun, console=quiet())
    assert_as_if_nothing_had_happened(begun, undisturbed)


def test_data_that_come_out_otherwise_are_refused_and_nothing_of_the_run_is_touched(
    toy_run: Make, tmp_path: Path
) -> None:
    run, place = with_own_corpus(toy_run(), tmp_path), tmp_path / "run"
    with pytest.raises(TrainingInterrupted):
        train(run, place, stop=at_call(5), console=quiet())
    (place / "data" / "train-00000.tokens.npy").unlink()
    before = (tmp_path / "own.tsv").read_text("utf-8")
    with (tmp_path / "own.tsv").open("a") as file:
        file.write("two dog\tzwei Hund\n")
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"step-00000003 was trained on other data \(content hash"):
            train(run, place, console=quiet())
    assert complete(place)[-1] == "step-00000003"
    (tmp_path / "own.tsv").write_text(before, "utf-8")  # "bring the data back", as the complaint bids
    with pytest.raises(TrainingInterrupted, match="stopped at step 3"):
        train(run, place, stop=lambda: True, console=quiet())


def test_a_checkpoint_that_lacks_a_file_is_named_and_the_one_before_is_taken(
    toy_run: Make, done: Path, undisturbed: Path, assert_as_if_nothing_had_happened: Check
) -> None:
    (done / "checkpoints" / "step-00000012" / "training_state.safetensors").unlink()
    output = io.StringIO()
    train(toy_run(), done, console=Console(file=output))
    assert "step-00000012 is damaged: training_state.safetensors is missing" in output.getvalue()
    assert "going on from" in output.getvalue()
    shutil.rmtree(done / "checkpoints" / "step-00000012.damaged")
    assert_as_if_nothing_had_happened(done, undisturbed)


def test_a_half_written_model_of_a_process_that_was_killed_is_cleared(toy_run: Make, done: Path) -> None:
    (done / ".model-new-abc").mkdir()
    train(toy_run(), done, console=quiet())
    assert not list(done.glob(".model-*"))


def test_a_deterministic_run_asks_tensorflow_for_it(
    toy_run: Make, begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr("tensorflow.config.experimental.enable_op_determinism", lambda: asked.append(True))
    train(toy_run(deterministic=True, steps=1, average="none"), begun, console=quiet())
    assert asked == [True]
