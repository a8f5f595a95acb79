"""Which learning rate a run bears: a short training at rates that rise, seen by its loss (Smith 2017, section 3.3)."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console

from regard.batch import Batch
from regard.config import RunConfig
from regard.data.batching import Position
from regard.errors import ConfigError
from regard.training.assembly import batches_of, past_curriculum, rehearsal
from regard.training.step import APPLIED, NO_LABELS, TrainStep

_SMOOTHING = 0.9  # of the losses, of which each batch has another
REACH = 10  # steps that a smoothed loss looks back on, about: 1 / (1 - 0.9)
_DIVERGED = 2.0  # times the lowest smoothed loss
_FEWEST_STEPS = 10


class Trial(NamedTuple):
    """One step of the search."""

    rate: float
    loss: float  # of the step's batches, before its update, in nats
    smoothed: float  # mean over the steps so far, weighted towards the last ones


class Finding(NamedTuple):
    """What a search came to."""

    trials: tuple[Trial, ...]
    suggested: float | None  # where the smoothed loss falls fastest; None where it never fell
    ended: str  # why the search ended
    factor: float  # up to which the suggestion may be off: see `blur`


def find_rate(
    run: RunConfig, directory: Path, *, low: float = 1e-7, high: float = 1.0, steps: int = 100, console: Console
) -> Finding:
    """Train the run's fresh network for some steps, at rates from `low` to `high`, and forget it.

    The data are prepared under the run directory if that is not done, as `regard prepare` does; nothing else in it is
    written or read, and a training there goes on as if this had not been. Raises ConfigError for bounds that are no
    range.
    """
    rates = rising(low, high, steps)
    training = run.training.model_copy(update={"spike_deviations": None, "ema": None})
    run = past_curriculum(run).model_copy(update={"training": training})
    prepared, objective, step = rehearsal(run, directory, console)
    batches = batches_of(run, prepared, objective, step.model, "train", shuffle=True)
    return search(step, batches.iterate(Position()), rates, run.training.accumulation)


def rising(low: float, high: float, steps: int) -> list[float]:
    """Rates from low to high, each the same number of times the one before."""
    if not 0 < low < high or not math.isfinite(high):
        raise ConfigError(f"the rates must rise from above 0, but go from {low:g} to {high:g}")
    if steps < _FEWEST_STEPS:
        raise ConfigError(f"the steps of a search must be at least {_FEWEST_STEPS}, but are {steps}")
    return [low * (high / low) ** (number / (steps - 1)) for number in range(steps)]


def blur(low: float, high: float, steps: int) -> float:
    """How many times the rate rises over the steps that a smoothed loss looks back on: what it shows of one rate is
    mixed with all between, so a search finds a rate no better than to this factor."""
    return (high / low) ** (min(REACH, steps - 1) / (steps - 1))


def enough_steps(low: float, high: float) -> int:
    """The fewest by which a rate is found to its order of magnitude."""
    return max(_FEWEST_STEPS, math.ceil(REACH * math.log10(high / low) - 1e-9) + 1)


def search(step: TrainStep, feed: Iterator[tuple[Batch, Position]], rates: list[float], accumulation: int) -> Finding:
    """One step at each rate, until the loss is not finite or twice its lowest."""
    trials: list[Trial] = []

    def finding(ended: str) -> Finding:
        return Finding(tuple(trials), suggest(trials), ended, blur(rates[0], rates[-1], len(rates)))

    for rate in rates:
        outcome = step([next(feed)[0] for _ in range(accumulation)], rate)
        loss = step.read().loss
        if int(outcome) == NO_LABELS:
            continue
        if int(outcome) != APPLIED or loss is None:
            return finding(f"at {rate:.2e} the loss or its gradient was not finite")
        trials.append(Trial(rate, loss, smoothed([*(trial.loss for trial in trials), loss])))
        lowest = min(trial.smoothed for trial in trials)
        if trials[-1].smoothed > _DIVERGED * lowest:
            return finding(f"at {rate:.2e} the loss was {_DIVERGED:g} times its lowest")
    return finding("all rates are tried")


def smoothed(losses: list[float]) -> float:
    """The mean of the losses, each of which counts 0.9 times the one after it."""
    weights = _SMOOTHING ** np.arange(len(losses) - 1, -1, -1)
    return float(np.dot(weights, losses) / weights.sum())


def suggest(trials: list[Trial]) -> float | None:
    """The rate at which the smoothed loss falls fastest by the logarithm of the rate, before its lowest point."""
    falling = trials[: int(np.argmin([trial.smoothed for trial in trials])) + 1] if trials else []
    if len(falling) < 3:
        return None
    slopes = np.gradient([trial.smoothed for trial in falling], np.log([trial.rate for trial in falling]))
    return falling[int(np.argmin(slopes))].rate
