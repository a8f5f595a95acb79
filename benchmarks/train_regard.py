"""Regard as a side of benchmarks/train.py: the step that `regard train` takes."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from train_sizes import CLIP, RATE, SMOOTHING, Size, batch_of

import regard
from regard.config import OptimizerConfig
from regard.training.optimizer import build_optimizer
from regard.training.step import TrainStep
from regard.training.streams import share_cores, usual_streams

Step = Callable[[], float]  # one training step; its loss


def regard_side(dtype: str) -> Callable[[Path, Size], tuple[float, Step, dict[str, Any]]]:
    """The side gives its loss without dropout, its step, and its settings."""

    def load(directory: Path, size: Size) -> tuple[float, Step, dict[str, Any]]:
        streams = usual_streams()
        share_cores(streams)  # as `regard train` does
        policy = {"bfloat16": "mixed_bfloat16"}.get(dtype, dtype)
        model = regard.load_model(directory, dtype=policy)
        batch: dict[str, Any] = batch_of(size)
        exact = float(model(batch).loss)
        if model.spec.form == "decoder":  # as packing gives them
            places = np.broadcast_to(np.arange(size.length, dtype=np.int32), batch["labels"].shape).copy()
            batch |= {"segment_ids": np.ones_like(places), "position_ids": places}
        step = TrainStep(
            model,
            build_optimizer(OptimizerConfig(name="adamw", weight_decay=0.01), model.trainable_variables),
            keys=tuple(batch),
            label_smoothing=SMOOTHING,
            clip_norm=CLIP,
            streams=streams,
        )

        def one() -> float:
            step([batch], RATE).numpy()
            return step.read().loss or float("nan")

        threads = len(os.sched_getaffinity(0))
        settings = {"dtype": policy, "threads": threads, "streams": streams, "compiled": "tf.function"}
        return exact, one, settings

    return load
