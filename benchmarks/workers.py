"""Trains one small run on one device and by several processes of this machine, and compares their logs.

    python benchmarks/workers.py [--workers 2] [--steps 50] [--launcher local] [--dtypes float32 mixed_bfloat16]

The run is that of kill.py, mixture, accumulation and average included, but without dropout, whose noise each replica
draws for itself, without an early end, and at a rate at which the order of additions does not grow into other weights.
Every training line and every validation is compared: the losses, and the norms of the gradients before clipping.
Prints the largest differences and writes benchmarks/results/workers.json, or workers-ray.json with --launcher ray; ends
with code 1 where a loss differs by 1e-5 or more, in bfloat16, whose products have three decimal places, by 1e-2.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from kill import small_run, write_corpus

from regard.config import RunConfig, to_toml
from regard.training.state import versions

RESULTS = {
    "local": Path(__file__).parent / "results" / "workers.json",
    "ray": Path(__file__).parent / "results" / "workers-ray.json",
}
REGARD = "import sys; from regard.cli import main; sys.exit(main(sys.argv[1:]))"
BOUNDS = {"float32": 1e-5, "mixed_bfloat16": 1e-2}  # nats
LOSSES = ("training_loss", "validation_loss")


def the_run(corpus: Path, steps: int, dtype: str) -> RunConfig:
    run = small_run(corpus, steps)
    model = run.model.model_copy(update={"dropout": 0.0})
    schedule = run.training.schedule.model_copy(update={"peak": 2e-3})
    training = run.training.model_copy(update={"log_every": 1, "patience": None, "schedule": schedule, "dtype": dtype})
    return run.model_copy(update={"model": model, "training": training})


Log = dict[tuple[str, int], dict[str, Any]]  # (kind, step) -> the record


def trained(run_file: Path, directory: Path, *more: str) -> Log:
    command = [sys.executable, "-c", REGARD, "train", str(run_file), "-o", str(directory), *more]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"training ended with code {done.returncode}:\n{done.stderr}")
    lines = map(json.loads, (directory / "metrics.jsonl").read_text("utf-8").splitlines())
    return {(line["kind"], line["step"]): line for line in lines}


def differences(one: Log, other: Log) -> dict[str, float]:
    """The largest of each figure, over all records of its kind. Raises SystemExit where a log has others."""
    if one.keys() != other.keys():
        odd = sorted(one.keys() ^ other.keys())
        raise SystemExit(f"the logs have other lines, first of all {odd[0][0]} of step {odd[0][1]}")

    def largest(kind: str, name: str) -> float:
        each = [abs(record[name] - other[key][name]) for key, record in one.items() if key[0] == kind]
        return float(np.max(each))  # NaN where one is

    return {
        "training_loss": largest("train", "loss"),
        "gradient_norm": largest("train", "gradient_norm"),
        "validation_loss": largest("validation", "loss"),
    }


def refuse_other_losses(found: dict[str, float], dtype: str) -> None:
    """Raise SystemExit, whose code is 1, where a loss differs by the bound of its dtype or more."""
    bound = BOUNDS[dtype]
    for name in LOSSES:
        if not found[name] < bound:  # NaN too
            what = f"{name.replace('_', ' ')} in {dtype}"
            raise SystemExit(f"the {what} differs by {found[name]:.1e}; below {bound:.0e} is what additions explain")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--launcher", choices=RESULTS, default="local")
    parser.add_argument("--dtypes", nargs="+", choices=BOUNDS, default=list(BOUNDS))
    parser.add_argument("--results", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    found = {dtype: compared(dtype, arguments) for dtype in arguments.dtypes}
    about = {"arguments": {**vars(arguments), "results": None}, "found": found, "versions": versions()}
    results: Path = arguments.results or RESULTS[arguments.launcher]
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    for dtype, each in found.items():
        refuse_other_losses(each["largest"], dtype)


def compared(dtype: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One process against several in this dtype."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        write_corpus(directory)
        run_file = directory / "run.toml"
        run_file.write_text(to_toml(the_run(directory, arguments.steps, dtype)), "utf-8")
        many = ("--workers", str(arguments.workers), "--launcher", arguments.launcher)
        one, other = trained(run_file, directory / "one"), trained(run_file, directory / "many", *many)
    largest = differences(one, other)
    print(f"{arguments.steps} steps in {dtype}, one process against {arguments.workers}: the largest differences")
    for name, difference in largest.items():
        print(f"  {name.replace('_', ' '):16} {difference:.1e}", flush=True)
    return {"lines": Counter(kind for kind, _ in one), "largest": largest, "bound": BOUNDS[dtype]}


if __name__ == "__main__":
    main()
