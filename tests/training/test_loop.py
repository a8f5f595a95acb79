from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from regard.config import parse_run
from regard.data.batching import Position, Tally
from regard.errors import RegardError, TrainingInterrupted
from regard.training.loop import Loop
from regard.training.schedule import learning_rate
from regard.training.state import RunState
from regard.training.step import APPLIED, NO_LABELS, NOT_FINITE, SPIKE, Statistics
from regard.training.validation import Stopped

EPOCH = 5  # batches


class FakeStep:
    """Counts what it is given; a step is applied unless its number is in one of the sets."""

    def __init__(self, bad: set[int], spikes: set[int], unlabelled: set[int]) -> None:
        stack = SimpleNamespace(layer=SimpleNamespace(width=64))
        self.model = SimpleNamespace(spec=SimpleNamespace(encoder=stack, decoder=stack))
        self.outcomes = {**dict.fromkeys(bad, NOT_FINITE), **dict.fromkeys(spikes, SPIKE)}
        self.outcomes |= dict.fromkeys(unlabelled, NO_LABELS)
        self.rates: list[float] = []
        self.batches: list[list[int]] = []

    def __call__(self, batches: list[Any], rate: float) -> int:
        self.rates.append(rate)
        self.batches.append([batch["number"] for batch in batches])
        return self.outcomes.get(len(self.rates), APPLIED)

    def read(self) -> Statistics:
        return Statistics(1.5, 0.5)


class FakeBatches:
    def epoch_length(self, epoch: int) -> int:
        return EPOCH

    def tally(self, batch: dict[str, Any]) -> Tally:
        return Tally(targets=2, real=5, places=8)

    def iterate(self, position: Position) -> Iterator[tuple[dict[str, Any], Position]]:
        number = position.epoch * EPOCH + position.batch
        while True:
            following = Position(*divmod(number + 1, EPOCH))
            labels = np.array([[3, 4, -100, -100]])
            mask = np.array([[1, 1, 1, 0]])
            yield {"number": number, "labels": labels, "attention_mask": mask, "input_ids": mask}, following
            number += 1


class FakeSaver:
    """A checkpoint is on the disk once it was waited for."""

    def __init__(self, fails: bool, spoiled: set[int]) -> None:
        self.saved: list[int] = []
        self.restored: list[int] = []
        self.saved_step: int | None = None
        self.fails, self.spoiled = fails, spoiled
        self.store = SimpleNamespace(directory=Path("run/checkpoints"))
        self._begun = 0
        self._saves = 0

    def save(self, state: RunState, warn: Callable[[str], None]) -> None:
        self.wait(warn)
        self._begun = state.step

    def wait(self, warn: Callable[[str], None]) -> None:
        if self._begun and not self.fails:
            self.saved.append(self._begun)
            self.saved_step = self._begun
        self._begun = 0

    def look(self, warn: Callable[[str], None]) -> None:
        pass

    def not_finite(self) -> str | None:
        self._saves += 1
        return "a/kernel" if self._saves in self.spoiled else None

    def restore_steady(self, warn: Callable[[str], None]) -> int | None:
        self.wait(warn)
        self.restored += self.saved[-1:]
        return self.saved_step

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
    *,
    losses: list[float] | None = None,
    bad: Iterable[int] = (),
    spikes: Iterable[int] = (),
    unlabelled: Iterable[int] = (),
    spoiled: Iterable[int] = (),
    fails: bool = False,
    **training: Any,
) -> Loop:
    """spoiled: which of the saves find a weight that is not finite."""
    values = {"schedule": {"name": "paper", "warmup_steps": 4}, "log_every": 2, "validate_every": 4, **training}
    run = parse_run({"data": {"train": [{"tsv": "a"}]}, "training": values})
    scores = iter(losses or [])
    validator = None if losses is None else SimpleNamespace(measure=lambda stop: {"loss": next(scores)})
    return Loop(
        run,
        RunState(),
        FakeStep(set(bad), set(spikes), set(unlabelled)),
        FakeBatches(),
        validator,
        FakeSaver(fails, set(spoiled)),
        FakeReport(),
        "regard train run",
        run.training.steps,
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
    why = "its loss or gradient was not finite"
    assert loop.report.of("skipped") == [{"kind": "skipped", "step": 7, "epoch": 1, "batch": 1, "reason": why}]
    assert loop.report.of("train")[-1]["skipped"] == 1


def test_a_spike_is_counted_among_the_skipped_and_by_its_own_name() -> None:
    loop = loop_of(steps=10, bad={3}, spikes={7})
    loop.train(never)
    assert [record["reason"] for record in loop.report.of("skipped")][1] == "its loss was a spike"
    last = loop.report.of("train")[-1]
    assert (last["skipped"], last["spikes"]) == (2, 1)


def test_batches_without_a_label_are_told_and_are_no_reason_to_roll_back() -> None:
    loop = loop_of(steps=12, max_bad_steps=3, bad={2, 6}, unlabelled={3, 4, 5, 7, 8})
    loop.train(never)
    assert loop.report.of("rolled_back") == []
    assert [record["reason"] for record in loop.report.of("skipped")].count("nothing in it had a label") == 5
    assert (loop.state.skipped, loop.state.skipped_in_row) == (7, 0)


@pytest.mark.parametrize("log_every", [1, 2, 50])
def test_skipped_steps_in_a_row_roll_back_right_after_the_last_of_them_and_their_data_are_not_met_again(
    log_every: int,
) -> None:
    loop = loop_of(steps=20, log_every=log_every, max_bad_steps=3, bad={2, 6, 10}, spikes={11, 12})
    loop.train(never)
    (record,) = loop.report.of("rolled_back")
    assert (record["step"], record["to"], record["rollbacks"]) == (12, 8, 1)
    assert record["reason"] == "3 steps in a row were skipped, up to step 12"
    assert loop.saver.restored == [8]
    assert loop.step.batches == [[number] for number in range(20)]
    assert loop.saver.saved == [4, 8, 12, 16, 20]
    assert (loop.state.rollbacks, loop.state.skipped, loop.state.skipped_in_row) == (1, 5, 0)


@pytest.mark.parametrize("stop", range(5, 12))
def test_where_training_was_stopped_does_not_move_a_rollback(stop: int) -> None:
    loop = loop_of(steps=12, log_every=50, max_bad_steps=3, bad={7, 8, 9})
    with pytest.raises(TrainingInterrupted):
        loop.train(after(loop, stop))
    loop._attempts.clear()  # as in another process
    loop.train(never)
    assert [record["step"] for record in loop.report.of("rolled_back")] == [9]


def test_one_rollback_too_many_ends_the_run() -> None:
    loop = loop_of(steps=100, log_every=50, max_bad_steps=3, max_rollbacks=2, bad=set(range(6, 99)))
    with pytest.raises(RegardError, match=r"3 steps in a row .* step 14 .*epoch 2, batch 4.* 2 rollbacks .*run/check"):
        loop.train(never)
    assert loop.saver.restored == [4, 8]


def test_without_a_checkpoint_there_is_nothing_to_roll_back_to() -> None:
    loop = loop_of(steps=100, max_bad_steps=3, bad={1, 2, 3})
    with pytest.raises(RegardError, match=r"3 steps in a row .* no good checkpoint to go back to"):
        loop.train(never)
    assert loop.saver.saved == []


def test_bad_steps_that_are_not_in_a_row_roll_nothing_back() -> None:
    loop = loop_of(steps=20, max_bad_steps=2, bad={1, 3, 5, 7, 9, 11})
    loop.train(never)
    assert loop.state.skipped == 6
    assert loop.saver.restored == []


def test_weights_that_are_not_finite_are_rolled_back_instead_of_saved() -> None:
    loop = loop_of(steps=12, spoiled={2})
    loop.train(never)
    assert loop.saver.saved == [4, 12]
    assert [record["reason"] for record in loop.report.of("rolled_back")] == ["a/kernel is not finite at step 8"]


def test_a_stop_at_weights_that_are_not_finite_names_the_step_to_go_on_from() -> None:
    loop = loop_of(steps=12, spoiled={2})
    with pytest.raises(TrainingInterrupted, match="step 6, which could not be saved; go on from step 4"):
        loop.train(after(loop, 6))


def test_a_stop_saves_at_that_step_and_says_how_to_go_on() -> None:
    loop = loop_of(steps=10, losses=[3, 2, 1])
    with pytest.raises(TrainingInterrupted, match="stopped at step 6 and is saved; go on with: regard train run"):
        loop.train(after(loop, 6))
    assert loop.saver.saved == [4, 6]


def test_saving_may_come_more_often_than_validation() -> None:
    loop = loop_of(steps=10, losses=[3, 2, 1], save_every=3)
    loop.train(never)
    assert loop.saver.saved == [3, 4, 6, 8, 9, 10]
    assert [record["step"] for record in loop.report.of("validation")] == [4, 8, 10]


def test_what_was_saved_before_a_stop_or_with_a_validation_is_not_saved_again() -> None:
    loop = loop_of(steps=12, losses=[3, 2, 1], save_every=2)
    with pytest.raises(TrainingInterrupted, match="stopped at step 6 and is saved"):
        loop.train(after(loop, 6))
    assert loop.saver.saved == [2, 4, 6]
    loop.train(never)
    assert loop.saver.saved == [2, 4, 6, 8, 10, 12]


def test_a_rate_ends_where_the_steps_to_take_do() -> None:
    loop = loop_of(epochs=2, schedule={"name": "linear", "peak": 1.0, "warmup_steps": 0})
    loop.steps_to_take = 2 * EPOCH
    assert loop.train(never) == "2 epochs are done"
    assert loop.step.rates == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])


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
