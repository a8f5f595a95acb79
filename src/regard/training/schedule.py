"""The learning rate by step: pure functions of the step's number, which begins at 1."""

import math
from collections.abc import Callable

from regard.config import ScheduleConfig
from regard.errors import ConfigError

Shape = Callable[[int, ScheduleConfig, int], float]


def learning_rate(step: int, schedule: ScheduleConfig, *, width: int, total_steps: int | None = None) -> float:
    """The rate of update `step` (1, 2, ...).

    width: the model's, which `paper` derives its peak from (Vaswani et al. 2017, section 5.3). total_steps: where
    `cosine`, `linear` and `wsd` end, with epochs about where; after it they stay at `schedule.final`. The other
    schedules warm up linearly to `schedule.peak` too. `schedule.scale` multiplies the whole.
    """
    if schedule.name == "paper":
        return schedule.scale * width**-0.5 * min(step**-0.5, step * schedule.warmup_steps**-1.5)
    assert schedule.peak is not None, "the config asks for a peak with every schedule but paper"
    if step < schedule.warmup_steps:
        return schedule.scale * schedule.peak * step / schedule.warmup_steps
    return schedule.scale * _SHAPES[schedule.name](step, schedule, total_steps or 0)


def refuse_too_short(schedule: ScheduleConfig, total_steps: int | None) -> None:
    """Raise ConfigError where the steps that a run comes to are fewer than its schedule goes through."""
    needed = schedule.warmup_steps + (schedule.decay_steps or 0)
    if schedule.decay_steps is not None and total_steps is not None and needed > total_steps:
        raise ConfigError(
            f"schedule.warmup_steps + decay_steps must be at most the {total_steps:,} steps that the run comes to, but "
            f"is {needed:,}: set them lower, or train for longer"
        )


def never_at_its_peak(schedule: ScheduleConfig, total_steps: int | None) -> str | None:
    """What to tell of a run that ends while its rate still rises; None where it does not, or nobody knows."""
    if total_steps is None or schedule.warmup_steps < total_steps or schedule.warmup_steps == 0:
        return None
    return (
        f"the learning rate rises to the end: schedule.warmup_steps is {schedule.warmup_steps:,}, but the run has "
        f"{total_steps:,} steps; set it lower, or train for longer"
    )


def _constant(step: int, schedule: ScheduleConfig, total_steps: int) -> float:
    return schedule.peak or 0.0


def _inverse_sqrt(step: int, schedule: ScheduleConfig, total_steps: int) -> float:
    return (schedule.peak or 0.0) * math.sqrt(schedule.warmup_steps / step)


def _linear(step: int, schedule: ScheduleConfig, total_steps: int) -> float:
    return _between(schedule, 1 - _progress(step, schedule.warmup_steps, total_steps))


def _cosine(step: int, schedule: ScheduleConfig, total_steps: int) -> float:
    """Loshchilov and Hutter 2017, without restarts."""
    return _between(schedule, _half_wave(_progress(step, schedule.warmup_steps, total_steps)))


def _restarts(step: int, schedule: ScheduleConfig, total_steps: int) -> float:
    """Loshchilov and Hutter 2017, section 3: the rate falls in half a cosine, and begins anew at each cycle."""
    cycle, share = _cycle(step - schedule.warmup_steps, schedule.cycle_steps or 1, schedule.cycle_growth)
    return _between(schedule, _half_wave(share), schedule.peak_decay**cycle)


def _wsd(step: int, schedule: ScheduleConfig, total_steps: int) -> float:
    """Warm-up, stable, decay: one minus the root of the way through the last steps (Haegele et al. 2024, section 3)."""
    return _between(schedule, 1 - math.sqrt(_progress(step, total_steps - (schedule.decay_steps or 0), total_steps)))


def _between(schedule: ScheduleConfig, share: float, peak_share: float = 1.0) -> float:
    """`share` of the way from the final rate up to the peak, or to this share of the peak."""
    peak = max(schedule.final, (schedule.peak or 0.0) * peak_share)
    return schedule.final + (peak - schedule.final) * share


def _half_wave(progress: float) -> float:
    """1 at 0, 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def _progress(step: int, first: int, last: int) -> float:
    """0 up to the first step, 1 from the last one on."""
    return min(1.0, max(0, step - first) / max(1, last - first))


def _cycle(position: int, length: float, growth: float) -> tuple[int, float]:
    """Which cycle a position is in, and how far through it, 0..1; the first is `length` long."""
    if growth == 1:
        return int(position // length), position % length / length
    cycle, rest = 0, float(position)
    while rest >= length:
        rest, length, cycle = rest - length, length * growth, cycle + 1
    return cycle, rest / length


_SHAPES: dict[str, Shape] = {
    "constant": _constant,
    "inverse_sqrt": _inverse_sqrt,
    "linear": _linear,
    "cosine": _cosine,
    "restarts": _restarts,
    "wsd": _wsd,
}
