"""Workers wait for each other at the first one's port, each in a thread of its own here."""

import fcntl
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regard.commands.launch import free_ports
from regard.config import RunConfig, to_toml
from regard.errors import ConfigError
from regard.training import rendezvous
from regard.training.rendezvous import gather


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_BETWEEN_TRIES", 0.02)


class Worker(threading.Thread):
    def __init__(self, hosts: list[str], number: int) -> None:
        super().__init__(daemon=True)
        self.hosts, self.number, self.said = hosts, number, []  # type: ignore[var-annotated]
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            gather(self.hosts, self.number, self.said.append)
        except ConfigError as error:
            self.error = error


def addresses(count: int) -> list[str]:
    return [f"127.0.0.1:{port}" for port in free_ports(count)]


def connected(host: str, text: bytes = b"") -> socket.socket:
    name, port = host.split(":")
    while True:
        try:
            connection = socket.create_connection((name, int(port)), timeout=20)
        except ConnectionRefusedError:
            time.sleep(0.01)
            continue
        connection.sendall(text)
        return connection


def all_went(workers: list[Worker]) -> bool:
    for worker in workers:
        worker.join(20)
    return not any(worker.is_alive() for worker in workers) and not any(worker.error for worker in workers)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_none_goes_on_before_the_last_has_come(order: tuple[int, ...]) -> None:
    hosts = addresses(3)
    early = [Worker(hosts, number) for number in order[:2]]
    time.sleep(0.3)
    assert all(worker.is_alive() for worker in early)
    assert all_went([*early, Worker(hosts, order[2])])
    with socket.create_server(("127.0.0.1", int(hosts[0].split(":")[1]))):
        pass  # the port is free again, as TensorFlow needs it


def test_a_worker_that_goes_and_comes_again_counts_once() -> None:
    hosts = addresses(3)
    first = Worker(hosts, 0)
    for _ in range(2):
        connected(hosts[0], b"regard worker 1 of 3\n").close()
    second = Worker(hosts, 2)
    time.sleep(0.3)
    assert first.is_alive()
    assert second.is_alive()
    assert all_went([first, second, Worker(hosts, 1)])


def test_who_is_no_worker_is_let_go_and_counts_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_TO_ANSWER", 0.05)
    hosts = addresses(2)
    first = Worker(hosts, 0)
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"regard worker 0 of 2\n", b"regard worker 2 of 2\n", b"", b"\xff" * 64):
        with connected(hosts[0], said) as stranger:
            assert stranger.recv(64) == b""
    assert first.is_alive()
    assert all_went([first, Worker(hosts, 1)])


def test_another_server_at_the_first_ones_port_lets_nobody_go() -> None:
    """As TensorFlow's of a run before, which has not ended yet."""
    hosts = addresses(2)
    with socket.create_server(("127.0.0.1", int(hosts[0].split(":")[1]))) as other:
        waiting = Worker(hosts, 1)
        for _ in range(2):
            connection, _ = other.accept()
            connection.sendall(b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0")
            connection.close()
        assert waiting.is_alive()
    assert all_went([waiting, Worker(hosts, 0)])


def test_workers_that_count_otherwise_are_told_and_a_port_that_is_taken_is_named() -> None:
    hosts = addresses(3)
    first, odd = Worker(hosts[:2], 0), Worker(hosts, 1)
    odd.join(20)
    assert str(odd.error).startswith(f"TF_CONFIG of worker 1 names 3 workers, but that of worker 0, at {hosts[0]}, nam")
    assert all_went([first, Worker(hosts[:2], 1)])
    with socket.create_server(("", int(hosts[0].split(":")[1]))):
        late = Worker(hosts, 0)
        late.join(20)
    assert "where it cannot listen (Address already in use): give it another" in str(late.error)
    for wrong in ("node1", "node1:", ":22", "node1:x"):
        with pytest.raises(ConfigError, match="must be host:port, but is "):
            gather([wrong, "b:1"], 1, print)


def test_it_says_for_whom_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_SAID_AFTER", 0.1)
    hosts = addresses(3)
    workers = [Worker(hosts, number) for number in (0, 1)]
    time.sleep(0.5)
    assert all_went([*workers, Worker(hosts, 2)])
    assert [worker.said for worker in workers] == [
        [f"waiting for worker 2 ({hosts[2]})"],
        [f"waiting for worker 0 ({hosts[0]})"],
    ]


@pytest.mark.parametrize("number", [0, 1])
def test_a_worker_that_waits_for_one_that_never_comes_heeds_a_signal(
    number: int, toy_run: Callable[..., RunConfig], tmp_path: Path
) -> None:
    file = tmp_path / "run.toml"
    file.write_text(to_toml(toy_run(streams=1)), "utf-8")
    config: Any = {"cluster": {"worker": addresses(2)}, "task": {"type": "worker", "index": number}}
    code = (
        "import sys; from regard.training import rendezvous; rendezvous._SAID_AFTER = 0; "
        "from regard.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", str(file), "-o", str(tmp_path / "run")],
        env=os.environ | {"TF_CONFIG": json.dumps(config)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(f"waiting for worker {1 - number} "):
            break
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    assert "SIGTERM: nothing was to be saved; go on with: " in process.stderr.read()


def test_the_first_worker_hears_connections_beyond_the_number_that_select_knows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        one, other = socket.socketpair()
        with one, other, socket.socket(fileno=fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 1500)) as high:
            assert high.fileno() >= 1500
            assert rendezvous._heard([high]) == set()
            other.send(b"x")
            assert rendezvous._heard([high]) == {high}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


MEETS = """
import os, resource, sys
from regard.errors import ConfigError
from regard.training.rendezvous import gather

open_ones = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (open_ones + 5, open_ones + 5))
try:
    gather(sys.argv[1].split(), 0, print)
except ConfigError as error:
    print(error)
"""


def test_too_few_files_for_all_workers_is_said_with_the_way_out() -> None:
    hosts = addresses(20)
    process = subprocess.Popen([sys.executable, "-c", MEETS, " ".join(hosts)], stdout=subprocess.PIPE, text=True)
    held = []
    try:
        for number in range(1, 10):
            held.append(connected(hosts[0], b"regard worker %d of 20\n" % number))
        said, _ = process.communicate(timeout=60)
    except ConnectionError:  # it has given up, which is what is looked for
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        for each in held:
            each.close()
    assert re.search(r"not have more than \d connections open, and there are 20 workers: .* \(ulimit -n\)", said), said
