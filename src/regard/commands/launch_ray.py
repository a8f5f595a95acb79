"""`regard train --workers N --launcher ray`: the workers as processes on the machines of a Ray cluster.

Ray finds the machines and starts the processes, spread over the machines; between them `TF_CONFIG` is all that there
is, as from any other launcher. Each machine needs Regard, and the run directory under the same path.
"""

import logging
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from regard.commands.launch import (
    COMMAND,
    contract,
    free_ports,
    log_of,
    signals_counted,
    start_worker,
    threads,
    wait_for_all,
)
from regard.commands.text import program
from regard.errors import ConfigError, MissingDependencyError


def train_on_ray(arguments: Sequence[str], directory: Path, workers: int) -> None:
    """Run `regard train ARGUMENTS` in so many processes of the Ray cluster that RAY_ADDRESS names, or of one that is
    started here, with a processor each and an even share of the GPUs.

    What worker 0 says is passed on, the others' logs are in DIRECTORY/workers. Raises TrainingInterrupted where all
    stopped as they were asked to, WorkerLost where one ended otherwise, ConfigError where the cluster has too few
    processors.
    """
    if find_spec("ray") is None:
        raise MissingDependencyError("Ray is not installed: pip install 'regard[ray]'")
    command = shlex.join([program(), "train", str(directory), "--workers", str(workers), "--launcher", "ray"])
    with cluster(workers) as (ray, gpus), signals_counted() as signals:
        actor = ray.remote(num_cpus=1, num_gpus=gpus, scheduling_strategy="SPREAD")
        started = _start(ray, actor(RayWorker), arguments, directory.absolute(), workers, command)
        wait_for_all(started, directory, command, signals)


@contextmanager
def cluster(workers: int) -> Iterator[tuple[Any, int]]:
    """Ray itself, connected to the cluster that RAY_ADDRESS names, or to one that is started here; and a worker's share
    of its GPUs. Raises ConfigError where it has too few processors."""
    import ray

    ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    try:
        found = ray.cluster_resources()
        processors = int(found.get("CPU", 0))
        if not 1 <= workers <= processors:
            raise ConfigError(
                f"--workers must be from 1 to the processors of the Ray cluster ({processors}), but is {workers}"
            )
        yield ray, int(found.get("GPU", 0)) // workers
    finally:
        ray.shutdown()


def _start(
    ray: Any, actor: Any, arguments: Sequence[str], directory: Path, workers: int, command: str
) -> "list[RayProcess]":
    actors = [actor.remote() for _ in range(workers)]
    hosts = ray.get([each.address.remote() for each in actors])
    machines = [host.rpartition(":")[0] for host in hosts]
    for worker, each in enumerate(actors):
        environment = {**contract(hosts, worker), COMMAND: command}
        place, log = str(Path.cwd()), str(log_of(directory, worker))
        ray.get(each.start.remote(list(arguments), environment, place, log, machines.count(machines[worker])))
    return [RayProcess(ray, each, shown=worker == 0) for worker, each in enumerate(actors)]


class RayWorker:
    """On a machine of the cluster: one process that trains, and its log."""

    def address(self) -> str:
        """host:port for `TF_CONFIG`: the address by which Ray's other machines know this one."""
        import ray

        return f"{ray.util.get_node_ip_address()}:{free_ports(1)[0]}"

    def start(self, arguments: list[str], environment: Mapping[str, str], place: str, log: str, workers: int) -> None:
        """place: the directory that paths in the run file are relative to. workers: so many share this machine."""
        os.chdir(place)
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        with Path(log).open("wb") as file:
            self.process = start_worker(arguments, os.environ | threads(workers) | dict(environment), file)
        self.log, self.read = Path(log), 0

    def look(self) -> tuple[int | None, bytes]:
        """The exit code, once there is one, and what the log says since the last look."""
        code = self.process.poll()
        with self.log.open("rb") as file:
            file.seek(self.read)
            said = file.read()
        self.read += len(said)
        return code, said

    def signal(self, number: int) -> None:
        """Pass a signal on."""
        self.process.send_signal(number)


class RayProcess:
    """A `RayWorker`'s process, as `wait_for_all` sees processes."""

    def __init__(self, ray: Any, worker: Any, *, shown: bool) -> None:
        """shown: what it says is said here."""
        self._ray, self._worker, self._shown = ray, worker, shown
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, once there is one. A machine that is gone has killed its process."""
        if self.returncode is None:
            try:
                self.returncode, said = self._ray.get(self._worker.look.remote())
            except self._ray.exceptions.RayActorError:
                self.returncode, said = -signal.SIGKILL, b""
            if self._shown:
                sys.stderr.write(said.decode("utf-8", errors="replace"))
                sys.stderr.flush()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Pass a signal on, without waiting."""
        self._worker.signal.remote(number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)
