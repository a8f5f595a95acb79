"""Ctrl-C and SIGTERM: the first asks training to stop, the second ends the process at once."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, Self

from regard.errors import TrainingInterrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_END = b"\0"  # no signal has this number

Handler = Callable[[int], None]


class StopRequest:
    """Within `with`, calling it tells whether to stop; outside the main thread it listens to no signal.

    also: another reason to stop, asked each time. notify: called once, with the name of the signal, in a thread.
    """

    def __init__(self, also: Callable[[], bool] | None = None, notify: Callable[[str], None] | None = None) -> None:
        self._also = also
        self._received = False
        self._signals = listening(self._receive, notify)

    def __call__(self) -> bool:
        """Whether to stop."""
        return self._received or (self._also is not None and self._also())

    def __enter__(self) -> Self:
        self._signals.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._signals.__exit__(None, None, None)

    def _receive(self, number: int) -> None:
        self._received = True


@contextmanager
def stopping_at_once(message: str) -> Iterator[None]:
    """Within, a signal raises TrainingInterrupted: where nothing needs to be saved. {signal} in `message` is its name.

    As with KeyboardInterrupt, it is raised where the main thread stands.
    """

    def receive(number: int) -> NoReturn:
        raise TrainingInterrupted(message.replace("{signal}", signal.Signals(number).name))

    with listening(receive):
        yield


@contextmanager
def listening(receive: Handler, notify: Callable[[str], None] | None = None) -> Iterator[None]:
    """Within, the first signal calls `receive` in the main thread, as soon as that is back from what it calls.

    That can take as long as a training step, and Python would keep a second signal waiting with the first. So a thread
    hears of each signal at once: it tells `notify` of the first, and ends the process at the second, whose exit code
    is 128 + its number, as a shell has it. Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)
    thread = threading.Thread(target=_listen, args=(ear, notify), name="signals", daemon=True)
    thread.start()
    file_before = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, _once(receive)) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(file_before)
        mouth.send(_END)
        thread.join()
        ear.close()
        mouth.close()


def _once(receive: Handler) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        receive(number)

    return handle


def _listen(ear: socket.socket, notify: Callable[[str], None] | None) -> None:
    heard = 0
    while (byte := ear.recv(1)) not in (_END, b""):
        if byte[0] not in _SIGNALS:
            continue
        heard += 1
        if heard > 1:
            os._exit(128 + byte[0])
        if notify is not None:
            notify(signal.Signals(byte[0]).name)
