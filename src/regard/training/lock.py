"""One process at a time in a run directory."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regard.errors import ConfigError, RegardError

LOCK = ".lock"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a run directory, which is made if it is missing; the system frees it when the process ends.

    Raises RegardError where another process holds it, ConfigError where the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / LOCK).open("a")
    except OSError as error:
        raise ConfigError(f"cannot write to the run directory {directory}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RegardError(
                f"another process prepares or trains in {directory}: wait for its end, or give another directory"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
