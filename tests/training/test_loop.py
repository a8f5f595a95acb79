from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from regard.config import parse_run
from regard.data.batching import Position
from regard.errors import RegardError, TrainingInterrupted
from regard.training.loop import Loop
from regard.training.schedule import learning_rate
from regard.training.state import RunState
from regard.training.step import Statistics
from regard.training.validation import Stopped

EPOCH = 5  # batches


class FakeStep:
    """Counts what it is given; a step is finite unless its number is in `bad`."""

    def __init__(self, bad: set[int]) -> None:
        self.model = SimpleNamespace(spec=SimpleNamespace(text=SimpleNamespace(width=64)))
        self.bad, self.rates, self.batches = bad, [], []

    def __call__(self, batches: list[Any], rate: float) -> bool:
        self.rates.append(rate)
        self.batches.append([batch["number"] for batch in batches])
        return len(self.rates) not in self.bad

    def read(self) -> Statistics:
        return Statistics(1.5, 0.5)


class FakeBatches:
    def epoch_length(self, epoch: int) -> int:
        return EPOCH

    def iterate(self, position: Position) -> Iterator[tuple[dict[str, Any], Position]]:
        number = position.epoch * EPOCH + position.batch
        while True:
            following = Position(*divmod(number + 1, EPOCH))
            labels = np.array([[3, 4, -100, -100]])
            mask = np.array([[1, 1, 1, 0]])
            yield {"number": number, "labels": labels, "attention_mask": mask, "input_ids": mask}, following
            number += 1


class FakeSaver:
    def __init__(self, fails: bool = False) -> None:
        self.saved: list[int] = []
        self.fails = fails
        self.store = SimpleNamespace(directory=Path("run/checkpoints"))

    def save(self, state: RunState, warn: Callable[[str], None]) -> bool:
        self.saved += [] if self.fails else [state.step]
        return not self.fails

    def rank(self, score: dict[str, Any]) -> float:
        return float("inf") if score["loss"] is None else score["loss"]


class FakeReport:
    def __init__(self) -> None:
        self.records: list[Any] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda first, *_: self.records.append((name, first))

    def of(self, name: str) -> list[Any]:
        return [record for kind, record in self.records if kind == name]


def loop_of(
    *, losses: list[float] | None = None, bad: set[int] | None = None, fails: bool = False, **training: Any
) -> Loop:
    values = {"schedule": {"name": "paper", "warmup_steps": 4}, "log_every": 2, "validate_every": 4, **training}
    run = parse_run({"data": {"train": [{"tsv": "a"}]}, "training": values})
    scores = iter(losses or [])
    validator = None if losses is None else SimpleNamespace(measure=lambda stop: {"loss": next(scores)})
    return Loop(
        run,
        RunState(),
        FakeStep(bad or set()),
        FakeBatches(),
        validator,
        FakeSaver(fails),
        FakeReport(),
        "regard train run",
    )


def never() -> bool:
    return False


def after(loop: Loop, step: int) -> Callable[[], bool]:
    return lambda: loop.state.step >= step


def test_the_loop_ends_after_the_budget_of_steps_and_validates_and_saves_on_the_way_and_at_the_end() -> None:
    loop = loop_of(steps=10, losses=[3, 2, 1])
    assert loop.train(never) == "10 steps are done"
    assert loop.saver.saved == [4, 8, 10]
    assert [record["step"] for record in loop.report.of("validation")] == [4, 8, 10]
    assert [record["step"] for record in loop.report.of("train")] == [2, 4, 6, 8, 10]


def test_epochs_end_when_their_batches_are_read() -> None:
    loop = loop_of(epochs=2)
    assert loop.train(never) == "2 epochs are done"
    assert loop.step.batches == [[number] for number in range(2 * EPOCH)]


def test_minutes_end_when_they_are_over_and_count_from_earlier_lives() -> None:
    loop = loop_of(minutes=1e-9)
    assert loop.train(never) == "1e-09 minutes are over"
    assert loop.state.step == 1
    loop = loop_of(minutes=5)
    loop.state.seconds = 300.0
    loop.train(never)
    assert loop.state.step == 0


def test_patience_ends_after_validations_without_a_new_best() -> None:
    loop = loop_of(steps=100, patience=2, losses=[5, 3, 4, 3, 1])
    assert loop.train(never) == "no better loss for 2 validations; the best was at step 8"
    assert loop.state.step == 16
    assert (loop.state.best, loop.state.best_step) == (3, 8)


def test_a_score_that_is_not_finite_is_null_and_never_the_best() -> None:
    loop = loop_of(steps=8, losses=[float("nan"), 2.0])
    loop.train(never)
    assert [record["loss"] for record in loop.report.of("validation")] == [None, 2.0]
    assert loop.state.best_step == 8


def test_a_step_takes_its_micro_batches_in_order_and_the_rate_of_its_number() -> None:
    loop = loop_of(steps=3, accumulation=2)
    loop.train(never)
    assert loop.step.batches == [[0, 1], [2, 3], [4, 5]]
    schedule = loop.config.schedule
    assert loop.step.rates == [learning_rate(step, schedule, width=64) for step in (1, 2, 3)]


def test_tokens_and_padding_are_counted_from_the_batches() -> None:
    loop = loop_of(steps=4, accumulation=3)
    loop.train(never)
    last = loop.report.of("train")[-1]
    assert last["tokens"] == 4 * 3 * 2
    assert last["padding"] == pytest.approx(1 - 5 / 8)
    assert last["loss"] == 1.5
    assert last["learning_rate"] == loop.step.rates[-1]


def test_speed_leaves_out_the_step_that_builds_the_graph() -> None:
    loop = loop_of(steps=2, log_every=1)
    loop.train(never)
    first, second = loop.report.of("train")
    assert first["tokens_per_second"] is None
    assert second["tokens_per_second"] > 0


def test_a_skipped_step_is_reported_with_its_place_in_the_data() -> None:
    loop = loop_of(steps=10, bad={7})
    loop.train(never)
    assert loop.report.of("skipped") == [{"kind": "skipped", "step": 7, "epoch": 1, "batch": 1}]
    assert loop.report.of("train")[-1]["skipped"] == 1


def test_too_many_bad_steps_in_a_row_end_the_run_without_another_checkpoint() -> None:
    loop = loop_of(steps=100, log_every=50, max_bad_steps=3, bad={2, *range(6, 99)})
    with pytest.raises(RegardError, match=r"3 steps in a row .* step 8 \(epoch 1, batch 2\).*run/checkpoints"):
        loop.train(never)
    assert loop.saver.saved == [4]


def test_bad_steps_that_are_not_in_a_row_do_not_end_the_run() -> None:
    loop = loop_of(steps=20, max_bad_steps=2, bad={1, 3, 5, 7, 9, 11})
    loop.train(never)
    assert loop.state.skipped == 6


def test_a_stop_saves_at_that_step_and_says_how_to_go_on() -> None:
    loop = loop_of(steps=10, losses=[3, 2, 1])
    with pytest.raises(TrainingInterrupted, match="stopped at step 6 and is saved; go on with: regard train run"):
        loop.train(after(loop, 6))
    assert loop.saver.saved == [4, 6]


def test_a_stop_where_nothing_is_new_saves_nothing() -> None:
    loop = loop_of(steps=10)
    with pytest.raises(TrainingInterrupted):
        loop.train(lambda: True)
    assert loop.saver.saved == []


def test_a_stop_that_cannot_be_saved_says_so() -> None:
    loop = loop_of(steps=10, fails=True)
    with pytest.raises(TrainingInterrupted, match="step 3, which could not be saved; go on from step 0"):
        loop.train(after(loop, 3))


def test_a_stop_during_validation_saves_without_it_and_it_is_done_first_when_the_run_goes_on() -> None:
    loop = loop_of(steps=6, losses=[3, 2])

    def stopped(stop: Callable[[], bool]) -> dict[str, float]:
        raise Stopped

    measure, loop.validator.measure = loop.validator.measure, stopped
    with pytest.raises(TrainingInterrupted, match="step 4"):
        loop.train(never)
    assert not loop.state.validated
    loop.validator.measure = measure
    loop.train(never)
    assert [record["step"] for record in loop.report.of("validation")] == [4, 6]
    assert loop.saver.saved == [4, 4, 6]


def test_a_run_that_is_done_does_nothing_more() -> None:
    loop = loop_of(steps=4, losses=[1])
    loop.train(never)
    loop.train(never)
    assert len(loop.step.rates) == 4
    assert loop.saver.saved == [4]


def test_the_share_done_is_that_of_the_budget_that_is_nearest_to_its_end() -> None:
    loop = loop_of(steps=100, epochs=1)
    loop.state.step, loop.state.position = 10, Position(0, 2)
    assert loop.share() == pytest.approx(2 / EPOCH)
