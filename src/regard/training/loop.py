"""The training loop: steps until a budget is met, with validation, checkpoints and early stopping on the way."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple, NoReturn

from regard.batch import Batch
from regard.config import RunConfig
from regard.data.batching import Batches, Position
from regard.errors import RegardError, TrainingInterrupted
from regard.training.cluster import ALONE, Cluster
from regard.training.progress import Report
from regard.training.saving import Saver
from regard.training.schedule import learning_rate
from regard.training.state import Interval, RunState
from regard.training.step import APPLIED, NO_LABELS, NOT_FINITE, SPIKE, TrainStep
from regard.training.validation import Score, Stopped, Validator

SKIPPED = {
    NOT_FINITE: "its loss or gradient was not finite",
    SPIKE: "its loss was a spike",
    NO_LABELS: "nothing in it had a label",
}


class Attempt(NamedTuple):
    """A step whose outcome has not been asked of the device yet."""

    step: int
    position: Position  # of its first micro-batch
    outcome: Any  # an integer tensor


class Loop:
    """One process's share of a run, from `state` on.

    In a cluster all workers go through the same loop in step: what becomes of a step is the same to all, the chief
    alone validates and saves and tells the others what came of it, and a wish to stop is agreed upon.
    """

    def __init__(
        self,
        run: RunConfig,
        state: RunState,
        step: TrainStep,
        batches: Batches,
        validator: Validator | None,
        saver: Saver,
        report: Report,
        command: str,
        steps_to_take: int | None,
        cluster: Cluster = ALONE,
    ) -> None:
        """command: that goes on. steps_to_take: by the budgets of steps and epochs, where the rates may end; None where
        there are minutes alone."""
        self.run, self.config, self.state, self.step = run, run.training, state, step
        self.batches, self.validator, self.saver, self.report = batches, validator, saver, report
        self.command, self.steps_to_take, self.cluster = command, steps_to_take, cluster
        spec = step.model.spec
        self._width = (spec.decoder or spec.encoder).layer.width  # of images, too
        self._attempts: list[Attempt] = []
        self._resumed_step = state.step
        self._saved_at = state.step  # the step whose checkpoint was begun last
        self._traced = False  # the first step also builds its graph
        self._clock = time.monotonic() - state.seconds
        self._resumed_at = (self.share(), state.seconds)

    def train(self, stop: Callable[[], bool]) -> str:
        """Train until a budget is met, and say which. Raises TrainingInterrupted, after saving, if `stop` says so."""
        with closing(self.batches.iterate(self.state.position)) as feed:
            return self._train(feed, stop)

    def _train(self, feed: Iterator[tuple[Batch, Position]], stop: Callable[[], bool]) -> str:
        while True:
            agreed = self.cluster.agree(self.state.step, stop(), self.state.seconds)
            self.state.seconds = agreed.seconds
            met = self._budget_met()
            if agreed.stop:
                self._interrupt()
            if self._validation_due(ending=met is not None):
                self._validate(stop)
                self._save()
            elif self._save_due():
                self._save()
            elif met is not None:
                self.saver.wait(self.report.warn)
                return met
            else:
                self._advance(feed)

    def share(self) -> float:
        """How much of the budget is done, 0..1."""
        config, state = self.config, self.state
        shares = [0.0]
        if config.steps is not None:
            shares.append(state.step / config.steps)
        if config.epochs is not None:
            epoch, batch = state.position
            shares.append((epoch + batch / max(1, self.batches.epoch_length(epoch))) / config.epochs)
        if config.minutes is not None:
            shares.append(state.seconds / (60 * config.minutes))
        return min(1.0, max(shares))

    def _budget_met(self) -> str | None:
        config, state = self.config, self.state
        if config.steps is not None and state.step >= config.steps:
            return f"{state.step} steps are done"
        if config.epochs is not None and state.position.epoch >= config.epochs:
            return f"{config.epochs} epochs are done"
        if config.minutes is not None and state.seconds >= 60 * config.minutes:
            return f"{config.minutes:g} minutes are over"
        if config.patience is not None and state.stale >= config.patience:
            return f"no better {config.best} for {state.stale} validations; the best was at step {state.best_step}"
        return None

    def _advance(self, feed: Iterator[tuple[Batch, Position]]) -> None:
        """One step: `accumulation` batches, one update."""
        began, at, state = time.monotonic(), self.state.position, self.state
        tokens_before = state.tokens
        batches = [self._take(feed) for _ in range(self.config.accumulation)]
        outcome = self.step(batches, self._rate(state.step + 1))
        state.step += 1
        self._attempts.append(Attempt(state.step, at, outcome))
        log_due = state.step % self.config.log_every == 0
        # In time for a rollback right after the step that calls for it, however often the outcomes are asked for.
        if log_due or state.skipped_in_row + len(self._attempts) >= self.config.max_bad_steps:
            self._settle()
        self.saver.look(self.report.warn)
        self._tick()
        if self._traced:
            state.interval.seconds += time.monotonic() - began
            state.interval.timed_tokens += state.tokens - tokens_before
        self._traced = True
        self.report.step(state.step, self.share())
        if log_due:
            self._log()

    def _take(self, feed: Iterator[tuple[Batch, Position]]) -> Batch:
        batch, self.state.position = next(feed)
        interval, tally = self.state.interval, self.batches.tally(batch)
        interval.real_tokens += tally.real
        interval.places += tally.places
        self.state.tokens += tally.targets
        return batch

    def _rate(self, step: int) -> float:
        return learning_rate(step, self.config.schedule, width=self._width, total_steps=self.steps_to_take)

    def _tick(self) -> None:
        self.state.seconds = time.monotonic() - self._clock

    def _settle(self) -> None:
        """Ask the device what became of the steps; this waits for them. Too many skipped in a row: a rollback."""
        state = self.state
        for attempt in self._attempts:
            outcome = int(attempt.outcome)
            if outcome == APPLIED:
                state.skipped_in_row = 0
                continue
            state.skipped += 1
            state.spikes += outcome == SPIKE
            state.skipped_in_row += outcome != NO_LABELS  # which no rollback would change
            place = attempt.position._asdict()
            self.report.skipped({"kind": "skipped", "step": attempt.step, **place, "reason": SKIPPED[outcome]})
        self._attempts.clear()
        if state.skipped_in_row >= self.config.max_bad_steps:
            self._roll_back(f"{state.skipped_in_row} steps in a row were skipped, up to step {state.step}")

    def _roll_back(self, reason: str) -> None:
        """Weights, optimizer and noise become those of the last steady checkpoint.

        The step's number, and with it the learning rate, the place in the data and all counts go on: so the data that
        spoiled the steps is not met again, and a run that is killed and goes on rolls back to the same bits.
        """
        state = self.state
        allowed = state.rollbacks < self.config.max_rollbacks
        target = self.saver.restore_steady(self.report.warn) if allowed else None
        if target is None:
            why = (
                "there is no good checkpoint to go back to" if allowed else f"{state.rollbacks} rollbacks are behind it"
            )
            raise RegardError(
                f"training stopped: {reason} (data before epoch {state.position.epoch}, batch {state.position.batch}), "
                f"and {why}; what is saved is in {self.saver.store.directory}; lower the learning rate or look at that "
                "data, and train in a new directory"
            )
        self.step.read()  # the losses since the last line of the log are of weights that are gone
        state.rollbacks += 1
        state.skipped_in_row = 0
        record = {"kind": "rolled_back", "step": state.step, "to": target, "rollbacks": state.rollbacks}
        self.report.rolled_back({**record, "reason": reason})

    def _log(self) -> None:
        state, interval, statistics = self.state, self.state.interval, self.step.read()
        record = {
            "kind": "train",
            "step": state.step,
            "epoch": state.position.epoch,
            "loss": statistics.loss,
            "gradient_norm": statistics.gradient_norm,
            "learning_rate": self._rate(state.step),
            "tokens": state.tokens,
            "tokens_per_second": round(interval.timed_tokens / interval.seconds, 1) if interval.seconds else None,
            "padding": round(1 - interval.real_tokens / max(interval.places, 1), 6),
            "skipped": state.skipped,
            "spikes": state.spikes,
            "rollbacks": state.rollbacks,
            "seconds": round(state.seconds, 3),
        }
        state.interval = Interval()
        self.report.train(record, self.share(), self._seconds_left())

    def _seconds_left(self) -> float | None:
        share_then, seconds_then = self._resumed_at
        gained = self.share() - share_then
        return (1 - self.share()) * (self.state.seconds - seconds_then) / gained if gained > 0 else None

    def _validation_due(self, ending: bool) -> bool:
        state = self.state
        return state.step > 0 and not state.validated and (ending or state.step % self.config.validate_every == 0)

    def _save_due(self) -> bool:
        step, every = self.state.step, self.config.save_every
        return every is not None and step % every == 0 and step != self._saved_at

    def _validate(self, stop: Callable[[], bool]) -> None:
        self._settle()
        state, began = self.state, time.monotonic()
        if self.validator is not None:
            state.score, stopped = self.cluster.from_chief(lambda: self._measure(stop))
            if stopped:
                self._interrupt()
            rank = self.saver.rank(state.score or {})
            state.stale += 1
            if rank < (math.inf if state.best is None else state.best):
                state.best, state.best_step, state.stale = rank, state.step, 0
            self._tick()
            record = {"kind": "validation", "step": state.step, **(state.score or {})}
            self.report.validation({**record, "seconds": round(time.monotonic() - began, 3)})
        state.validated_step = state.step

    def _measure(self, stop: Callable[[], bool]) -> tuple[Score | None, bool]:
        """The scores, and whether measuring was stopped instead."""
        assert self.validator is not None
        try:
            return finite_or_none(self.validator.measure(lambda: stop() or self.cluster.broken())), False
        except Stopped:
            return self.state.score, True

    def _save(self) -> None:
        """Begin to write a checkpoint. Weights that are not finite, which each step would skip, are never written."""
        self._settle()
        self._tick()
        self._saved_at = self.state.step
        spoiled = self.saver.not_finite()
        if spoiled is not None:
            self._roll_back(f"{spoiled} is not finite at step {self.state.step}")
        else:
            self.saver.save(self.state, self.report.warn)
        self._tick()

    def _interrupt(self) -> NoReturn:
        """Save what is not saved yet, and wait until it is on the disk."""
        step, command = self.state.step, self.command
        self.saver.wait(self.report.warn)
        if step != self.cluster.from_chief(self._saved_step):
            self._save()
            self.saver.wait(self.report.warn)
        saved = self.cluster.from_chief(self._saved_step)  # the others wait here until it is on the disk
        if step == saved:
            raise TrainingInterrupted(f"training stopped at step {step} and is saved; go on with: {command}")
        raise TrainingInterrupted(
            f"training stopped at step {step}, which could not be saved; go on from step {saved} with: {command}"
        )

    def _saved_step(self) -> int:
        saved = self.saver.saved_step
        return self._resumed_step if saved is None else saved


def finite_or_none(score: Score) -> Score:
    """JSON has no NaN: a score that is not finite is none."""
    return {name: value if value is not None and math.isfinite(value) else None for name, value in score.items()}
