"""`regard train --workers N`: N processes on this machine that train together; one dies, and all are stopped."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import IO, NamedTuple, Protocol

from regard.commands.text import program
from regard.data.processes import available_cores
from regard.errors import ConfigError, TrainingInterrupted, WorkerLost

COMMAND = "REGARD_COMMAND"  # names the command that started a worker, for what it tells its user to type
LOGS = "workers"  # of a run directory
# Of the others, once one has failed: they notice by themselves within about 15 s, and say so in their logs.
SECONDS_TO_NOTICE = 40.0
_INTERRUPTED = TrainingInterrupted.exit_code
_STOPPED = {-signal.SIGTERM, -signal.SIGINT, -signal.SIGKILL}  # how one ends by what was passed on, if it did not save
_START = (
    "import sys; from regard.cli import main; from regard.commands.launch import stop_with_parent; "
    "stop_with_parent(); sys.exit(main(sys.argv[1:]))"
)


class Ending(NamedTuple):
    """How a worker ended."""

    worker: int
    code: int  # as of Popen: negative: the signal that killed it


def train_here(arguments: Sequence[str], directory: Path, workers: int) -> None:
    """Run `regard train ARGUMENTS` in so many processes, and wait for all of them.

    Worker 0 writes where this process does, the others to DIRECTORY/workers. Raises TrainingInterrupted where all
    stopped as they were asked to, WorkerLost where one ended otherwise.
    """
    if workers < 1:
        raise ConfigError(f"--workers must be at least 1, but is {workers}")
    command = shlex.join([program(), "train", str(directory), "--workers", str(workers)])
    own = gpus(workers)
    hosts = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    (directory / LOGS).mkdir(parents=True, exist_ok=True)
    with signals_counted() as signals, ExitStack() as files:
        started = []
        for worker in range(workers):
            environment = os.environ | threads(workers) | own[worker] | contract(hosts, worker) | {COMMAND: command}
            log = None if worker == 0 else files.enter_context(log_of(directory, worker).open("wb"))
            started.append(start_worker(arguments, environment, log))
        wait_for_all(started, directory, command, signals)


def contract(hosts: Sequence[str], worker: int) -> dict[str, str]:
    """What tells a process which worker of which cluster it is, as TensorFlow has it."""
    return {"TF_CONFIG": json.dumps({"cluster": {"worker": list(hosts)}, "task": {"type": "worker", "index": worker}})}


def threads(workers: int) -> dict[str, str]:
    """Each worker's share of the processor, unless the environment says otherwise; nothing for one that has it all."""
    if workers == 1:
        return {}
    share = str(max(1, available_cores() // workers))
    names = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")
    return {name: share for name in names if name not in os.environ}


def gpus(workers: int, drivers: Path = Path("/proc/driver/nvidia/gpus")) -> list[dict[str, str]]:
    """Each worker's share of the GPUs that can be seen: no two may have one. drivers: where NVIDIA's driver lists them.

    Raises ConfigError where there are some, and fewer than workers.
    """
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = [str(number) for number, _ in enumerate(drivers.glob("*"))] if said is None else said.split(",")
    found = [name for name in seen if name.strip() and not name.strip().startswith("-")]
    if 0 < len(found) < workers:
        raise ConfigError(
            f"--workers must be at most {len(found)}, for each needs a GPU of its own, but is {workers}; "
            "CUDA_VISIBLE_DEVICES= trains on the processor"
        )
    cuts = [len(found) * worker // workers for worker in range(workers + 1)]
    shares = [found[first:last] for first, last in pairwise(cuts)]
    return [{"CUDA_VISIBLE_DEVICES": ",".join(share)} if share else {} for share in shares]


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def log_of(directory: Path, worker: int) -> Path:
    """What a worker but the first says."""
    return directory / LOGS / f"worker-{worker}.log"


def start_worker(
    arguments: Sequence[str], environment: Mapping[str, str], log: IO[bytes] | None
) -> subprocess.Popen[bytes]:
    """A process in a session of its own, so that Ctrl-C reaches it by us alone, and once.

    It stops, and saves, when we are no more. log: None: it tells on our stderr; where the model is, on stdout, is ours
    to say.
    """
    return subprocess.Popen(
        [sys.executable, "-c", _START, "train", *arguments],
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL if log is None else log,
        stderr=None if log is None else subprocess.STDOUT,
        start_new_session=True,
    )


def stop_with_parent(end: int = 0) -> None:
    """In a worker: its stdin, or another file, ends when the process that started it does; then it asks itself to
    stop."""

    def wait_and_stop() -> None:
        os.read(end, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait_and_stop, daemon=True).start()


class Process(Protocol):
    """Of `Popen`, what watching a worker needs."""

    returncode: int | None

    def poll(self) -> int | None:
        """The exit code, once there is one; then `returncode` is it, too."""

    def send_signal(self, number: int) -> None: ...

    def kill(self) -> None: ...


def wait_for_all(started: Sequence[Process], directory: Path, command: str, signals: "Signals") -> None:
    """Wait until all workers have ended; the first signal asks them to stop and save, the second ends them at once.
    command: what goes on with the run.

    Where one ends neither well nor by request, the others are ended too, if they do not notice by themselves. Raises as
    `train_here`.
    """
    ending = _watch(started, signals)
    if ending is not None and ending.code in _STOPPED and signals.heard:
        raise TrainingInterrupted(
            f"all {len(started)} workers were stopped, and not all could save; go on from the last checkpoint with: "
            f"{command}"
        )
    _raise_for(ending, len(started), directory, command)


def _watch(started: Sequence[Process], signals: "Signals") -> Ending | None:
    """Of the worker that failed, or else of one that stopped as it was asked to."""
    failed: Ending | None = None
    patience, passed_on = float("inf"), 0
    while [process for process in started if process.poll() is None]:
        if signals.heard > passed_on:
            passed_on = signals.heard
            for process in started:
                process.send_signal(signal.SIGTERM if passed_on == 1 else signal.SIGKILL)
        failed = _failure(started, signals)
        if failed is not None:
            patience = min(patience, time.monotonic() + SECONDS_TO_NOTICE)
        if time.monotonic() > patience:
            _end(started)
            return failed
        time.sleep(0.1)
    return _failure(started, signals) or _interrupted(started)


def _end(started: Sequence[Process]) -> None:
    for process in started:
        process.kill()
    while [process for process in started if process.poll() is None]:
        time.sleep(0.1)


def _failure(started: Sequence[Process], signals: "Signals") -> Ending | None:
    endings = [Ending(worker, process.returncode) for worker, process in enumerate(started) if process.returncode]
    asked = {_INTERRUPTED, *(_STOPPED if signals.heard else ())}
    failed = [ending for ending in endings if ending.code not in asked]
    # A worker that lost another is not the one to name.
    return min(failed, key=lambda ending: ending.code == WorkerLost.exit_code, default=None)


def _interrupted(started: Sequence[Process]) -> Ending | None:
    """Of a worker that was asked to stop; of one that did not save, where there is one."""
    ended = [Ending(worker, each.returncode) for worker, each in enumerate(started) if each.returncode]
    return max(ended, key=lambda ending: ending.code in _STOPPED, default=None)


@dataclass
class Signals:
    """SIGINT and SIGTERM, as many as have come."""

    heard: int = 0


@contextmanager
def signals_counted() -> Iterator[Signals]:
    """Count them instead of ending by them: from before the first worker is started, or one would be left alone."""
    signals = Signals()

    def receive(number: int, _: FrameType | None) -> None:
        signals.heard += 1

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise_for(ending: Ending | None, workers: int, directory: Path, command: str) -> None:
    if ending is None:
        return
    if ending.code == _INTERRUPTED:
        raise TrainingInterrupted(f"all {workers} workers stopped and saved; go on with: {command}")
    how = f"exit code {ending.code}" if ending.code > 0 else signal.Signals(-ending.code).name
    where = "above" if ending.worker == 0 else log_of(directory, ending.worker)
    usage = ending.code == ConfigError.exit_code
    way_out = (
        "put that right, and give the same command" if usage else f"go on from the last checkpoint with: {command}"
    )
    lost = WorkerLost(
        f"worker {ending.worker} of {workers} ended by {how} ({what_it_said(directory, ending.worker)}see {where}), "
        f"so all were stopped; {way_out}"
    )
    # What is wrong with the run is wrong with it here, too: a usage error stays one.
    lost.exit_code = ending.code if ending.code > 0 else lost.exit_code
    raise lost


def what_it_said(directory: Path, worker: int) -> str:
    """The last line of a worker's log, to quote."""
    if worker == 0 or not log_of(directory, worker).is_file():
        return ""
    lines = log_of(directory, worker).read_text("utf-8", errors="replace").strip().splitlines()
    return f"{lines[-1]!r}, " if lines else ""
