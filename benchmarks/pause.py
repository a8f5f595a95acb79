"""How long training waits for a checkpoint: the step that a save falls on, beside the steps without one.

    python benchmarks/pause.py [--presets tiny small] [--steps 24]

Times whole steps of a preset on batches of random ids; every sixth is followed by a save, which is part of its time, as
in training, and which is to take no longer than a step. Beside it stand the time that the whole writing takes, for
which training would wait if it were not done in a thread, and the steps during which a checkpoint is written, for the
thread takes its share of the processor. Prints a table and writes benchmarks/results/pause.json.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from regard.config import OptimizerConfig, parse_run
from regard.models.catalog import spec
from regard.models.forms import build_model
from regard.training.checkpoint import CheckpointStore
from regard.training.optimizer import build_optimizer
from regard.training.precision import resolve_dtype
from regard.training.saving import Saver
from regard.training.state import RunState
from regard.training.step import TrainStep

RESULTS = Path(__file__).parent / "results" / "pause.json"
VOCABULARY, LENGTH, EVERY, WARM_UP = 8000, 32, 6, 3
KEYS = ("input_ids", "attention_mask", "labels")


class Prepared:
    """Prepared data, as far as a checkpoint is concerned."""

    content_hash = tokenizer_hash = ""

    def save(self, directory: Path) -> None:
        """It has nothing that stands beside the weights."""


def batch_of(rows: int) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(0).integers(2, VOCABULARY - 1, (rows, LENGTH)).astype(np.int32)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "labels": ids}


def measure(preset: str, batch_tokens: int, steps: int, dtype: str) -> dict[str, Any]:
    model = build_model(spec(preset, vocab_size=VOCABULARY, pad_id=VOCABULARY - 1, eos_id=0), dtype)
    step = TrainStep(model, build_optimizer(OptimizerConfig(), model.trainable_variables), keys=KEYS, clip_norm=1.0)
    run = parse_run({"data": {"train": [{"tsv": "none"}]}, "training": {"steps": steps, "keep_last": 1}})
    batch = batch_of(batch_tokens // LENGTH)
    times: dict[str, list[float]] = {"plain": [], "beside": [], "saving": [], "pause": []}
    with tempfile.TemporaryDirectory() as place:
        saver = Saver(CheckpointStore(Path(place)), run, Prepared(), dtype, step)
        with saver:
            for number in range(1, WARM_UP + steps + 1):
                writing = saver.writing
                began = time.perf_counter()
                int(step([batch], 1e-4))
                stepped = time.perf_counter()
                save = number > WARM_UP and number % EVERY == 0
                if save and saver.not_finite() is None:
                    saver.save(RunState(step=number, validated_step=number), print)
                ended = time.perf_counter()
                if save:
                    times["saving"].append(ended - began)
                    times["pause"].append(ended - stepped)
                elif number > WARM_UP:
                    times["beside" if writing else "plain"].append(ended - began)
            saver.wait(print)
            began = time.perf_counter()
            saver.save(RunState(step=steps + WARM_UP + 1, validated_step=1), print)
            saver.wait(print)
            whole = time.perf_counter() - began
        size = sum(file.stat().st_size for file in next(Path(place).glob("step-*")).iterdir())
    return {
        "preset": preset,
        "dtype": dtype,
        "checkpoint_mb": size / 1e6,
        "step_seconds": statistics.median(times["plain"]),
        "longest_step_seconds": max(times["plain"]),
        "step_beside_writing_seconds": statistics.median(times["beside"]) if times["beside"] else None,
        "pause_seconds": statistics.median(times["pause"]),
        "longest_pause_seconds": max(times["pause"]),
        "longest_step_with_save_seconds": max(times["saving"]),
        "whole_save_seconds": whole,
        "pause_in_steps": statistics.median(times["pause"]) / statistics.median(times["plain"]),
    }


def seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["tiny", "small"])
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--dtype", choices=["float32", "mixed_bfloat16", "auto"], default="auto")
    arguments = parser.parse_args()
    rows, dtype = [], resolve_dtype(arguments.dtype)
    columns = ["checkpoint", "step", "longest", "beside writing", "pause", "longest", "with its step", "whole save"]
    print(f"| preset | {' | '.join(columns)} | pause, in steps |")
    print("|---" * (2 + len(columns)) + "|")
    for preset in arguments.presets:
        row = measure(preset, arguments.batch_tokens, arguments.steps, dtype)
        rows.append(row)
        times = [seconds(value) for key, value in row.items() if key.endswith("_seconds")]
        ending = f"{' | '.join(times)} | {row['pause_in_steps']:.2f} |"
        print(f"| {preset} | {row['checkpoint_mb']:,.0f} MB | {ending}", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
