"""Real processes, killed with SIGKILL at random moments by benchmarks/kill.py, which is held to its word here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

KILL = Path(__file__).resolve().parents[2] / "benchmarks" / "kill.py"


@pytest.mark.full  # a minute; make test kills two runs in test_objectives.py
def test_runs_that_were_killed_at_random_moments_end_with_the_same_bits(tmp_path: Path) -> None:
    short = ["--kills", "3", "--steps", "15", "--seed", "3"]  # a seed that lets one run suffer all three
    command = [sys.executable, str(KILL), *short, "--results", str(tmp_path / "kill.json")]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    found = json.loads((tmp_path / "kill.json").read_text("utf-8"))
    assert (found["kills"], found["resumed"], found["equal"], found["twins_equal"]) == (3, 3, 3, True)
    assert sum(found["where"].values()) == 3
