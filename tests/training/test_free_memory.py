"""What a process may come to hold, in file systems that say it in each of the ways that Linux has."""

import os
from pathlib import Path

import pytest

from regard.errors import ConfigError
from regard.training.free_memory import SHARE, free_memory

GB = 10**9


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    own = {"proc/self/statm": "9 7 0 0 0 0 0\n", "proc/self/cgroup": groups}
    meminfo = {"proc/meminfo": f"MemTotal: 9 kB\nMemAvailable: {40 * GB // 1024} kB\n"}
    for name, text in (own | meminfo | files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def group(mount: str, limit: str, used: int, cache: int = 0) -> dict[str, str]:
    first = mount.startswith("sys/fs/cgroup/memory")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if first else ("memory.max", "memory.current")
    stat = f"anon 1\n{'total_' if first else ''}inactive_file {cache}\n"
    return {f"{mount}/{names[0]}": f"{limit}\n", f"{mount}/{names[1]}": f"{used}\n", f"{mount}/memory.stat": stat}


SECOND, FIRST = "sys/fs/cgroup", "sys/fs/cgroup/memory"
OWN = 7 * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize(
    ("groups", "files", "left"),
    [
        ("0::/\n", {}, 40),
        ("0::/\n", group(SECOND, "max", 3 * GB), 40),
        ("0::/\n", group(SECOND, str(8 * GB), 3 * GB), 5),
        ("0::/\n", group(SECOND, str(8 * GB), 3 * GB, cache=GB), 6),
        ("0::/a/b\n", group(f"{SECOND}/a", str(8 * GB), 3 * GB) | group(f"{SECOND}/a/b", "max", GB), 5),
        ("0::/a/b\n", group(f"{SECOND}/a", str(8 * GB), 3 * GB) | group(f"{SECOND}/a/b", str(2 * GB), GB), 1),
        ("0::/elsewhere\n", group(SECOND, str(8 * GB), 3 * GB), 5),
        ("5:cpu:/x\n4:memory:/a\n", group(f"{FIRST}/a", str(8 * GB), 3 * GB, cache=GB), 6),
        ("4:memory:/a\n", group(f"{FIRST}/a", str(2**63 - 4096), 3 * GB), 40),
        ("0::/\n", group(SECOND, str(GB), 3 * GB), 0),
    ],
)
def test_what_is_free_is_within_every_group_that_the_process_is_in(
    tmp_path: Path, groups: str, files: dict[str, str], left: int
) -> None:
    found = free_memory(machine(tmp_path, groups, files))
    assert found == pytest.approx(SHARE * left * GB + OWN, abs=2048)


def test_a_system_that_does_not_tell_is_refused_and_this_one_tells(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not say how much memory is free"):
        free_memory(tmp_path)
    assert free_memory() > 10**8
