"""Before TensorFlow's workers join each other: each waits here until all are there.

TensorFlow's own wait holds Python's lock, so that no signal ends it and no word of it is said, and the first worker's
has no end at all. So the others tell the first, at the port that TensorFlow is to have, and it lets all go at once.
"""

import errno
import os
import re
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from regard.errors import ConfigError

_GO = b"go\n"
_NAME = re.compile(rb"regard worker (\d{1,6}) of (\d{1,6})\n")
_BETWEEN_TRIES = 0.5  # seconds
_TO_ANSWER = 5.0  # seconds until who connects and says nothing is let go
_SAID_AFTER, _SAID_EVERY = 10.0, 60.0  # seconds

Say = Callable[[str], None]


def gather(hosts: Sequence[str], worker: int, say: Say) -> None:
    """Return once all workers have come; by the first's word, so that none goes on before.

    hosts: the address of each, host:port. say: is told, now and then, for whom it waits. Raises ConfigError where the
    first's port is taken, where it may not have as many connections, or where it knows of another number of workers.
    """
    if worker == 0:
        _receive(hosts, _Waiting(say))
    else:
        _report(hosts, worker, _Waiting(say))


class _Waiting:
    def __init__(self, say: Say) -> None:
        self._say, self._next = say, time.monotonic() + _SAID_AFTER

    def on(self, hosts: Sequence[str], missing: Sequence[int]) -> None:
        if time.monotonic() >= self._next:
            self._next += _SAID_EVERY
            self._say("waiting for " + ", ".join(f"worker {number} ({hosts[number]})" for number in missing))


def _receive(hosts: Sequence[str], waiting: _Waiting) -> None:
    """The first worker's part."""
    present: dict[int, socket.socket] = {}
    with _listening(hosts[0]) as server:
        try:
            while missing := [number for number in range(1, len(hosts)) if number not in present]:
                heard = _heard([server, *present.values()])
                for number in [number for number, own in present.items() if own in heard]:
                    present.pop(number).close()  # it says nothing more, so it has gone; it may come again
                if server in heard:
                    _welcome(server, len(hosts), present)
                waiting.on(hosts, missing)
            for own in present.values():
                own.sendall(_GO)
            for own in present.values():
                with suppress(OSError):  # let it close first, or the port would rest before TensorFlow could have it
                    own.recv(1)
        finally:
            for own in present.values():
                own.close()


def _heard(sockets: Sequence[socket.socket]) -> set[Any]:
    """Those that have something to say, or have gone. `select` knows no more than 1,024, and epoll needs a file of its
    own, of which there may be none left."""
    with selectors.PollSelector() as selector:
        for each in sockets:
            selector.register(each, selectors.EVENT_READ)
        return {key.fileobj for key, _ in selector.select(_BETWEEN_TRIES)}


def _welcome(server: socket.socket, workers: int, present: dict[int, socket.socket]) -> None:
    """Whoever connects, if it is a worker."""
    try:
        connection, _ = server.accept()
    except (ConnectionError, BlockingIOError):  # it has gone again
        return
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise ConfigError(
            f"worker 0 may not have more than {len(present)} connections open, and there are {workers} workers: raise "
            "its limit of open files (ulimit -n)"
        ) from None
    connection.settimeout(_TO_ANSWER)
    named = None
    with suppress(OSError):
        named = _NAME.fullmatch(connection.recv(64))
        if named is not None and int(named[2]) != workers:
            connection.sendall(b"of %d\n" % workers)
            named = None
    if named is None or not 0 < int(named[1]) < workers:
        connection.close()
        return
    if int(named[1]) in present:
        present.pop(int(named[1])).close()
    present[int(named[1])] = connection


def _report(hosts: Sequence[str], worker: int, waiting: _Waiting) -> None:
    """Every other worker's part."""
    while True:
        answer = b""
        with suppress(OSError), socket.create_connection(_parts(hosts[0]), timeout=_TO_ANSWER) as connection:
            connection.sendall(b"regard worker %d of %d\n" % (worker, len(hosts)))
            connection.settimeout(_BETWEEN_TRIES)
            answer = _answer(connection, hosts, waiting)
        if answer == _GO:
            return
        if answer.startswith(b"of "):
            raise ConfigError(
                f"TF_CONFIG of worker {worker} names {len(hosts)} workers, but that of worker 0, at {hosts[0]}, "
                f"names {int(answer[3:])}: give all the same"
            )
        waiting.on(hosts, [0])
        time.sleep(_BETWEEN_TRIES)


def _answer(connection: socket.socket, hosts: Sequence[str], waiting: _Waiting) -> bytes:
    """What the first worker says in the end; nothing where it has gone."""
    while True:
        try:
            return connection.recv(64)
        except TimeoutError:
            waiting.on(hosts, [0])


def _listening(host: str) -> socket.socket:
    port = _parts(host)[1]
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=both)
    except OSError as error:
        raise ConfigError(
            f"TF_CONFIG gives worker 0 the port {port}, where it cannot listen ({os.strerror(error.errno or 0)}): "
            "give it another"
        ) from None


def _parts(host: str) -> tuple[str, int]:
    """Raises ConfigError for what is no host:port."""
    name, _, port = host.rpartition(":")
    if not name or not port.isdecimal():
        raise ConfigError(f"TF_CONFIG: a worker's address must be host:port, but is {host!r}")
    return name.strip("[]"), int(port)
