"""A sweep: combinations, directories, going on, and the table; training itself is put aside but in one full test."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.cli import main
from regard.commands import sweep
from regard.commands.sweep import alternatives, combine, directory_name, is_done
from regard.config import to_toml
from regard.errors import ConfigError


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    file = tmp_path / "run.toml"
    file.write_text('[data]\ntrain = [{ tsv = "a" }]\n[training]\nsteps = 5\n', "utf-8")
    return file


def finish(directory: Path, losses: list[float], combination: Any) -> None:
    """What `regard train` leaves behind, as far as a sweep reads it."""
    (directory / "model").mkdir(parents=True, exist_ok=True)
    (directory / "run.toml").write_text(to_toml(combination.run), "utf-8")
    lines = [{"kind": "validation", "step": 10 * n, "loss": loss} for n, loss in enumerate(losses, 1)]
    lines.append({"kind": "final", "step": 10 * len(losses)})
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that were trained: each comes to its seed as its best loss; seed 13 fails."""
    names: list[str] = []

    def train(run_file: Path, combination: Any) -> tuple[int, bool]:
        names.append(combination.directory.name)
        if combination.run.seed == 13:
            return 2, False
        finish(combination.directory, [99.0, float(combination.run.seed), 50.0], combination)
        return 0, False

    monkeypatch.setattr(sweep, "_train", train)
    return names


def test_values_are_parted_at_the_commas_outside_of_brackets_and_quotes() -> None:
    assert alternatives("1e-3, 3e-4") == ["1e-3", "3e-4"]
    assert alternatives('["a", "b"],[]') == ['["a", "b"]', "[]"]
    assert alternatives("\"a,b\",'c,d'") == ['"a,b"', "'c,d'"]
    assert alternatives("{ name = 'x', peak = 1 }") == ["{ name = 'x', peak = 1 }"]


@given(st.lists(st.text("ab.-0123", min_size=1), min_size=1))
def test_plain_values_come_back_in_their_order(values: list[str]) -> None:
    assert alternatives(",".join(values)) == values


def test_every_combination_is_a_run_with_a_directory_of_its_own(run_file: Path) -> None:
    sets = ["training.schedule.scale=0.5,2", "seed=1,2", "training.steps=7"]
    found = combine(run_file, run_file.parent / "out", sets)
    assert [each.directory.name for each in found] == [
        "scale=0.5,seed=1",
        "scale=0.5,seed=2",
        "scale=2,seed=1",
        "scale=2,seed=2",
    ]
    assert [(each.run.training.schedule.scale, each.run.seed) for each in found] == [(0.5, 1), (0.5, 2), (2, 1), (2, 2)]
    assert {each.run.training.steps for each in found} == {7}


def test_names_say_the_whole_key_where_the_last_part_is_not_enough_and_hold_no_slash() -> None:
    assert directory_name({"a.name": "x/y", "b.name": "[1]"}) == "a.name=x_y,b.name=_1_"


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["seed=1"], "a sweep needs a --set with several values"),
        (["seed=1,2", "seed=3,4"], "takes each key once: put all values of seed into one --set"),
        (["seed=1,1"], "two combinations would share the directory seed=1"),
        (["seed=1,x"], "seed: should be a valid integer"),
        (["seed"], "--set wants key.path=value or key.path=value,value"),
        (["tokenizer.path=" + "a" * 150 + "," + "b" * 250], "more than 200 bytes"),
    ],
)
def test_what_is_no_sweep_is_refused_before_anything_is_trained(run_file: Path, sets: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        combine(run_file, run_file.parent / "out", sets)


def test_the_table_is_sorted_by_the_best_validation_and_a_failure_is_passed_over(
    run_file: Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    output = run_file.parent / "out"
    command = ["sweep", str(run_file), "-o", str(output), "--set", "seed=3,13,2", "--json"]
    assert main(command) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [(row["values"]["seed"], row["score"], row["step"]) for row in rows] == [
        ("2", 2.0, 20),
        ("3", 3.0, 20),
        ("13", None, None),
    ]
    assert [row["state"] for row in rows] == ["done", "done", "failed"]
    assert main(command[:-1]) == 1
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["seed", "loss", "at", "step", "steps", "state", "directory"]
    assert table[1].split()[:5] == ["2", "2", "20", "30", "done"]


def test_a_run_whose_batch_was_left_to_the_memory_is_done_with_the_size_that_was_found(run_file: Path) -> None:
    sets = ["seed=1,2", "training.batch_tokens=auto"]
    first, second = combine(run_file, run_file.parent / "out", sets)
    training = first.run.training
    found = first.run.model_copy(update={"training": training.model_copy(update={"batch_tokens": 2048})})
    finish(first.directory, [1.0], first._replace(run=found))
    assert [is_done(first), is_done(second), is_done(first._replace(run=second.run))] == [True, False, False]


def test_the_same_command_trains_only_what_is_not_done(run_file: Path, trained: list[str]) -> None:
    command = ["sweep", str(run_file), "-o", str(run_file.parent / "out"), "--set", "seed=1,2"]
    assert main(command) == 0
    assert main(command) == 0
    assert trained == ["seed=1", "seed=2"]
    assert main([*command[:-1], "seed=1,2,4"]) == 0
    assert trained == ["seed=1", "seed=2", "seed=4"]


def test_a_run_that_was_cut_short_or_is_of_other_settings_is_not_done(run_file: Path) -> None:
    one, other = combine(run_file, run_file.parent / "out", ["seed=1,2"])
    assert not is_done(one)
    finish(one.directory, [1.0], one)
    assert is_done(one)
    finish(other.directory, [1.0], one)
    assert not is_done(other)
    (one.directory / "metrics.jsonl").write_text('{"kind": "train", "step": 3, "lo', "utf-8")
    assert not is_done(one)


def test_an_interrupted_run_ends_the_sweep_with_the_code_of_interrupted_training(
    run_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep, "_train", lambda *_: (75, False))
    assert main(["sweep", str(run_file), "-o", str(run_file.parent / "out"), "--set", "seed=1,2"]) == 75
    assert "the sweep stopped in" in capsys.readouterr().err


@pytest.mark.parametrize("code", [-15, -2, 130, 143, 1])
def test_a_run_that_a_signal_ended_before_it_could_save_ends_the_sweep_too(
    code: int, run_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []
    monkeypatch.setattr(sweep, "_train", lambda _, each: begun.append(each) or (code, True))
    assert main(["sweep", str(run_file), "-o", str(run_file.parent / "out"), "--set", "seed=1,2"]) == 75
    assert len(begun) == 1


def test_prepared_data_are_shared_by_links(run_file: Path, trained: list[str]) -> None:
    output = run_file.parent / "out"
    prepared = output / "seed=1" / "data"
    prepared.mkdir(parents=True)
    (prepared / "manifest.json").write_text("{}", "utf-8")
    assert main(["sweep", str(run_file), "-o", str(output), "--set", "seed=1,2"]) == 0
    assert (output / "seed=2" / "data" / "manifest.json").samefile(prepared / "manifest.json")


FORWARDS = """
import os, signal, subprocess, sys
from regard.commands import sweep

waits = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); print(1); time.sleep(60)"
process = subprocess.Popen([sys.executable, "-uc", waits], stdout=subprocess.PIPE, start_new_session=True)
process.stdout.readline()
with sweep._forwarding(process) as forwarded:
    os.kill(os.getpid(), signal.SIGTERM)
    print(process.wait(30), *map(int, forwarded))
"""


def test_signals_go_on_to_the_training_process(fresh_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    found = fresh_python(FORWARDS)
    assert (found.returncode, found.stdout.split()) == (0, ["75", "15"]), found.stderr


def test_a_training_stops_when_its_sweep_was_killed(tmp_path: Path) -> None:
    """As it would by a signal, so that the same command goes on with it."""
    stand_in = (
        "import os, signal, sys, time; from pathlib import Path; from regard.commands.launch import stop_with_parent; "
        f"signal.signal(signal.SIGTERM, lambda *_: (Path({str(tmp_path / 'stopped')!r}).touch(), os._exit(75))); "
        f"stop_with_parent(int(sys.argv[1])); Path({str(tmp_path / 'up')!r}).touch(); time.sleep(60)"
    )
    sweeps = f"""
from pathlib import Path
from regard.commands import sweep
sweep._START = {stand_in!r}
sweep._train(Path("run.toml"), sweep.Combination({{}}, (), Path("out"), None))
"""
    with subprocess.Popen([sys.executable, "-c", sweeps], stdin=subprocess.DEVNULL) as process:
        wait_for(tmp_path / "up")
        process.kill()
    wait_for(tmp_path / "stopped")
    assert (tmp_path / "stopped").exists()


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline, file
        time.sleep(0.02)


@pytest.mark.full
def test_a_sweep_trains_and_ranks_whole_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = "".join(f"{' '.join(words)}\t{' '.join(reversed(words))}\n" for words in WORDS)
    (tmp_path / "pairs.tsv").write_text(pairs, "utf-8")
    (tmp_path / "run.toml").write_text(RUN.format(pairs=tmp_path / "pairs.tsv"), "utf-8")
    command = ["sweep", str(tmp_path / "run.toml"), "-o", str(tmp_path / "out"), "--json"]
    command += ["--set", "training.schedule.peak=1e-9,3e-2"]
    assert main(command) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["values"]["training.schedule.peak"] for row in rows] == ["3e-2", "1e-9"]
    assert all(is_done(each) for each in combine(tmp_path / "run.toml", tmp_path / "out", command[-1:]))
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == rows


WORDS = [[a, b, c] for a in ("red", "blue", "old") for b in ("cat", "dog", "cow") for c in ("runs", "sits", "eats")]
RUN = """
[data]
train = [{{ tsv = "{pairs}" }}]
workers = 1
[tokenizer]
vocab_size = 300
[model]
preset = "tiny"
width = 16
heads = 2
ffn_width = 16
encoder_depth = 1
decoder_depth = 1
[training]
steps = 20
batch_tokens = 64
validate_every = 10
score_examples = 0
dtype = "float32"
[training.schedule]
name = "constant"
peak = 1e-3
warmup_steps = 0
"""
