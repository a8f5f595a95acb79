"""A run's checkpoints in use: writing them beside training, outliving a full disk, thinning them out, choosing."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self

from regard.config import RunConfig
from regard.data.shards import PreparedData
from regard.errors import CheckpointError
from regard.interop.checkpoints import SavesItself, write_model
from regard.interop.sentence_files import SentenceFiles
from regard.metrics.catalog import METRICS
from regard.training.checkpoint import CheckpointStore, Entry, plan_kept, verify
from regard.training.state import (
    RunState,
    Snapshot,
    entry_of,
    machine,
    not_finite,
    restore,
    snapshot,
    versions,
    write_state,
)
from regard.training.step import TrainStep

_MOST_FAILURES = 3  # saves that fail in a row before training gives up

Warn = Callable[[str], None]


class Pending(NamedTuple):
    """A checkpoint that is being written."""

    step: int
    written: Future[None]


class Saver:
    """Writes and chooses the checkpoints of one run, on the chief of a cluster alone; used as a context manager, whose
    end waits for the last one.

    Training waits while the tensors are copied in memory, no longer: a thread writes, hashes and syncs the files. So a
    checkpoint takes, for as long as it is written, its own size of memory once more (with Adam 12 bytes a parameter),
    and up to 8 bytes a parameter for the file at hand. There is one at a time: a save waits for the one before.
    """

    def __init__(
        self, store: CheckpointStore, run: RunConfig, prepared: PreparedData, dtype: str, step: TrainStep
    ) -> None:
        self.cluster = step.cluster
        self.store, self.run, self.prepared, self.dtype, self.step = store, run, prepared, dtype, step
        self.saved_step: int | None = None  # of the last checkpoint that this process has brought to the disk
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Pending | None = None
        self._failures = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    @property
    def writing(self) -> bool:
        """Whether a checkpoint is being written at this moment."""
        return self._pending is not None and not self._pending.written.done()

    @property
    def companions(self) -> SavesItself:
        """What is saved beside the weights: the tokenizer, how images are prepared, and what makes vectors of an
        embedder's hidden states."""
        if self.run.task == "embed":
            return SentenceFiles(self.prepared.tokenizer, self.step.model.spec.text.width)
        return self.prepared

    def save(self, state: RunState, warn: Warn) -> None:
        """Begin to write the checkpoint of this moment, and thin the others out when it is whole. Raises as `wait`."""
        self.wait(warn)
        if not self.cluster.chief:
            return
        self._pending = Pending(state.step, self._thread.submit(self._write, snapshot(state, self.step)))

    def look(self, warn: Warn) -> None:
        """What `wait` would say, if that takes no waiting."""
        if self._pending is not None and self._pending.written.done():
            self.wait(warn)

    def wait(self, warn: Warn) -> None:
        """Wait until the checkpoint that was begun is on the disk; a warning where the disk did not take it.

        Raises CheckpointError when that has happened three times in a row.
        """
        if self._pending is None:
            return
        (step, written), self._pending = self._pending, None
        try:
            written.result()
        except OSError as error:
            self._failures += 1
            complaint = f"the checkpoint of step {step} could not be written: {error}"
            if self._failures == _MOST_FAILURES:
                raise CheckpointError(f"{complaint}; {self._failures} in a row have failed: make room first") from error
            warn(f"{complaint}; training goes on, the older checkpoints stay")
        else:
            self._failures, self.saved_step = 0, step

    def thin_out(self) -> None:
        """Remove what the keep rules do not keep."""
        if not self.cluster.chief:
            return
        self.store.thin_out(self._plan(self._entries()))

    def not_finite(self) -> str | None:
        """The first tensor that may not be written, by its path."""
        return not_finite(self.step)

    def restore_steady(self, warn: Warn) -> int | None:
        """Fill model, optimizer and statistics from the newest good steady checkpoint; its step, None without one.

        Steady is one that was written by schedule, and not in the midst of steps that were skipped: so which one it is
        does not depend on where training was stopped and went on.
        """
        self.wait(warn)
        step = self.cluster.from_chief(lambda: self._newest_steady(warn))
        return None if step is None else restore(self.store.path(step), self.step).step

    def chosen(self, warn: Warn) -> list[Path]:
        """The checkpoints that the final model is made of: the best one, or those whose mean was asked for.

        Damaged ones are left out, with a warning. Raises CheckpointError if none is left.
        """
        good = [path for path in self._candidates() if _is_good(path, warn)]
        if not good:
            raise CheckpointError(f"{self.store.directory} has no good checkpoint left to make a model of")
        return good[:1] if self.run.training.average in ("none", "ema") else sorted(good)

    def facts(self) -> dict[str, Any]:
        """What a checkpoint says of where it comes from."""
        return {
            "run": self.run.model_dump(mode="json"),
            "dtype": self.dtype,
            "streams": self.step.streams,
            "data_hash": self.prepared.content_hash,
            "tokenizer_hash": self.prepared.tokenizer_hash,
            "versions": versions(),
        }

    def rank(self, score: dict[str, Any]) -> float:
        """A validation score as a number, smaller is better."""
        best = self.run.training.best
        value = score[best]
        if value is None:
            return float("inf")
        return float(value if METRICS[best].better == "lower" else -value)

    def _write(self, taken: Snapshot) -> None:
        """In the thread."""
        self.store.write(taken.state.step, lambda directory: self._fill(directory, taken), taken.size)
        self.thin_out()

    def _fill(self, directory: Path, taken: Snapshot) -> None:
        facts, state = self.facts(), taken.state
        progress = {"step": state.step, "tokens": state.tokens, "score": state.score if state.validated else None}
        about = {**facts, **progress}
        write_model(self.step.model, directory, tokenizer=self.companions, regard=about, values=taken.weights)
        entries = [*(entry for entry in self._entries() if entry.step != state.step), self._entry(state)]
        write_state(directory, taken, {**facts, "machine": machine(), "kept": self._plan(entries)})

    def _newest_steady(self, warn: Warn) -> int | None:
        steps = sorted((entry.step for entry in self._entries() if entry.regular and entry.steady), reverse=True)
        return next((step for step in steps if _is_good(self.store.path(step), warn)), None)

    def _candidates(self) -> Sequence[Path]:
        """Best first where the best are asked for, else newest first."""
        entries = self._entries()
        validated = [entry for entry in entries if entry.rank is not None]
        ranked = sorted(validated, key=lambda entry: (entry.rank, entry.step))
        newest = sorted(entries, key=lambda entry: -entry.step)
        if self.run.training.average in ("none", "ema"):
            return [self.store.path(entry.step) for entry in ranked or newest]
        why = "best" if self.run.training.average == "best" and ranked else "last"
        return [self.store.path(step) for step, reasons in self._plan(entries).items() if why in reasons]

    def _plan(self, entries: Sequence[Entry]) -> dict[int, list[str]]:
        return plan_kept(entries, self.run.training.keep_last, self.run.training.keep_best)

    def _entries(self) -> list[Entry]:
        return self.store.entries(lambda values: self._entry(RunState.from_json(values["state"])))

    def _entry(self, state: RunState) -> Entry:
        return entry_of(state, self.rank)


def _is_good(path: Path, warn: Warn) -> bool:
    try:
        verify(path)
    except CheckpointError as error:
        warn(f"{error}; left out")
        return False
    return True
