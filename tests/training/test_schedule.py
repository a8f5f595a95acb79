import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.config import ScheduleConfig
from regard.training.schedule import learning_rate, never_at_its_peak

STEPS = st.integers(1, 10**6)
WARMUPS = st.integers(1, 10**4)


def rate(step: int, width: int = 512, total: int | None = None, **schedule: object) -> float:
    return learning_rate(step, ScheduleConfig.model_validate(schedule), width=width, total_steps=total)


@given(STEPS, WARMUPS, st.integers(1, 4096), st.floats(0.1, 10))
def test_the_paper_s_rate_is_equation_3_times_the_scale(step: int, warmup: int, width: int, scale: float) -> None:
    expected = scale / math.sqrt(width) * min(1 / math.sqrt(step), step / warmup**1.5)
    assert rate(step, width, name="paper", warmup_steps=warmup, scale=scale) == pytest.approx(expected, rel=1e-12)


@given(WARMUPS, st.floats(1e-5, 1), st.sampled_from(["inverse_sqrt", "cosine", "linear", "constant"]), st.data())
def test_every_schedule_with_a_peak_warms_up_linearly_and_reaches_it(
    warmup: int, peak: float, name: str, data: st.DataObject
) -> None:
    step = data.draw(st.integers(1, warmup))
    reached = rate(step, total=2 * warmup, name=name, peak=peak, warmup_steps=warmup)
    assert reached == pytest.approx(peak * step / warmup, rel=1e-9)


@given(STEPS, WARMUPS)
def test_inverse_sqrt_falls_with_the_root_of_the_step(step: int, warmup: int) -> None:
    step += warmup
    found = rate(step, name="inverse_sqrt", peak=0.5, warmup_steps=warmup)
    assert found == pytest.approx(0.5 * math.sqrt(warmup / step))


@given(st.integers(0, 100), st.integers(1, 1000), st.data())
def test_cosine_and_linear_fall_from_peak_to_final(warmup: int, length: int, data: st.DataObject) -> None:
    after = data.draw(st.integers(0, length))
    settings = {"peak": 1.0, "final": 0.2, "warmup_steps": warmup, "total": warmup + length}
    step = max(1, warmup + after)
    share = (step - warmup) / length
    assert rate(step, name="linear", **settings) == pytest.approx(1 - 0.8 * share)
    assert rate(step, name="cosine", **settings) == pytest.approx(0.2 + 0.4 * (1 + math.cos(math.pi * share)))


def test_after_the_last_step_the_rate_stays_at_final() -> None:
    for name in ("cosine", "linear"):
        found = [rate(step, total=20, name=name, peak=1.0, final=0.1, warmup_steps=5) for step in (20, 21, 500)]
        assert found == pytest.approx([0.1] * 3)


def test_a_constant_rate_without_warm_up_is_there_from_the_first_step() -> None:
    assert [rate(step, name="constant", peak=0.3, warmup_steps=0) for step in (1, 2, 999)] == [0.3] * 3


def test_scale_multiplies_warm_up_and_decay() -> None:
    for step in (3, 10, 17):
        settings = {"total": 20, "name": "cosine", "peak": 1.0, "final": 0.5, "warmup_steps": 10}
        assert rate(step, scale=0.25, **settings) == pytest.approx(0.25 * rate(step, **settings))


@given(st.integers(0, 50), st.integers(1, 40), st.sampled_from([1.0, 2.0, 1.5]), st.floats(0.1, 1), st.data())
def test_restarts_follow_half_a_cosine_in_each_cycle_from_the_cycle_s_own_peak(
    warmup: int, length: int, growth: float, decay: float, data: st.DataObject
) -> None:
    cycle = data.draw(st.integers(0, 4))
    lengths = [length * growth**i for i in range(cycle + 1)]
    into = data.draw(st.integers(0, math.ceil(lengths[-1]) - 1))
    step = warmup + math.ceil(sum(lengths[:-1])) + into
    through = (step - warmup - sum(lengths[:-1])) / lengths[-1]
    if step < 1 or not 0 <= through < 1 - 1e-9:
        return
    settings = {"cycle_steps": length, "cycle_growth": growth, "peak_decay": decay, "warmup_steps": warmup}
    peak = max(2.0 * decay**cycle, 0.3)
    expected = 0.3 + (peak - 0.3) * (1 + math.cos(math.pi * through)) / 2
    assert rate(step, name="restarts", peak=2.0, final=0.3, **settings) == pytest.approx(expected, rel=1e-6)


def test_a_restart_is_a_jump_from_almost_the_final_rate_back_to_the_peak() -> None:
    settings = {"name": "restarts", "peak": 1.0, "warmup_steps": 10, "cycle_steps": 100, "cycle_growth": 2.0}
    found = [rate(step, **settings, peak_decay=0.5) for step in (10, 60, 109, 110, 210, 309, 310)]
    assert found == pytest.approx([1.0, 0.5, 0.0, 0.5, 0.25, 0.0, 0.25], abs=3e-4)
    assert found[3] == 0.5


def test_wsd_is_level_until_the_last_steps_and_falls_with_their_root() -> None:
    settings = {"total": 100, "name": "wsd", "peak": 1.0, "final": 0.2, "warmup_steps": 10, "decay_steps": 16}
    found = [rate(step, **settings) for step in (5, 10, 50, 84, 88, 93, 100, 101, 999)]
    falling = [0.2 + 0.8 * (1 - root) for root in (0.5, 0.75, 1, 1, 1)]
    assert found == pytest.approx([0.5, 1, 1, 1, *falling])


def test_a_run_that_ends_within_its_warm_up_is_told_so() -> None:
    cosine = ScheduleConfig.model_validate({"name": "cosine", "peak": 1.0})
    assert never_at_its_peak(cosine, 500) == (
        "the learning rate rises to the end: schedule.warmup_steps is 4,000, but the run has 500 steps; set it lower, "
        "or train for longer"
    )
    assert never_at_its_peak(cosine, 4000) is not None
    assert never_at_its_peak(cosine, 4001) is None
    assert never_at_its_peak(cosine, None) is None
    assert never_at_its_peak(cosine.model_copy(update={"warmup_steps": 0}), 1) is None


def test_what_only_one_schedule_reads_is_refused_for_the_others_and_asked_for_where_needed() -> None:
    for settings, complaint in (
        ({"name": "cosine", "peak": 1.0, "cycle_steps": 5}, "schedule.cycle_steps is for restarts"),
        ({"name": "restarts", "peak": 1.0, "cycle_steps": 5, "decay_steps": 5}, "schedule.decay_steps is for wsd"),
        ({"name": "restarts", "peak": 1.0}, "schedule.cycle_steps is missing"),
        ({"name": "wsd", "peak": 1.0}, "schedule.decay_steps is missing"),
        ({"name": "constant", "peak": 1.0, "final": 0.1}, "schedule.final is for"),
    ):
        with pytest.raises(ValueError, match=complaint):
            rate(1, **settings)
