"""How long a user waits for the first step: from `regard train` until the log has its line, data prepared before.

    python benchmarks/first_step.py RUN [--presets small base] [--rounds 3]

RUN is a run directory whose data are prepared; its run file is trained for a step in a new directory, with each preset
in turn, dtype and all else as it says. Beside it stands how long `python -c "import regard..."` takes, which imports
TensorFlow, Keras and what training needs. Prints medians and writes benchmarks/results/first_step.json.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from regard.training.state import versions

RESULTS = Path(__file__).parent / "results" / "first_step.json"
TRAIN = "import sys; from regard.cli import main; sys.exit(main(sys.argv[1:]))"
IMPORT = "import regard.training.trainer"
ONE_STEP = {"steps": 1, "log_every": 1}


def seconds_of(*arguments: str, until: Path | None = None) -> float:
    """Of a command, to its end or until a file says that a step is done. Raises SystemExit where it fails."""
    began = time.monotonic()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a checkout starts as an installed package does, compiled
    process = subprocess.Popen([sys.executable, "-c", *arguments], stderr=subprocess.PIPE, env=environment, text=True)
    while process.poll() is None:
        if until is not None and until.exists() and '"kind": "train"' in until.read_text("utf-8"):
            break
        time.sleep(0.01)
    seconds = time.monotonic() - began
    said = process.communicate()[1]
    if process.returncode:
        raise SystemExit(f"it ended with code {process.returncode}:\n{said[-3000:]}")
    return seconds


def first_step(run: Path, preset: str) -> float:
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place) / "run"
        shutil.copytree(run / "data", directory / "data")
        settings = {"model.preset": preset} | {f"training.{key}": value for key, value in ONE_STEP.items()}
        changed = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        command = ("train", str(run / "run.toml"), "-o", str(directory), *changed)
        return seconds_of(TRAIN, *command, until=directory / "metrics.jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run directory whose data are prepared")
    parser.add_argument("--presets", nargs="+", default=["small", "base"])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    found: dict[str, Any] = {preset: [] for preset in ("imports", *arguments.presets)}
    for _ in range(arguments.rounds):
        found["imports"].append(seconds_of(IMPORT))
        for preset in arguments.presets:
            found[preset].append(first_step(arguments.run, preset))
    for name, seconds in found.items():
        print(f"{name:12} {statistics.median(seconds):5.1f} s  ({', '.join(f'{each:.1f}' for each in seconds)})")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"seconds": found, "versions": versions()}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
