"""Trains one small run on one device and by several processes of this machine, and compares their logs.

    python benchmarks/workers.py [--workers 2] [--steps 50] [--launcher local]

The run is that of kill.py without dropout, whose noise each replica draws for itself. Every training line and every
validation is compared: the losses, and the norms of the gradients before clipping. Prints the largest differences and
writes benchmarks/results/workers.json; ends with code 1 where a loss differs by 1e-5 or more.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from kill import small_run, write_corpus

from regard.config import RunConfig, to_toml
from regard.training.state import versions

RESULTS = Path(__file__).parent / "results" / "workers.json"
REGARD = "import sys; from regard.cli import main; sys.exit(main(sys.argv[1:]))"
BOUND = 1e-5  # nats


def the_run(corpus: Path, steps: int) -> RunConfig:
    run = small_run(corpus, steps)
    model = run.model.model_copy(update={"dropout": 0.0})
    return run.model_copy(update={"model": model, "training": run.training.model_copy(update={"log_every": 1})})


def trained(run_file: Path, directory: Path, *more: str) -> dict[tuple[str, int], dict[str, Any]]:
    """(kind, step) -> the record of the log."""
    command = [sys.executable, "-c", REGARD, "train", str(run_file), "-o", str(directory), *more]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"training ended with code {done.returncode}:\n{done.stderr}")
    lines = map(json.loads, (directory / "metrics.jsonl").read_text("utf-8").splitlines())
    return {(line["kind"], line["step"]): line for line in lines}


def largest(one: dict[Any, Any], other: dict[Any, Any], kind: str, name: str) -> float:
    """The largest difference of one figure over all records of a kind."""
    return max(abs(record[name] - other[key][name]) for key, record in one.items() if key[0] == kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--launcher", choices=("local", "ray"), default="local")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        write_corpus(directory)
        run_file = directory / "run.toml"
        run_file.write_text(to_toml(the_run(directory, arguments.steps)), "utf-8")
        many = ("--workers", str(arguments.workers), "--launcher", arguments.launcher)
        one, other = trained(run_file, directory / "one"), trained(run_file, directory / "many", *many)
    assert one.keys() == other.keys()
    found = {
        "training_loss": largest(one, other, "train", "loss"),
        "gradient_norm": largest(one, other, "train", "gradient_norm"),
        "validation_loss": largest(one, other, "validation", "loss"),
    }
    print(f"{arguments.steps} steps, one process against {arguments.workers}: the largest differences")
    for name, difference in found.items():
        print(f"  {name.replace('_', ' '):16} {difference:.1e}")
    about = {"arguments": {**vars(arguments), "results": None}, "largest": found, "versions": versions()}
    arguments.results.parent.mkdir(exist_ok=True)
    arguments.results.write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    if max(found["training_loss"], found["validation_loss"]) >= BOUND:
        raise SystemExit("a loss differs by more than additions in another order make")


if __name__ == "__main__":
    main()
