"""How much memory this process may come to hold: what the machine has free, within what its container may use."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from regard.errors import ConfigError

SHARE = 0.8  # of what is free: validation, checkpoints and others want some


class _Version(NamedTuple):
    """Where a version of Linux's control groups keeps what a group may hold, in bytes."""

    mount: str
    limit: str
    usage: str
    cache: str  # in memory.stat: of files, given back where it is needed


_SECOND = _Version("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")
_FIRST = _Version("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that the process may come to hold: what it holds, and 0.8 of what is free of the machine's memory and of
    every control group that it is in, as containers and batch systems set them. root: of the file system.

    Raises ConfigError where the system does not tell.
    """
    try:
        lines = (root / "proc/meminfo").read_text("ascii").splitlines()
        available = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
        own = int((root / "proc/self/statm").read_text("ascii").split()[1])
    except OSError as error:
        raise ConfigError(f"this system does not say how much memory is free ({error}): give the bound") from error
    return int(SHARE * max(0, min([available, *_left_in_groups(root)]))) + own * os.sysconf("SC_PAGESIZE")


def _left_in_groups(root: Path) -> Iterator[int]:
    """What each limited group that the process is in leaves: its own, and those above it."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        version = _FIRST if controllers else _SECOND
        own = PurePosixPath(path)
        for group in (own, *own.parents):  # a container sees its own group as the root, whatever its path says
            directory = root / version.mount / str(group).lstrip("/")
            try:
                limit = (directory / version.limit).read_text("ascii").strip()
                used = int((directory / version.usage).read_text("ascii"))
                stat = dict(each.split() for each in (directory / "memory.stat").read_text("ascii").splitlines())
            except OSError:
                continue
            if limit != "max":
                yield int(limit) - (used - int(stat.get(version.cache, 0)))
