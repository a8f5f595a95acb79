"""The set-up: what the lock file holds, and how the Makefile finds a Python and says that there is none."""

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOCK = (ROOT / "requirements" / "lock.txt").read_text("utf-8")
PIN = re.compile(r"([a-z0-9][a-z0-9.-]*)==([^\s;]+)((?:\s*;[^\\]*)?(?:\s*\\\n\s+--hash=sha256:[0-9a-f]{64})+)\n")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def pinned() -> dict[str, str]:
    return {pin[1]: pin[2] for pin in PIN.finditer(LOCK)}


def normal(requirement: str) -> str:
    return re.split(r"[\s\[<>=;!~]", requirement)[0].lower().replace("_", "-")


def test_the_lock_is_pins_with_hashes_and_nothing_else():
    assert PIN.sub("", LOCK).strip() == ""
    assert len(pinned()) > 40


def test_the_lock_names_no_address():
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host| @ |/", LOCK)


def test_all_that_is_declared_for_a_cpu_and_for_development_is_pinned_and_the_build_backend_too():
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *extras["cpu"], *extras["dev"], *PROJECT["build-system"]["requires"]]
    assert {normal(requirement) for requirement in declared} <= pinned().keys()


def test_one_tensorflow_alone_is_pinned_and_no_torch():
    assert {name for name in pinned() if name.startswith(("tensorflow", "torch"))} == {"tensorflow-cpu"}


def command(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def clone(tmp_path):
    """A clone in which nothing is set up."""
    (tmp_path / "requirements").mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements/lock.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def make(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=clone,
        env={"PATH": f"{clone}:/usr/bin:/bin", "HOME": str(clone)},
        capture_output=True,
        text=True,
    )


def test_without_a_python_in_range_make_says_so_in_one_line(clone):
    command(clone / "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    finished = make(clone, "setup", "PYTHONS=python3.13 no-such-python")
    complaint, failed = finished.stderr.strip().splitlines()
    assert complaint.startswith("make: Regard needs Python 3.11, 3.12 or 3.13")
    assert 'none of "python3.13 no-such-python" is one' in complaint
    assert "make setup PYTHONS=/path/to/python3" in complaint
    assert "Error" in failed  # make's own closing line
    assert not (clone / ".venv").exists()


def test_a_shim_that_does_not_run_is_passed_over_for_the_next_python(clone):
    command(clone / "python3.13", "exit 127")
    command(clone / "python3.12", 'case "$1" in -c) exit 0;; esac; echo "$@" > called; exit 1')
    command(clone / "python3.11", "echo wrong > called; exit 0")
    assert make(clone, "setup", "PYTHONS=python3.13 python3.12 python3.11").returncode != 0
    assert (clone / "called").read_text() == "-m venv --clear .venv\n"


@pytest.mark.parametrize(("version", "fits"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)])
def test_only_a_python_in_range_is_taken(clone, version, fits):
    claim = f"import sys; sys.version_info = {(*version, 0)}; exec(sys.argv[1])"
    asked = f'[ "$1" = -c ] && exec "{sys.executable}" -c "{claim}" "$2"'
    command(clone / "python3", f'{asked}; echo "$@" > called; exit 1')
    assert make(clone, "setup", "PYTHONS=python3").returncode != 0
    assert (clone / "called").exists() == fits


def test_a_set_up_that_stands_is_not_touched_again(clone):
    (clone / ".venv").mkdir()
    (clone / ".venv" / ".ready").touch()
    finished = make(clone, "setup", "PYTHONS=false")
    assert (finished.returncode, finished.stderr) == (0, "")


def test_a_changed_lock_is_set_up_again(clone):
    (clone / ".venv").mkdir()
    (clone / ".venv" / ".ready").touch()
    later = time.time() + 10
    os.utime(clone / "requirements" / "lock.txt", (later, later))
    assert "none of" in make(clone, "setup", "PYTHONS=false").stderr


def test_the_continuous_integration_runs_make_test(clone):
    (clone / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", clone / ".ci" / "run")
    command(clone / "make", 'echo "$CI $PWD $@"')
    finished = subprocess.run(
        [str(clone / ".ci" / "run")], cwd="/", env={"PATH": f"{clone}:/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert finished.stdout == f"1 {clone} test\n"


def test_test_comes_last_and_ends_with_the_test_runner(clone):
    printed = make(clone, "--dry-run", "--old-file=.venv/.ready", "test").stdout.strip().splitlines()
    programs = [line.removeprefix(f'"{clone}/.venv/bin/').split()[:3] for line in printed]
    assert programs == [['ruff"', "check"], ['mypy"'], *[['python"', "-m", "pytest"]] * 2]
    assert "--dist loadfile" in printed[-1]
    alone = [word for word in printed[-2].split() if word.startswith("tests/")]
    assert alone
    assert [f"--ignore={file}" for file in alone] == [word for word in printed[-1].split() if "--ignore" in word]


def test_a_checkout_that_was_moved_is_set_up_again_from_nothing(clone):
    python = 'case "$1" in -c) exit 0;; esac; echo "$@" > called; exit 1'
    (clone / ".venv" / "bin").mkdir(parents=True)
    command(clone / ".venv" / "bin" / "python", "exit 0")
    command(clone / "python3", python)
    for place, set_up in ((clone, False), (clone / "elsewhere", True)):
        (clone / ".venv" / ".ready").write_text(f"{place}\n")
        make(clone, "setup", "PYTHONS=python3")
        assert (clone / "called").exists() == set_up
    assert (clone / "called").read_text() == "-m venv --clear .venv\n"
