"""What recomputing layers in the backward pass saves and costs: peak memory and time of a step, kept or recomputed.

    python benchmarks/remat.py [--preset base] [--rows 32] [--length 64] [--steps 4] [--rounds 3]

Each side is a process of its own, in turns; its peak is VmHWM, less what the process held before the first step
(weights, optimizer, TensorFlow). Prints a table and writes benchmarks/results/remat.json. On a shared machine the times
are ratios.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "remat.json"
SIDES = ("kept", "recomputed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="base")
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="mixed_bfloat16")
    parser.add_argument("--side", choices=SIDES, help="measure this side alone, and print JSON")
    arguments = parser.parse_args()
    if arguments.side is not None:
        print(json.dumps(measure(arguments)))
        return
    rounds = [{side: in_a_process(side) for side in SIDES} for _ in range(arguments.rounds)]
    keys, (kept, recomputed) = ("step_mb", "peak_mb", "seconds"), SIDES
    rows = {side: {key: statistics.median(each[side][key] for each in rounds) for key in keys} for side in SIDES}
    ratio = {key: statistics.median(each[recomputed][key] / each[kept][key] for each in rounds) for key in keys}
    print("| layers | memory of a step | process at its peak | step |")
    print("|---|---|---|---|")
    for side, row in rows.items():
        print(f"| {side} | {row['step_mb']:,.0f} MB | {row['peak_mb']:,.0f} MB | {row['seconds']:.2f} s |")
    print(f"| ratio | {ratio['step_mb']:.2f} | {ratio['peak_mb']:.2f} | {ratio['seconds']:.2f} |")
    RESULTS.parent.mkdir(exist_ok=True)
    settings = {key: value for key, value in vars(arguments).items() if key != "side"}
    RESULTS.write_text(json.dumps({"settings": settings, "sides": rows, "ratio": ratio}, indent=1) + "\n", "utf-8")


def in_a_process(side: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, *sys.argv, "--side", side], check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    import keras
    import numpy as np

    from regard.config import TrainingConfig
    from regard.models.catalog import spec
    from regard.models.forms import build_model
    from regard.training.optimizer import model_optimizer
    from regard.training.rematerialisation import recompute_layers
    from regard.training.step import TrainStep

    keras.utils.set_random_seed(0)
    vocabulary = {"vocab_size": arguments.vocab_size, "pad_id": arguments.vocab_size - 1, "eos_id": 0}
    model = build_model(spec(arguments.preset, **vocabulary), arguments.dtype)
    if arguments.side == "recomputed":
        recompute_layers(model)
    optimizer = model_optimizer(TrainingConfig(steps=1), model)
    keys = ("input_ids", "attention_mask", "labels")
    step = TrainStep(model, optimizer, keys=keys, label_smoothing=0.1, clip_norm=1.0)
    ids = np.random.default_rng(0).integers(1, 100, (arguments.rows, arguments.length)).astype(np.int32)
    batch: dict[str, Any] = {"input_ids": ids, "attention_mask": np.ones_like(ids), "labels": ids}
    step([{key: rows[:1, :2] for key, rows in batch.items()}], 1e-4)  # builds the graph
    before, seconds = status("VmRSS"), []
    for _ in range(arguments.steps):
        began = time.perf_counter()
        int(step([batch], 1e-4))
        seconds.append(time.perf_counter() - began)
    peak = status("VmHWM")
    return {"step_mb": peak - before, "peak_mb": peak, "seconds": statistics.median(seconds[1:])}


def status(name: str) -> float:
    """A line of /proc/self/status, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text("ascii").splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1e3


if __name__ == "__main__":
    main()
