"""Steps on two logical CPUs beside the same steps on one, for test_cluster.py: a process has its devices for good.

    python tests/training/two_replicas.py [--all] -> one JSON object on stdout
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parent))

from conftest import VOCAB, Toy
from regard.config import OptimizerConfig
from regard.training.cluster import ALONE, Cluster, join_cluster
from regard.training.optimizer import build_optimizer
from regard.training.step import TrainStep

CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)

KEYS = ("input_ids", "attention_mask", "labels")
CLUSTER = join_cluster({})
SETTINGS = {"clip_norm": 0.05, "label_smoothing": 0.1, "spike_deviations": 6.0}


def batch(rows: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, VOCAB, (rows, 5)).astype(np.int32)
    labels[rng.random((rows, 5)) < 0.4] = -100  # so that the replicas' counts differ
    labels[0, 0] = 1
    ids = rng.integers(0, VOCAB - 1, (rows, 5)).astype(np.int32)
    return {"input_ids": ids, "attention_mask": np.ones((rows, 5), np.int32), "labels": labels}


def step_of(cluster: Cluster, name: str, dropout: float = 0.0, dtype: str = "float32", **settings: Any) -> TrainStep:
    with cluster.scope():
        model = Toy(dropout, 0, dtype)
        kernels = {model.kernel.path: (6,)} if name == "muon" else None
        optimizer = build_optimizer(OptimizerConfig(name=name), model.trainable_variables, ema=0.9, kernels=kernels)
        step = TrainStep(model, optimizer, keys=KEYS, cluster=cluster, **{**SETTINGS, **settings})
    cluster.own_noise(model)
    return step


def arrays(step: TrainStep) -> list[np.ndarray]:
    variables = (*step.model.trainable_variables, *step.optimizer.averages)
    return [np.asarray(each.numpy(), np.float64) for each in variables]


def copies_are_equal(step: TrainStep) -> bool:
    variables = [*step.model.trainable_variables, *step.optimizer.variables, *step.variables.values()]
    for variable in variables:
        one, other = CLUSTER.strategy.experimental_local_results(getattr(variable, "_value", variable))
        if not np.array_equal(one.numpy(), other.numpy()):
            return False
    return True


def compared(name: str, accumulation: int, dtype: str) -> dict[str, Any]:
    """Four steps of batches with an odd number of rows, and with one row, of which a replica has none."""
    one, two = (step_of(each, name, dtype=dtype, accumulation=accumulation) for each in (ALONE, CLUSTER))
    losses = []
    for number in range(4):
        parts = [batch((5, 1, 4)[(number + part) % 3], 10 * number + part) for part in range(accumulation)]
        assert int(one(parts, 0.01)) == int(two(parts, 0.01)) == 1
        losses.append([one.read(), two.read()])
    weights = max(float(np.abs(a - b).max()) for a, b in zip(arrays(one), arrays(two), strict=True))
    statistics = max(float(np.abs(np.subtract(a, b)).max()) for a, b in losses)
    return {"weights": weights, "statistics": statistics, "copies_equal": copies_are_equal(two)}


def poisoned() -> dict[str, Any]:
    """The second replica alone meets a weight that is not a number."""
    step = step_of(CLUSTER, "adam")
    table = step.model.table.numpy()
    table[VOCAB - 1] = np.nan
    step.model.table.assign(table)
    rows = batch(4, 0)
    rows["input_ids"][3, 2] = VOCAB - 1
    rows["labels"][3, 2] = 1
    before = [np.array(each) for each in arrays(step)]
    outcome = int(step([rows], 0.1))
    same = all(np.array_equal(a, b, equal_nan=True) for a, b in zip(arrays(step), before, strict=True))
    return {"outcome": outcome, "untouched": same}


def noise() -> dict[str, Any]:
    step = step_of(CLUSTER, "adam", dropout=0.5)
    for number in range(2):
        step([batch(4, number)], 0.01)
    (seed,) = [each for each in step.model.non_trainable_variables if "seed" in each.path]
    one, other = CLUSTER.strategy.experimental_local_results(seed.value)
    return {"seeds": [int(one[0]), int(other[0])], "drawn": [int(one[1]), int(other[1])]}


def main() -> None:
    cases = [("adam", 1, "float32"), ("muon", 2, "float32"), ("adam", 1, "mixed_bfloat16")]
    if "--all" in sys.argv:
        cases += [(name, 1, "float32") for name in ("adamw", "adafactor", "lion", "muon", "sgd")]
    found = {" ".join(map(str, case)): compared(*case) for case in cases}
    about = {"replicas": CLUSTER.replicas, "kind": type(CLUSTER.strategy).__name__}
    print(json.dumps({"cases": found, "poisoned": poisoned(), "noise": noise(), **about}))


if __name__ == "__main__":
    main()
