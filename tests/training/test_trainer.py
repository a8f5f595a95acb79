"""Whole runs at toy size: what they leave behind, and that no interruption changes a bit of it."""

import io
import json
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from regard.config import RunConfig, parse_run
from regard.errors import CheckpointError, ConfigError, RegardError, TrainingInterrupted
from regard.interop.checkpoints import load_model
from regard.training.checkpoint import CheckpointStore
from regard.training.lock import locked
from regard.training.rate_finder import find_rate
from regard.training.trainer import TrainingResult, train

sys.path.append(str(Path(__file__).parent))

from whole_runs import quiet

STEPS, VALIDATE_EVERY = 12, 3  # of `toy_run`


def test_a_run_leaves_its_log_its_checkpoints_and_a_model_behind(
    undisturbed: Path, records: Callable[[Path], list[dict[str, Any]]]
) -> None:
    lines = records(undisturbed)
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(2, STEPS + 1, 2))
    validated = [line for line in lines if line["kind"] == "validation"]
    assert [line["step"] for line in validated] == list(range(VALIDATE_EVERY, STEPS + 1, VALIDATE_EVERY))
    assert validated[-1]["loss"] < validated[0]["loss"]
    assert lines[-1]["kind"] == "final"
    assert lines[-1]["checkpoints"] == ["step-00000009", "step-00000012"]
    files = {path.name for path in (undisturbed / "checkpoints" / "step-00000012").iterdir()}
    assert files >= {"model.safetensors", "config.json", "tokenizer.json", "generation_config.json", "regard.json"}
    assert files >= {"training_state.safetensors", "state.json", "manifest.json"}
    every = {path.stat().st_mode for path in undisturbed.glob("checkpoints/*/*")}
    assert len(every) == 1, "whoever may read one file may read them all"


def test_the_model_handed_over_is_the_mean_of_the_last_checkpoints_and_loads(undisturbed: Path) -> None:
    model = load_file(undisturbed / "model" / "model.safetensors")
    last = [load_file(undisturbed / "checkpoints" / f"step-{step:08d}" / "model.safetensors") for step in (9, 12)]
    for name, tensor in model.items():
        np.testing.assert_array_equal(
            tensor, ((last[0][name].astype(np.float64) + last[1][name]) / 2).astype(np.float32)
        )
    options = load_model(undisturbed / "model").generation_options
    assert (options.num_beams, options.max_new_tokens, options.length_penalty_form) == (2, 12, "gnmt")


def test_a_run_stopped_and_gone_on_with_many_times_ends_with_the_same_bits(
    toy_run: Callable[..., RunConfig],
    begun: Path,
    undisturbed: Path,
    assert_as_if_nothing_had_happened: Callable[[Path, Path], None],
) -> None:
    for number in (1, 3):
        asked = iter(range(100))
        with pytest.raises(TrainingInterrupted):
            train(toy_run(), begun, stop=lambda asked=asked, number=number: next(asked) > 1 + number, console=quiet())
    train(toy_run(), begun, console=quiet())
    assert_as_if_nothing_had_happened(begun, undisturbed)


def test_so_does_one_that_multiplies_in_bfloat16(
    toy_run: Callable[..., RunConfig],
    begun: Path,
    tmp_path: Path,
    assert_as_if_nothing_had_happened: Callable[[Path, Path], None],
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(begun / "data", whole / "data")
    run = toy_run(dtype="mixed_bfloat16", accumulation=2, ema=0.9, average="ema")
    run = run.model_copy(update={"model": run.model.model_copy(update={"width": 64, "ffn_width": 128})})
    train(run, whole, console=quiet())
    asked = iter(range(100))
    with pytest.raises(TrainingInterrupted):
        train(run, begun, stop=lambda: next(asked) > 4, console=quiet())
    train(run, begun, console=quiet())
    assert_as_if_nothing_had_happened(begun, whole)


def test_a_damaged_checkpoint_is_named_and_the_run_goes_on_from_the_one_before(
    toy_run: Callable[..., RunConfig],
    done: Path,
    undisturbed: Path,
    assert_as_if_nothing_had_happened: Callable[[Path, Path], None],
) -> None:
    weights = done / "checkpoints" / "step-00000012" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    output = io.StringIO()
    train(toy_run(), done, console=Console(file=output))
    said = output.getvalue()
    assert f"{weights} is damaged: its SHA-256" in said
    assert f"going on from {done / 'checkpoints' / 'step-00000009'}" in said
    shutil.rmtree(done / "checkpoints" / "step-00000012.damaged")
    assert_as_if_nothing_had_happened(done, undisturbed)


def test_where_all_checkpoints_are_damaged_nothing_is_begun_anew_or_touched(
    toy_run: Callable[..., RunConfig],
    done: Path,
    undisturbed: Path,
    assert_as_if_nothing_had_happened: Callable[[Path, Path], None],
) -> None:
    weights = sorted(done.glob("checkpoints/*/model.safetensors"))
    whole = [path.read_bytes() for path in weights]
    for path in weights:
        path.write_bytes(b"")
    left = {path: path.read_bytes() for path in done.rglob("*") if path.is_file() and path.name != "lock"}
    for _ in range(2):  # the second start finds what the first one found
        with pytest.raises(
            CheckpointError, match=r"no good checkpoint left .*step-00000012.*step-00000009.*begin anew"
        ):
            train(toy_run(), done, console=quiet())
        assert {path: path.read_bytes() for path in left} == left
    for path, content in zip(weights, whole, strict=True):
        path.write_bytes(content)
    train(toy_run(), done, console=quiet())
    assert_as_if_nothing_had_happened(done, undisturbed)


def test_a_schedule_may_end_with_the_epochs_and_goes_on_to_the_same_bits(
    toy_run: Callable[..., RunConfig],
    begun: Path,
    tmp_path: Path,
    records: Callable[[Path], list[dict[str, Any]]],
    assert_as_if_nothing_had_happened: Callable[[Path, Path], None],
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(begun / "data", whole / "data")
    linear = {"name": "linear", "peak": 0.02, "warmup_steps": 2}
    run = toy_run(steps=None, epochs=1, accumulation=3, log_every=1, schedule=linear)
    steps = train(run, whole, console=quiet()).step
    rates = [each["learning_rate"] for each in records(whole) if each["kind"] == "train"]
    assert len(rates) == steps > 4
    assert rates == pytest.approx([0.01, *(0.02 * (steps - step) / (steps - 2) for step in range(2, steps + 1))])
    asked = iter(range(100))
    with pytest.raises(TrainingInterrupted):
        train(run, begun, stop=lambda: next(asked) > 3, console=quiet())
    train(run, begun, console=quiet())
    assert_as_if_nothing_had_happened(begun, whole)


def test_a_decay_longer_than_the_epochs_is_refused(toy_run: Callable[..., RunConfig], begun: Path) -> None:
    schedule = {"name": "wsd", "peak": 0.02, "warmup_steps": 2, "decay_steps": 9999}
    with pytest.raises(ConfigError, match=r"at most the \d+ steps that the run comes to, but is 10,001"):
        train(toy_run(steps=None, epochs=1, schedule=schedule), begun, console=quiet())


def test_a_finished_run_started_again_only_writes_its_model_again(
    toy_run: Callable[..., RunConfig],
    done: Path,
    undisturbed: Path,
    assert_as_if_nothing_had_happened: Callable[[Path, Path], None],
) -> None:
    shutil.rmtree(done / "model")
    result = train(toy_run(), done, console=quiet())
    assert isinstance(result, TrainingResult)
    assert (result.step, result.reason, result.model) == (STEPS, "12 steps are done", done / "model")
    assert_as_if_nothing_had_happened(done, undisturbed)


def test_another_run_in_the_same_directory_is_refused_before_anything_is_touched(
    toy_run: Callable[..., RunConfig],
    done: Path,
    undisturbed: Path,
    assert_as_if_nothing_had_happened: Callable[[Path, Path], None],
) -> None:
    with pytest.raises(ConfigError, match=r"training\.label_smoothing cannot change when a run goes on: it was 0.1"):
        train(toy_run(label_smoothing=0.3), done, console=quiet())
    assert_as_if_nothing_had_happened(done, undisturbed)


def test_validation_with_translation_changes_nothing_of_the_training(
    toy_run: Callable[..., RunConfig], begun: Path, undisturbed: Path
) -> None:
    run = toy_run(score_examples=5, validate_every=STEPS, best="chrf", average="none")
    result = train(run, begun, console=quiet())
    assert result.score is not None
    assert 0 <= result.score["bleu"] <= 100
    assert 0 <= result.score["chrf"] <= 100
    name = Path("checkpoints") / "step-00000012" / "model.safetensors"
    assert (begun / name).read_bytes() == (undisturbed / name).read_bytes()
    assert (begun / "model" / "model.safetensors").read_bytes() == (begun / name).read_bytes()


def test_a_system_that_takes_no_larger_file_costs_the_checkpoints_and_nothing_else(
    toy_run: Callable[..., RunConfig],
    begun: Path,
    undisturbed: Path,
    assert_as_if_nothing_had_happened: Callable[[Path, Path], None],
) -> None:
    """The system's own error, in the midst of a file, where other tests raise one of theirs."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    output = io.StringIO()
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        with pytest.raises(CheckpointError, match=r"step 9 could not be written: .*3 in a row have failed"):
            train(toy_run(), begun, console=Console(file=output))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert output.getvalue().count("WARNING: the checkpoint of step") == 2
    assert CheckpointStore(begun / "checkpoints").complete() == []
    train(toy_run(), begun, console=quiet())
    assert_as_if_nothing_had_happened(begun, undisturbed)


def test_a_disk_that_stays_full_is_outlived_twice_and_ends_the_run_the_third_time(
    toy_run: Callable[..., RunConfig], begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CheckpointStore, "write", full)
    output = io.StringIO()
    with pytest.raises(CheckpointError, match=r"step 9 could not be written: .*No space left.*3 in a row have failed"):
        train(toy_run(), begun, console=Console(file=output))
    assert output.getvalue().count("WARNING: the checkpoint of step") == 2


def test_a_source_longer_than_the_model_s_positions_is_refused_by_name(
    toy_run: Callable[..., RunConfig], begun: Path
) -> None:
    values = toy_run().model_dump(exclude_none=True)
    values["model"]["max_positions"] = 64
    with pytest.raises(ConfigError, match=r"data\.max_tokens must be at most model\.max_positions \(64\), but is 128"):
        train(parse_run(values), begun, console=quiet())


def test_positions_that_are_no_multiple_of_a_batch_s_step_are_enough(
    toy_run: Callable[..., RunConfig], tmp_path: Path
) -> None:
    values = toy_run(steps=2, score_examples=5, average="none").model_dump(exclude_none=True)
    rows = "".join(f"{'cat ' * n}\t{'Katze ' * n}\n" for n in range(1, 60))
    (tmp_path / "train.tsv").write_text(rows, "utf-8")
    values["data"]["train"] = values["data"]["validation"] = [{"tsv": str(tmp_path / "train.tsv")}]
    values["data"]["max_tokens"] = values["model"]["max_positions"] = 50
    result = train(parse_run(values), tmp_path / "run", console=quiet())
    assert result.step == 2


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ({"preset": "tinny"}, "unknown preset 'tinny': did you mean tiny"),
        ({"preset": "tiny", "heads": 3}, "multiple of"),
    ],
)
def test_what_is_no_network_is_refused_before_the_data_are_prepared(
    toy_run: Callable[..., RunConfig], tmp_path: Path, model: dict[str, Any], complaint: str
) -> None:
    run = parse_run({**toy_run().model_dump(exclude_none=True), "model": model})
    for begin in (train, find_rate):
        with pytest.raises(ConfigError, match=complaint):
            begin(run, tmp_path / "run", console=quiet())
    assert not (tmp_path / "run" / "data").exists()


def test_a_second_process_in_the_same_directory_is_refused(
    toy_run: Callable[..., RunConfig],
    done: Path,
    undisturbed: Path,
    assert_as_if_nothing_had_happened: Callable[[Path, Path], None],
) -> None:
    with locked(done), pytest.raises(RegardError, match=f"another process prepares or trains in {done}"):
        train(toy_run(), done, console=quiet())
    assert_as_if_nothing_had_happened(done, undisturbed)


def test_a_last_save_that_fails_is_said_and_the_model_names_its_own_step(
    toy_run: Callable[..., RunConfig],
    begun: Path,
    monkeypatch: pytest.MonkeyPatch,
    records: Callable[[Path], list[dict[str, Any]]],
) -> None:
    write = CheckpointStore.write

    def full_at_the_end(store: CheckpointStore, step: int, *arguments: Any) -> Path:
        if step == STEPS:
            raise OSError(28, "No space left on device")
        return write(store, step, *arguments)

    monkeypatch.setattr(CheckpointStore, "write", full_at_the_end)
    output = io.StringIO()
    train(toy_run(), begun, console=Console(file=output))
    assert f"WARNING: the last step, {STEPS}, is not saved" in output.getvalue()
    record = json.loads((begun / "model" / "regard.json").read_text("utf-8"))
    assert (record["step"], record["model_step"]) == (STEPS, 9)
    assert records(begun)[-1]["model_step"] == 9


def test_who_stops_a_run_is_told_the_command_that_he_gave(toy_run: Callable[..., RunConfig], begun: Path) -> None:
    with pytest.raises(TrainingInterrupted, match=r"go on with: regard demo -o x$"):
        train(toy_run(), begun, stop=lambda: True, console=quiet(), command="regard demo -o x")


def test_run_toml_is_replaced_as_a_whole(
    toy_run: Callable[..., RunConfig], done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = (done / "run.toml").read_bytes()
    monkeypatch.setattr("regard.data.shards.os.fsync", full)
    with pytest.raises(RegardError, match=r"cannot write .*run\.toml: No space left"):
        train(toy_run(log_every=1), done, console=quiet())
    assert (done / "run.toml").read_bytes() == before
