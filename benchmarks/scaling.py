"""What a step takes on 1 to 1,024 workers, by a model whose every term is measured here or stated.

    python benchmarks/scaling.py [--preset tiny] [--vocab-size 8000] [--batch-tokens 4096] [--steps 10] \\
        [--gbits 1 10 100] [--latency-us 50] [--validation-seconds 0] [--validate-every 500]

Measured on this machine, one process: a step (forward, backward, update) and the update alone, both by medians; how
fast batches are made. Stated: the bandwidth and the latency of the network between two workers. The model:

    step(W) = max(compute + all-reduce + agreement, batches)
    all-reduce = 2 (W - 1) / W * bytes / bandwidth + 2 (W - 1) * latency      a ring, begun when the gradients are there
    agreement  = 2 (W - 1) * latency, every 0.2 s or every step that takes longer
    batches    = each worker makes the rows of all W workers, beside the step

Two tables: each worker keeps its rows, and the batch grows with the workers (weak); the batch stays, and its rows are
shared (strong: compute falls to update + rest / W). Prints them and writes benchmarks/results/scaling.json.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from regard.config import OptimizerConfig
from regard.data.batching import BucketedBatches, padded
from regard.models.catalog import spec as translator_spec
from regard.models.forms import build_model
from regard.training.optimizer import build_optimizer
from regard.training.state import versions
from regard.training.step import TrainStep

RESULTS = Path(__file__).parent / "results" / "scaling.json"
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
AGREE_EVERY = 0.2  # seconds: regard.training.cluster
LENGTH = 64  # tokens of each side
ROWS_OF_DATA = 20_000


class Measured(NamedTuple):
    """On one worker."""

    step: float  # seconds, update included
    update: float
    batch: float  # seconds to make a worker's own rows
    bytes: int  # of the gradients, float32
    parameters: int


class Network(NamedTuple):
    gbits: float
    latency: float  # seconds

    def all_reduce(self, size: int, workers: int) -> float:
        """Of a ring."""
        return 2 * (workers - 1) / workers * size * 8 / (self.gbits * 1e9) + self.agreement(workers)

    def agreement(self, workers: int) -> float:
        """A few bytes around the ring."""
        return 2 * (workers - 1) * self.latency


def step_seconds(measured: Measured, network: Network, workers: int, *, weak: bool) -> float:
    """The model of the module's docstring."""
    rest = (measured.step - measured.update) / (1 if weak else workers)
    compute = measured.update + rest
    busy = compute + network.all_reduce(measured.bytes, workers)
    busy += network.agreement(workers) * min(1.0, busy / AGREE_EVERY)
    return max(busy, measured.batch * (workers if weak else 1))


def efficiency(measured: Measured, network: Network, workers: int, *, weak: bool) -> float:
    """The speed of a worker among so many, over its speed alone."""
    ideal = measured.step if weak else measured.step / workers
    return ideal / step_seconds(measured, network, workers, weak=weak)


def median_seconds(act: Callable[[], Any], times: int) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def measure(arguments: argparse.Namespace) -> Measured:
    spec = translator_spec(arguments.preset, vocab_size=arguments.vocab_size, pad_id=0, eos_id=1)
    model = build_model(spec, arguments.dtype)
    optimizer = build_optimizer(OptimizerConfig(), model.trainable_variables)
    keys = ("input_ids", "attention_mask", "labels")
    step = TrainStep(model, optimizer, keys=keys, label_smoothing=0.1, clip_norm=1.0)
    batches = made_up_batches(arguments)
    feed = batches.epoch()
    one = next(feed)
    for _ in range(2):  # the first builds the graph
        int(step([one], 1e-4))
    whole = median_seconds(lambda: int(step([one], 1e-4)), arguments.steps)
    gradients = [np.zeros(weight.shape, np.float32) for weight in step.weights]
    apply = compiled_update(step, gradients)
    apply()
    update = median_seconds(apply, arguments.steps)
    making = median_seconds(lambda: next(feed), 20)
    parameters = sum(gradient.size for gradient in gradients)
    return Measured(whole, update, making, 4 * parameters, parameters)


def compiled_update(step: TrainStep, gradients: list[np.ndarray]) -> Callable[[], Any]:
    import tensorflow as tf

    tensors = [tf.constant(gradient) for gradient in gradients]
    graph = tf.function(lambda: step.optimizer.apply(tensors, step.weights))

    def update() -> None:
        graph()
        step.weights[0].numpy()

    return update


def made_up_batches(arguments: argparse.Namespace) -> BucketedBatches:
    """Batches of random rows, gathered and padded as those of a corpus are."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(LENGTH // 2, LENGTH + 1, (ROWS_OF_DATA, 2)).astype(np.int32)
    tokens = rng.integers(2, arguments.vocab_size, ROWS_OF_DATA * LENGTH).astype(np.int32)

    def arrange(planned: Any, epoch: int) -> dict[str, np.ndarray]:
        rows, sizes = planned
        sides = []
        for side, size in enumerate(sizes):
            ids = np.concatenate([tokens[row * LENGTH : row * LENGTH + lengths[row, side]] for row in rows])
            sides.append(padded(ids, lengths[rows, side], size, 0 if side == 0 else -100))
        (ids, real), (labels, _) = sides
        return {"input_ids": ids, "attention_mask": real.astype(np.int32), "labels": labels}

    return BucketedBatches(lengths, arrange, batch_tokens=arguments.batch_tokens, seed=0)


def table(measured: Measured, networks: list[Network], *, weak: bool) -> list[dict[str, Any]]:
    rows = []
    for workers in WORKERS:
        row: dict[str, Any] = {"workers": workers}
        for network in networks:
            seconds = step_seconds(measured, network, workers, weak=weak)
            share = efficiency(measured, network, workers, weak=weak)
            row[f"{network.gbits:g}"] = {"milliseconds": round(1e3 * seconds, 1), "efficiency": round(share, 3)}
        rows.append(row)
    return rows


def show(title: str, rows: list[dict[str, Any]], networks: list[Network]) -> None:
    print(f"\n{title}\nworkers" + "".join(f"  {network.gbits:>6g} Gbit/s: ms, share" for network in networks))
    for row in rows:
        cells = [row[f"{network.gbits:g}"] for network in networks]
        shown = [f"  {each['milliseconds']:>16,.1f} {each['efficiency']:6.1%}" for each in cells]
        print(f"{row['workers']:7}" + "".join(shown))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--gbits", type=float, nargs="+", default=[1.0, 10.0, 100.0])
    parser.add_argument("--latency-us", type=float, default=50.0)
    parser.add_argument("--validation-seconds", type=float, default=0.0, help="of the chief alone")
    parser.add_argument("--validate-every", type=int, default=500)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    measured = measure(arguments)
    networks = [Network(gbits, arguments.latency_us * 1e-6) for gbits in arguments.gbits]
    print(
        f"{arguments.preset}, {measured.parameters:,} parameters, {measured.bytes / 1e6:,.1f} MB all-reduced a step; "
        f"{arguments.batch_tokens} tokens a worker: step {1e3 * measured.step:,.0f} ms, update of it "
        f"{1e3 * measured.update:,.1f} ms, making a batch {1e3 * measured.batch:,.2f} ms"
    )
    tables = {"weak": table(measured, networks, weak=True), "strong": table(measured, networks, weak=False)}
    show("each worker keeps its rows, the batch grows", tables["weak"], networks)
    show("the batch stays, its rows are shared", tables["strong"], networks)
    if arguments.validation_seconds:
        training = arguments.validate_every * measured.step
        share = training / (training + arguments.validation_seconds)
        print(f"\nall but the chief wait while it validates: times {share:.1%}")
    about = {"arguments": {**vars(arguments), "results": None}, "measured": measured._asdict(), **tables}
    arguments.results.parent.mkdir(exist_ok=True)
    arguments.results.write_text(json.dumps({**about, "versions": versions()}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
