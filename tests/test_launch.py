"""What `--workers` says and refuses, with stand-ins for workers; real ones train in tests/training/test_workers.py."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from regard.commands import launch, launch_ray
from regard.commands.train import train_run
from regard.errors import ConfigError, MissingDependencyError, TrainingInterrupted, WorkerLost


def bodies(monkeypatch: pytest.MonkeyPatch, *codes: str) -> list[dict[str, str]]:
    """Workers that run this Python instead of training; -> the environments that they get."""
    told: list[dict[str, str]] = []

    def start(arguments: Sequence[str], environment: dict[str, str], log: Any) -> subprocess.Popen[bytes]:
        told.append(environment)
        return subprocess.Popen([sys.executable, "-c", codes[len(told) - 1]], stdout=log, stderr=log)

    monkeypatch.setattr(launch, "start_worker", start)
    return told


def test_each_worker_is_told_its_place_and_gets_its_share_of_the_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(launch.os, "sched_getaffinity", lambda _: set(range(8)))
    for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    told = bodies(monkeypatch, "", "print('one')")
    launch.train_here(["run.toml"], tmp_path, 2)
    configs = [json.loads(environment["TF_CONFIG"]) for environment in told]
    assert [config["task"] for config in configs] == [{"type": "worker", "index": index} for index in (0, 1)]
    assert configs[0]["cluster"] == configs[1]["cluster"]
    assert len(set(configs[0]["cluster"]["worker"])) == 2
    assert {environment["OMP_NUM_THREADS"] for environment in told} == {"4"}
    assert told[0]["REGARD_COMMAND"].endswith(f" train {tmp_path} --workers 2")
    assert (tmp_path / "workers" / "worker-1.log").read_text() == "one\n"


def test_gpus_are_shared_out_and_no_two_workers_have_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("0000:17:00.0", "0000:2a:00.0", "0000:3b:00.0"):
        (tmp_path / name).mkdir()
    shares = launch.gpus(2, tmp_path)
    assert sorted(",".join(share["CUDA_VISIBLE_DEVICES"] for share in shares).split(",")) == ["0", "1", "2"]
    assert all(share["CUDA_VISIBLE_DEVICES"] for share in shares)
    with pytest.raises(ConfigError, match="--workers must be at most 3, for each needs a GPU of its own, but is 4"):
        launch.gpus(4, tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert launch.gpus(2, tmp_path) == [{"CUDA_VISIBLE_DEVICES": "5"}, {"CUDA_VISIBLE_DEVICES": "7"}]
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert launch.gpus(2, tmp_path) == [{}, {}]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert launch.gpus(2, tmp_path / "none") == [{}, {}]


def test_the_first_that_fails_is_named_and_the_others_are_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(launch, "SECONDS_TO_NOTICE", 0.2)
    bodies(monkeypatch, "import time; time.sleep(600)", "import sys; sys.exit('no room')")
    told = r"worker 1 of 2 ended by exit code 1 \('no room', see .*worker-1.log\)"
    with pytest.raises(WorkerLost, match=told) as lost:
        launch.train_here(["run.toml"], tmp_path, 2)
    assert lost.value.exit_code == 1


def test_a_mistake_of_the_run_file_is_to_be_put_right_and_not_gone_on_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bodies(monkeypatch, *["import sys; sys.exit(2)"] * 2)
    told = r"worker 0 of 2 ended by exit code 2 \(see above\), so all were stopped; put that right, and give the same"
    with pytest.raises(WorkerLost, match=told) as lost:
        launch.train_here(["run.toml"], tmp_path, 2)
    assert lost.value.exit_code == 2


def test_one_that_was_killed_is_named_rather_than_those_that_lost_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bodies(monkeypatch, "import sys; sys.exit(69)", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(WorkerLost, match="worker 1 of 2 ended by SIGKILL") as lost:
        launch.train_here(["run.toml"], tmp_path, 2)
    assert lost.value.exit_code == 69


def test_workers_that_stopped_and_saved_are_an_interrupted_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bodies(monkeypatch, *["import sys; sys.exit(75)"] * 2)
    with pytest.raises(TrainingInterrupted, match=r"all 2 workers stopped and saved; go on with: .* --workers 2"):
        launch.train_here(["run.toml"], tmp_path, 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_was_stopped_before_it_could_save_is_not_lost(number: int) -> None:
    ended = [SimpleNamespace(returncode=code, poll=lambda: 0) for code in (75, -number)]
    with pytest.raises(TrainingInterrupted, match="not all could save; go on from the last checkpoint with: again"):
        launch.wait_for_all(ended, Path("place"), "again", launch.Signals(heard=1))
    with pytest.raises(WorkerLost, match=f"worker 1 of 2 ended by {signal.Signals(number).name}"):
        launch.wait_for_all(ended, Path("place"), "again", launch.Signals())


SIGNALLED = """
import signal, subprocess, sys, time
from pathlib import Path
from regard.commands import launch
from regard.errors import TrainingInterrupted

stubborn = '''
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getppid(), signal.SIGINT))
os.kill(os.getppid(), signal.SIGINT)
while True: time.sleep(0.1)
'''

def start(*_):
    process = subprocess.Popen([sys.executable, "-c", stubborn])
    time.sleep(1)  # it signals before anybody waits for it
    return process

launch.start_worker = start
before = signal.getsignal(signal.SIGINT)
try:
    launch.train_here(["run.toml"], Path("place"), 1)
except TrainingInterrupted as stopped:
    print(stopped)
print(signal.getsignal(signal.SIGINT) is before)
"""


def test_a_signal_is_passed_on_once_and_the_second_ends_all(tmp_path: Path) -> None:
    """In a process of its own: a signal that goes astray must not end that of the tests."""
    done = subprocess.run([sys.executable, "-c", SIGNALLED], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    said, restored = done.stdout.splitlines()
    assert said.startswith("all 1 workers were stopped, and not all could save; go on from the last"), done.stderr
    assert restored == "True"


@pytest.mark.parametrize(
    ("workers", "launcher", "config", "complaint"),
    [
        (0, "local", "", "--workers must be at least 1, but is 0"),
        (None, "ray", "", "--launcher ray starts the processes that --workers counts: say how many"),
        (2, "local", "{}", "--workers starts the workers itself, but TF_CONFIG says that this is one: leave one out"),
    ],
)
def test_what_cannot_be_asked_of_a_launcher_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workers: int | None, launcher: str, config: str, complaint: str
) -> None:
    monkeypatch.setenv("TF_CONFIG", config)
    (tmp_path / "c.tsv").write_text("a\tb\n")
    (tmp_path / "run.toml").write_text(f'data.train = [{{tsv = "{tmp_path}/c.tsv"}}]\ntraining.steps = 1\n')
    with pytest.raises(ConfigError, match=complaint):
        train_run(tmp_path / "run.toml", tmp_path / "run", (), workers, launcher)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(launch_ray, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'regard\[ray\]'"):
        launch_ray.train_on_ray(["run.toml"], tmp_path, 2)


class Gone(Exception):
    """What Ray says of an actor whose machine is no more."""


def call(given: Any) -> SimpleNamespace:
    return SimpleNamespace(remote=lambda *arguments: given)


def test_what_worker_0_says_is_passed_on_and_a_machine_that_is_gone_has_killed_its_process(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers: list[Any] = [(None, b"step 1\n"), (None, b"step 2\n"), Gone()]

    def get(_: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Gone):
            raise answer
        return answer

    ray = SimpleNamespace(get=get, exceptions=SimpleNamespace(RayActorError=Gone))
    process = launch_ray.RayProcess(ray, SimpleNamespace(look=call("later"), signal=call(None)), shown=True)
    assert [process.poll() for _ in range(4)] == [None, None, -signal.SIGKILL, -signal.SIGKILL]
    assert capsys.readouterr().err == "step 1\nstep 2\n"


def test_a_ray_worker_says_what_its_process_wrote_since_it_was_asked(tmp_path: Path) -> None:
    worker = launch_ray.RayWorker()
    worker.log, worker.read = tmp_path / "log", 0
    worker.process = subprocess.Popen([sys.executable, "-c", ""])
    worker.process.wait()
    worker.log.write_bytes(b"one\n")
    assert worker.look() == (0, b"one\n")
    assert worker.look() == (0, b"")


def test_a_worker_whose_starter_was_killed_stops_as_it_would_by_a_signal(tmp_path: Path) -> None:
    stand_in = """
import signal, sys, time
from pathlib import Path
from regard.commands.launch import stop_with_parent
signal.signal(signal.SIGTERM, lambda *_: (Path(sys.argv[1]).touch(), sys.exit(75)))
stop_with_parent()
print("up", flush=True)
time.sleep(60)
"""
    starter = f"""
import subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", {stand_in!r}, sys.argv[1]], stdin=subprocess.PIPE)
time.sleep(60)
"""
    stopped = tmp_path / "stopped"
    with subprocess.Popen([sys.executable, "-c", starter, str(stopped)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.kill()
    deadline = time.monotonic() + 30
    while not stopped.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
