import subprocess
import sys
from pathlib import Path

import pytest

from regard.errors import ConfigError, RegardError
from regard.training.lock import locked


def test_a_directory_is_for_one_at_a_time_and_free_again_afterwards(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "run"),
        pytest.raises(RegardError, match=f"another process prepares or trains in {tmp_path}/run: "),
        locked(tmp_path / "run"),
    ):
        pass
    with locked(tmp_path / "run"), locked(tmp_path / "other"):
        pass


def test_a_killed_process_holds_no_lock(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from regard.training.lock import locked\n"
        "with locked(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path]).returncode == -9
    with locked(tmp_path):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigError, match=r"cannot write to the run directory .*/file/run: Not a directory"),
        locked(tmp_path / "file" / "run"),
    ):
        pass
