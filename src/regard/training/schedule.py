"""The learning rate by step: pure functions of the step's number, which begins at 1."""

import math
from collections.abc import Callable

from regard.config import ScheduleConfig

Shape = Callable[[int, ScheduleConfig, int], float]


def learning_rate(step: int, schedule: ScheduleConfig, *, width: int, total_steps: int | None = None) -> float:
    """The rate of update `step` (1, 2, ...).

    width: the model's, which `paper` derives its peak from (Vaswani et al. 2017, section 5.3). total_steps: where
    `cosine` and `linear` end; after it they stay at `schedule.final`. The other schedules warm up linearly to
    `schedule.peak` too. `schedule.scale` multiplies the whole.
    """
    if schedule.name == "paper":
        return schedule.scale * width**-0.5 * min(step**-0.5, step * schedule.warmup_steps**-1.5)
    assert schedule.peak is not None, "the config asks for a peak with every schedule but paper"
    if step < schedule.warmup_steps:
        return schedule.scale * schedule.peak * step / schedule.warmup_steps
    return schedule.scale * _SHAPES[schedule.name](step, schedule, total_steps or 0)


def _constant(step: int, schedule: ScheduleConfig, total_steps: int) -> float:
    return schedule.peak or 0.0


def _inverse_sqrt(step: int, schedule: ScheduleConfig, total_steps: int) -> float:
    return (schedule.peak or 0.0) * math.sqrt(schedule.warmup_steps / step)


def _linear(step: int, schedule: ScheduleConfig, total_steps: int) -> float:
    return _between(schedule, 1 - _progress(step, schedule, total_steps))


def _cosine(step: int, schedule: ScheduleConfig, total_steps: int) -> float:
    """Loshchilov and Hutter 2017, without restarts."""
    return _between(schedule, 0.5 * (1 + math.cos(math.pi * _progress(step, schedule, total_steps))))


def _between(schedule: ScheduleConfig, share: float) -> float:
    return schedule.final + ((schedule.peak or 0.0) - schedule.final) * share


def _progress(step: int, schedule: ScheduleConfig, total_steps: int) -> float:
    """0 when the warm-up ends, 1 at the last step and after it."""
    return min(1.0, (step - schedule.warmup_steps) / max(1, total_steps - schedule.warmup_steps))


_SHAPES: dict[str, Shape] = {
    "constant": _constant,
    "inverse_sqrt": _inverse_sqrt,
    "linear": _linear,
    "cosine": _cosine,
}
