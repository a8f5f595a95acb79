"""Two processes on 127.0.0.1, as `regard train --workers 2` starts them."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from regard.config import RunConfig, to_toml
from regard.training.schedule import learning_rate
from regard.training.trainer import train

Check = Callable[[Path, Path], None]
REGARD = [sys.executable, "-c", "import sys; from regard.cli import main; sys.exit(main(sys.argv[1:]))"]


def command(run: RunConfig, directory: Path, *more: str) -> list[str]:
    directory.mkdir(parents=True, exist_ok=True)
    file = directory.with_suffix(".toml")
    file.write_text(to_toml(run), "utf-8")
    return [*REGARD, "train", str(file), "-o", str(directory), "--workers", "2", *more]


def trained(run: RunConfig, directory: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(run, directory, *more), capture_output=True, text=True, timeout=900)


def losses(records: list[dict[str, Any]]) -> dict[tuple[str, int], float]:
    return {(each["kind"], each.get("step", 0)): each["loss"] for each in records}


def test_two_processes_train_as_one_does(
    toy_run: Callable[..., RunConfig], begun: Path, records: Callable[[Path], Any]
) -> None:
    run = toy_run(streams=1, steps=50, accumulation=2, clip_norm=0.5, validate_every=25)
    without_noise = run.model_copy(update={"model": run.model.model_copy(update={"dropout": 0.0})})
    alone = begun.with_name("alone")
    shutil.copytree(begun / "data", alone / "data")
    train(without_noise, alone, console=Console(file=io.StringIO()))
    done = trained(without_noise, begun)
    assert (done.returncode, done.stdout) == (0, f"{begun / 'model'}\n"), done.stderr
    together, expected = losses(records(begun)), losses(records(alone))
    assert together.keys() == expected.keys()
    assert len(together) == 25 + 2 + 1  # of training, validation and the end
    assert together == pytest.approx(expected, abs=1e-5)
    assert "2 replicas in 2 processes" in (begun / "workers" / "worker-1.log").read_text("utf-8")


STUMBLING = """
import importlib.abc, importlib.util, sys

class Stumbling(importlib.abc.MetaPathFinder):  # every process that finds this on its path stumbles at two rates
    def find_spec(self, name, path=None, target=None):
        if name != "regard.training.step":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def patched(module):
            run(module)
            call = module.TrainStep.__call__
            module.TrainStep.__call__ = lambda step, batches, rate: (
                module.NOT_FINITE if rate in BAD else call(step, batches, rate)
            )

        spec.loader.exec_module = patched
        return spec

sys.meta_path.insert(0, Stumbling())
"""


def test_two_processes_roll_back_together_and_go_on_as_one_does(
    toy_run: Callable[..., RunConfig],
    begun: Path,
    tmp_path: Path,
    records: Callable[[Path], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = toy_run(streams=1, max_bad_steps=2)
    run = run.model_copy(update={"model": run.model.model_copy(update={"dropout": 0.0})})
    bad = {learning_rate(number, run.training.schedule, width=run.model.width or 0) for number in (8, 9)}
    (tmp_path / "sitecustomize.py").write_text(f"BAD = {bad!r}\n{STUMBLING}", "utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    alone = begun.with_name("alone")
    shutil.copytree(begun / "data", alone / "data")
    for directory, more in ((begun, ["--workers", "2"]), (alone, [])):
        done = subprocess.run([*command(run, directory)[:-2], *more], capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
        (record,) = (each for each in records(directory) if each["kind"] == "rolled_back")
        assert (record["step"], record["to"]) == (9, 6)
    assert "rolled back to the weights of step 6" in (begun / "workers" / "worker-1.log").read_text("utf-8")
    together, expected = (
        [each["loss"] for each in records(directory) if each["kind"] in ("train", "validation")]
        for directory in (begun, alone)
    )
    assert len(together) > 3
    assert together == pytest.approx(expected, abs=1e-5)


@pytest.fixture(scope="module")
def long_run(toy_run: Callable[..., RunConfig]) -> RunConfig:
    return toy_run(streams=1, steps=45, log_every=1, ema=0.9, average="ema", spike_deviations=6.0)


@pytest.fixture(scope="module")
def whole(long_run: RunConfig, undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The long run, undisturbed, by two workers."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(undisturbed / "data", directory / "data")
    done = trained(long_run, directory)
    assert done.returncode == 0, done.stderr
    return directory


def workers_of(launcher: subprocess.Popen[bytes]) -> list[int]:
    """The process ids of the workers, in order."""
    listed = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text("ascii")
    return sorted(map(int, listed.split()))


def until_step(directory: Path, step: int) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        log = directory / "metrics.jsonl"
        if log.is_file() and f'"kind": "train", "step": {step},' in log.read_text("utf-8"):
            return
        time.sleep(0.02)
    raise AssertionError(f"step {step} was never reached")


@pytest.fixture
def started(long_run: RunConfig, begun: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The long run on its way, after some steps."""
    with begun.with_suffix(".stderr").open("wb") as file:
        process = subprocess.Popen(command(long_run, begun), stderr=file, stdout=subprocess.DEVNULL)
    try:
        until_step(begun, 10)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.full
@pytest.mark.parametrize("killed", [0, 1])  # the first is who the others' connections go to
def test_a_worker_that_is_killed_stops_all_and_a_new_start_ends_with_the_same_bits(
    killed: int,
    started: subprocess.Popen[bytes],
    long_run: RunConfig,
    begun: Path,
    whole: Path,
    assert_as_if_nothing_had_happened: Check,
) -> None:
    began = time.monotonic()
    os.kill(workers_of(started)[killed], signal.SIGKILL)
    assert started.wait(60) == 69
    said = begun.with_suffix(".stderr").read_text("utf-8")
    left = said + (begun / "workers" / "worker-1.log").read_text("utf-8")
    # Which words TensorFlow has for it hangs on whether the connection or the heartbeat breaks first.
    assert re.search(rf"worker {1 - killed} of 2 stops, for it has lost another: .+; start all of them again", left), (
        left
    )
    assert f"regard: worker {killed} of 2 ended by SIGKILL" in said
    assert "--workers 2\n" in said
    print(f"stopped {time.monotonic() - began:.1f} s after the kill")
    done = trained(long_run, begun)
    assert done.returncode == 0, done.stderr
    assert re.search(r"going on from .*/step-000000\d\d\n", done.stderr)
    assert_as_if_nothing_had_happened(begun, whole)


@pytest.mark.full
def test_a_signal_to_any_worker_stops_all_after_the_same_step(
    started: subprocess.Popen[bytes],
    long_run: RunConfig,
    begun: Path,
    whole: Path,
    assert_as_if_nothing_had_happened: Check,
) -> None:
    os.kill(workers_of(started)[1], signal.SIGTERM)
    assert started.wait(120) == 75
    said = begun.with_suffix(".stderr").read_text("utf-8") + (begun / "workers" / "worker-1.log").read_text("utf-8")
    stopped = re.findall(r"regard: training stopped at step (\d+) and is saved", said)
    assert len(stopped) == 2
    assert len(set(stopped)) == 1
    assert "regard: all 2 workers stopped and saved; go on with: " in said
    done = trained(long_run, begun)
    assert done.returncode == 0, done.stderr
    assert_as_if_nothing_had_happened(begun, whole)


@pytest.mark.full
def test_two_workers_on_a_real_local_ray_train_as_two_processes_do(
    long_run: RunConfig, begun: Path, whole: Path, assert_as_if_nothing_had_happened: Check
) -> None:
    done = trained(long_run, begun, "--launcher", "ray")
    assert (done.returncode, done.stdout) == (0, f"{begun / 'model'}\n"), done.stderr
    assert "45 steps are done" in done.stderr  # what worker 0 says is passed on
    assert_as_if_nothing_had_happened(begun, whole)
