"""The training loop: steps until a budget is met, with validation, checkpoints and early stopping on the way."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

import numpy as np

from regard.batch import IGNORED_LABEL, Batch
from regard.config import RunConfig
from regard.data.batching import BucketedBatches, Position
from regard.errors import RegardError, TrainingInterrupted
from regard.training.progress import Report
from regard.training.saving import Saver
from regard.training.schedule import learning_rate
from regard.training.state import Interval, RunState
from regard.training.step import TrainStep
from regard.training.validation import Stopped, Validator


class Attempt(NamedTuple):
    """A step whose outcome has not been asked of the device yet."""

    step: int
    position: Position  # of its first micro-batch
    finite: Any  # a boolean tensor


class Loop:
    """One process's share of a run, from `state` on."""

    def __init__(
        self,
        run: RunConfig,
        state: RunState,
        step: TrainStep,
        batches: BucketedBatches,
        validator: Validator | None,
        saver: Saver,
        report: Report,
        command: str,
    ) -> None:
        self.run, self.config, self.state, self.step = run, run.training, state, step
        self.batches, self.validator, self.saver, self.report = batches, validator, saver, report
        self.command = command  # that goes on
        self._width = step.model.spec.text.width
        self._attempts: list[Attempt] = []
        self._saved_step = state.step
        self._traced = False  # the first step also builds its graph
        self._clock = time.monotonic() - state.seconds
        self._resumed_at = (self.share(), state.seconds)

    def train(self, stop: Callable[[], bool]) -> str:
        """Train until a budget is met, and say which. Raises TrainingInterrupted, after saving, if `stop` says so."""
        feed = self.batches.iterate(self.state.position)
        while True:
            met = self._budget_met()
            if stop():
                self._interrupt()
            if self._validation_due(ending=met is not None):
                self._validate(stop)
                self._save()
            elif met is not None:
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
        finite = self.step(batches, self._rate(state.step + 1))
        state.step += 1
        self._attempts.append(Attempt(state.step, at, finite))
        log_due = state.step % self.config.log_every == 0
        if log_due or len(self._attempts) >= self.config.max_bad_steps:
            self._settle()
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
        interval = self.state.interval
        targets = int(np.count_nonzero(batch["labels"] != IGNORED_LABEL))
        interval.real_tokens += targets + int(batch["attention_mask"].sum())
        interval.places += batch["labels"].size + batch["input_ids"].size
        self.state.tokens += targets
        return batch

    def _rate(self, step: int) -> float:
        return learning_rate(step, self.config.schedule, width=self._width, total_steps=self.config.steps)

    def _tick(self) -> None:
        self.state.seconds = time.monotonic() - self._clock

    def _settle(self) -> None:
        """Ask the device what became of the steps; this waits for them. Too many bad ones in a row end the run."""
        state = self.state
        for attempt in self._attempts:
            if bool(attempt.finite):
                state.skipped_in_row = 0
                continue
            state.skipped += 1
            state.skipped_in_row += 1
            self.report.skipped({"kind": "skipped", "step": attempt.step, **attempt.position._asdict()})
            if state.skipped_in_row >= self.config.max_bad_steps:
                raise RegardError(
                    f"training stopped: {state.skipped_in_row} steps in a row had no finite loss or gradient, up to "
                    f"step {attempt.step} (epoch {attempt.position.epoch}, batch {attempt.position.batch}); the last "
                    f"good checkpoint is in {self.saver.store.directory}; lower the learning rate or look at that "
                    "data, and train in a new directory"
                )
        self._attempts.clear()

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

    def _validate(self, stop: Callable[[], bool]) -> None:
        self._settle()
        state, began = self.state, time.monotonic()
        if self.validator is not None:
            try:
                state.score = finite_or_none(self.validator.measure(stop))
            except Stopped:
                self._interrupt()
            rank = self.saver.rank(state.score or {})
            state.stale += 1
            if rank < (math.inf if state.best is None else state.best):
                state.best, state.best_step, state.stale = rank, state.step, 0
            self._tick()
            record = {"kind": "validation", "step": state.step, **(state.score or {})}
            self.report.validation({**record, "seconds": round(time.monotonic() - began, 3)})
        state.validated_step = state.step

    def _save(self) -> bool:
        self._settle()
        self._tick()
        saved = self.saver.save(self.state, self.report.warn)
        self._tick()
        if saved:
            self._saved_step = self.state.step
        return saved

    def _interrupt(self) -> NoReturn:
        step, command = self.state.step, self.command
        if step == self._saved_step or self._save():
            raise TrainingInterrupted(f"training stopped at step {step} and is saved; go on with: {command}")
        raise TrainingInterrupted(
            f"training stopped at step {step}, which could not be saved; "
            f"go on from step {self._saved_step} with: {command}"
        )


def finite_or_none(score: dict[str, float | None]) -> dict[str, float | None]:
    """JSON has no NaN: a score that is not finite is none."""
    return {name: value if value is not None and math.isfinite(value) else None for name, value in score.items()}
