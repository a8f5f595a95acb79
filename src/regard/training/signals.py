"""Ctrl-C and SIGTERM: the first asks training to stop after its step, the second ends the process at once."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Within `with`, calling it tells whether to stop; outside the main thread it listens to no signal.

    also: another reason to stop, asked each time. notify: called once, with the name of the signal.
    """

    def __init__(self, also: Callable[[], bool] | None = None, notify: Callable[[str], None] | None = None) -> None:
        self._also = also
        self._notify = notify
        self._received = False
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Whether to stop."""
        return self._received or (self._also is not None and self._also())

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = True
        # The kernel's own answer to a second signal needs no Python, which a long step would keep waiting.
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        if self._notify is not None:
            self._notify(signal.Signals(number).name)
