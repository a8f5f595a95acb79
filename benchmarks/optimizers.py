"""What one update costs: each optimizer of Regard's, and Keras's own of the name, on the weights of one model.

    python benchmarks/optimizers.py [--preset small] [--vocab-size 8000] [--rounds 7] [--steps 3] [--output FILE.json]

The sides take turns in one process, a few updates a turn; the first turn of each, which traces its graph, is not
counted. Reported: the median of a round's milliseconds an update, and the median over the rounds of the ratio to
Keras's AdamW in the same round. On a shared machine only the ratios are results.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from regard.config import OptimizerConfig
from regard.models.catalog import spec
from regard.models.forms import build_model
from regard.training.muon import kernel_parts
from regard.training.optimizer import build_optimizer

BASELINE = "keras adamw"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    ids = {"pad_id": arguments.vocab_size - 1, "eos_id": 0}
    model = build_model(spec(arguments.preset, vocab_size=arguments.vocab_size, **ids))
    size = sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)
    rng = np.random.default_rng(0)
    slopes = [tf.constant(rng.standard_normal(weight.shape, np.float32)) for weight in model.trainable_variables]
    turns = {name: turn(optimizer, model, slopes) for name, optimizer in sides(model).items()}
    rounds = [{name: measure(each, arguments.steps) for name, each in turns.items()} for _ in range(arguments.rounds)]
    rows = {
        name: {
            "milliseconds": round(1e3 * statistics.median(each[name] for each in rounds), 1),
            "ratio": round(statistics.median(each[name] / each[BASELINE] for each in rounds), 3),
        }
        for name in turns
    }
    print(f"{size / 1e6:.1f} M weights in {len(model.trainable_variables)} variables, {arguments.rounds} rounds")
    for name, row in rows.items():
        print(f"{name:24} {row['milliseconds']:8.1f} ms  {row['ratio']:6.3f} of {BASELINE}")
    if arguments.output is not None:
        arguments.output.write_text(json.dumps({"weights": size, **rows}, indent=1) + "\n", "utf-8")


def sides(model: Any) -> dict[str, Any]:
    weights, decay, kernels = model.trainable_variables, 0.01, kernel_parts(model)
    small = [weight for weight in weights if len(weight.shape) < 2]

    def ours(name: str, weight_decay: float = decay, **options: Any) -> Any:
        config = OptimizerConfig.model_validate({"name": name, "weight_decay": weight_decay})
        return build_optimizer(config, weights, kernels=kernels, **options)

    keras_sides = {
        BASELINE: keras.optimizers.AdamW(0.0, weight_decay=decay),
        "keras adafactor": keras.optimizers.Adafactor(0.0, weight_decay=decay),
        "keras lion": keras.optimizers.Lion(0.0, weight_decay=decay),
        "keras muon": keras.optimizers.Muon(0.0, weight_decay=decay),
    }
    for optimizer in keras_sides.values():
        optimizer.exclude_from_weight_decay(var_list=small)
        optimizer.build(weights)
    return {
        **keras_sides,
        "adam": ours("adam", 0.0),
        "adamw": ours("adamw"),
        "adamw, ema": ours("adamw", ema=0.999),
        "adafactor": ours("adafactor"),
        "lion": ours("lion"),
        "muon": ours("muon"),
        "muon, bfloat16 products": ours("muon", products="bfloat16"),
        "sgd": ours("sgd"),
    }


def turn(optimizer: Any, model: Any, slopes: list[tf.Tensor]) -> Callable[[], None]:
    """One update inside a graph, with gradients that are there already."""
    weights = model.trainable_variables

    @tf.function(autograph=False)
    def update(gradients: list[tf.Tensor]) -> None:
        optimizer.learning_rate.assign(1e-6)
        optimizer.apply(gradients, weights)

    update(slopes)
    return lambda: update(slopes)


def measure(update: Callable[[], None], steps: int) -> float:
    """Seconds an update."""
    began = time.perf_counter()
    for _ in range(steps):
        update()
    return (time.perf_counter() - began) / steps


if __name__ == "__main__":
    main()
