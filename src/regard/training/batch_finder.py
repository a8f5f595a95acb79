"""How large a batch the memory bears: single steps at sizes that double, each seen by the most memory it took."""

import gc
import os
import resource
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from rich.console import Console

from regard.batch import Batch
from regard.config import RunConfig, load_run
from regard.config.tasks import batch_key
from regard.config.tf_config import worker_of
from regard.data.batching import Batches, Position
from regard.errors import ConfigError
from regard.training.assembly import batches_of, past_curriculum, rehearsal
from regard.training.free_memory import free_memory
from regard.training.step import TrainStep

_SEEN = 32  # batches among which the fullest is looked for


class Sizes(NamedTuple):
    """What is tried where nothing else is asked for."""

    first: int  # the smallest
    largest: int
    step: int  # what is suggested is a multiple of it


_ROWS = Sizes(8, 1_024, 8)
SIZES = {"batch_tokens": Sizes(512, 65_536, 64), "batch_images": _ROWS, "batch_recordings": _ROWS}


class Trial(NamedTuple):
    """One step at one size."""

    size: int  # batch_tokens, batch_images or batch_recordings
    peak: int  # bytes that the process had held at most after it
    seconds: float  # of the step, its graph built before
    per_second: float  # tokens and padding; images, or recordings
    whole: bool = False  # the batch held all of the data: a larger size makes no larger one


class Finding(NamedTuple):
    """What a search came to."""

    key: str  # as `batch_key` names it
    trials: tuple[Trial, ...]
    suggested: int | None  # None where not even the smallest fits
    memory: int  # bytes: the bound
    ended: str  # why the search ended


def find_batch(
    run: RunConfig, directory: Path, *, memory: int | None = None, largest: int | None = None, console: Console
) -> Finding:
    """Take one step of the run's fresh network at each size, on the fullest of its first batches, and forget it.

    memory: bytes that the process may hold; absent: 0.8 of what is free, and what it holds already. largest: the size
    not to go beyond; absent: 65,536 tokens, 1,024 images or recordings. The data are prepared under the run directory
    if that is not done; nothing else in it is written or read. Raises ConfigError on a GPU, whose memory is not the
    process's.
    """
    if tf.config.list_physical_devices("GPU"):
        raise ConfigError("the batch is found by the memory of a CPU's process, but this machine has a GPU: set it")
    key = batch_key(run.task)
    memory = free_memory() if memory is None else memory
    run = past_curriculum(run)
    prepared, objective, step = rehearsal(run, directory, console)

    def trial(size: int) -> Trial:
        batches = batches_of(_sized(run, key, size), prepared, objective, step.model, "train", shuffle=True)
        return tried(step, batches, key, size, run.training.accumulation)

    return search(trial, key, memory, SIZES[key].largest if largest is None else largest)


def tried(step: TrainStep, batches: Batches, key: str, size: int, accumulation: int) -> Trial:
    """Two steps on the fullest batch: the first builds what its shape needs."""
    batch, places = _fullest(batches)
    for _ in range(2):
        began = time.monotonic()
        step([batch] * accumulation, 0.0)
        step.read()  # waits for it
    seconds = time.monotonic() - began
    many = places if key == "batch_tokens" else len(batch["labels"])
    return Trial(size, peak_memory(), seconds, accumulation * many / seconds, batches.epoch_length(0) == 1)


def _fullest(batches: Batches) -> tuple[Batch, int]:
    feed = islice(batches.iterate(Position()), min(_SEEN, batches.epoch_length(0)))
    found = [(batch, batches.tally(batch).places) for batch, _ in feed]
    return max(found, key=lambda pair: (np.size(pair[0].get("input_features", ())), pair[1]))


def peak_memory() -> int:
    """Bytes that this process has held at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def search(trial: Callable[[int], Trial], key: str, memory: int, largest: int) -> Finding:
    """Sizes that double, until the next would not fit."""
    trials: list[Trial] = []
    size, ended = min(SIZES[key].first, largest), None
    while ended is None:
        trials.append(trial(size))
        if trials[-1].peak > memory:
            ended = f"{size:,} did not fit"
        elif trials[-1].whole:
            ended = f"one batch of {size:,} holds all of the training data"
        elif expected(trials, 2 * size) > memory:
            ended = f"{2 * size:,} would not fit"
        elif 2 * size > largest:
            ended = f"sizes above {largest:,} were not to be tried"
        size *= 2
    return Finding(key, tuple(trials), suggest(trials, key, memory, largest), memory, ended)


def expected(trials: list[Trial], size: int) -> float:
    """The peak at `size`, on the line through the last two trials; of one alone, its own peak."""
    if len(trials) < 2:
        return trials[-1].peak if trials else 0
    (near, low, *_), (far, high, *_) = trials[-2:]
    return low + (high - low) * (size - near) / (far - near)


def suggest(trials: list[Trial], key: str, memory: int, largest: int) -> int | None:
    """The largest size within the memory, by the trials and the line through the last two, at most twice the last; the
    last itself where that is a batch of all there is."""
    fitting = [trial for trial in trials if trial.peak <= memory]
    if not fitting:
        return None
    last = fitting[-1].size
    if fitting[-1].whole:
        return last
    bound = trials[-1].size if trials[-1].peak > memory else min(2 * last, largest + 1)
    sizes = range(last, bound, SIZES[key].step)
    return max((size for size in sizes if expected(trials, size) <= memory), default=last)


def settled(run: RunConfig, directory: Path, console: Console) -> RunConfig:
    """The run with a size in place of "auto": the one that its directory was begun with, unless that was another run
    and no step of it is saved; else what is suggested now.

    Raises ConfigError where several workers would each find another one, and where not even the smallest fits.
    """
    key = batch_key(run.task)
    if getattr(run.training, key) != "auto":
        return run
    begun = directory / "run.toml"
    if begun.is_file():
        before = load_run(begun)
        again = _sized(run, key, getattr(before.training, key))
        if again == before or any((directory / "checkpoints").glob("step-*")):
            return again
    if worker_of(os.environ.get("TF_CONFIG") or "{}").workers > 1:
        raise ConfigError(
            f'training.{key} = "auto" is for one worker: find the size with `regard find-batch`, and set it'
        )
    memory = free_memory()
    console.print(f"training.{key}: looking for the largest that {memory / 1e9:.1f} GB hold")
    found = find_batch(_sized(run, key, SIZES[key].first), directory, memory=memory, console=console)
    gc.collect()  # its network is in a circle of references, and would stay beside the one that is trained
    if found.suggested is None:
        raise ConfigError(f"not even training.{key} = {found.trials[0].size} fits {memory / 1e9:.1f} GB of memory")
    console.print(f"training.{key} = {found.suggested}: {found.ended}")
    return _sized(run, key, found.suggested)


def _sized(run: RunConfig, key: str, size: int) -> RunConfig:
    return run.model_copy(update={"training": run.training.model_copy(update={key: size})})
