"""Worker 0 of those that prepare data together gives signs of life: the others do not wait for one that is gone."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regard.errors import DataError

SIGN = "worker-0.alive"  # in the directory that all of them write to
SECONDS_BETWEEN = 10.0
PATIENCE = 300.0  # seconds; a file system over a network may show a sign late


@contextmanager
def signs_of_life(directory: Path) -> Iterator[None]:
    """Touch the sign now and then until the work within is done."""
    over = threading.Event()

    def beat() -> None:
        while True:
            (directory / SIGN).touch()
            if over.wait(SECONDS_BETWEEN):
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        (directory / SIGN).unlink(missing_ok=True)


class Watch:
    """Of one that waits for worker 0. Clocks of machines differ: what counts is a change of the sign, by this one's."""

    def __init__(self, directory: Path) -> None:
        self._sign, self._last, self._since = directory / SIGN, self._seen(directory / SIGN), time.monotonic()

    def look(self) -> None:
        """Raise DataError where there was no sign for too long."""
        seen = self._seen(self._sign)
        if seen != self._last:
            self._last, self._since = seen, time.monotonic()
        elif time.monotonic() - self._since > PATIENCE:
            raise DataError(
                f"worker 0 gave no sign of life in {self._sign.parent} for {PATIENCE / 60:g} minutes: start all "
                "workers again, the first one included, or prepare by one process without TF_CONFIG"
            )

    @staticmethod
    def _seen(sign: Path) -> int | None:
        try:
            return sign.stat().st_mtime_ns
        except FileNotFoundError:
            return None
