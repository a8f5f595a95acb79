"""A run's checkpoints in use: writing one, outliving a full disk, thinning them out, choosing what is handed over."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from safetensors import SafetensorError

from regard.config import RunConfig
from regard.data.shards import PreparedData
from regard.errors import CheckpointError
from regard.interop.checkpoints import write_model
from regard.training.checkpoint import CheckpointStore, Entry, plan_kept, verify
from regard.training.state import RunState, entry_of, state_bytes, versions, write_state
from regard.training.step import TrainStep

_MOST_FAILURES = 3  # saves that fail in a row before training gives up


class Saver:
    """Writes and chooses the checkpoints of one run."""

    def __init__(
        self, store: CheckpointStore, run: RunConfig, prepared: PreparedData, dtype: str, step: TrainStep
    ) -> None:
        self.store, self.run, self.prepared, self.dtype, self.step = store, run, prepared, dtype, step
        self._failures = 0

    def save(self, state: RunState, warn: Callable[[str], None]) -> bool:
        """Write the checkpoint of this moment and thin the others out; False where the disk did not take it.

        Raises CheckpointError when that happens three times in a row, and where a weight is not finite.
        """
        require_finite(self.step.model)
        try:
            self.store.write(state.step, lambda directory: self._fill(directory, state), state_bytes(self.step))
        except (OSError, SafetensorError) as error:
            self._failures += 1
            complaint = f"the checkpoint of step {state.step} could not be written: {error}"
            if self._failures == _MOST_FAILURES:
                raise CheckpointError(f"{complaint}; {self._failures} in a row have failed: make room first") from error
            warn(f"{complaint}; training goes on, the older checkpoints stay")
            return False
        self._failures = 0
        self.thin_out()
        return True

    def thin_out(self) -> None:
        """Remove what the keep rules do not keep."""
        self.store.thin_out(self._plan(self._entries()))

    def chosen(self, warn: Callable[[str], None]) -> list[Path]:
        """The checkpoints that the final model is made of: the best one, or those whose mean was asked for.

        Damaged ones are left out, with a warning. Raises CheckpointError if none is left.
        """
        good = [path for path in self._candidates() if _is_good(path, warn)]
        if not good:
            raise CheckpointError(f"{self.store.directory} has no good checkpoint left to make a model of")
        return good[:1] if self.run.training.average == "none" else sorted(good)

    def facts(self) -> dict[str, Any]:
        """What a checkpoint says of where it comes from."""
        return {
            "run": self.run.model_dump(mode="json"),
            "dtype": self.dtype,
            "data_hash": self.prepared.content_hash,
            "tokenizer_hash": self.prepared.tokenizer.content_hash,
            "versions": versions(),
        }

    def rank(self, score: dict[str, Any]) -> float:
        """A validation score as a number, smaller is better."""
        value = score[self.run.training.best]
        if value is None:
            return float("inf")
        return float(value if self.run.training.best == "loss" else -value)

    def _fill(self, directory: Path, state: RunState) -> None:
        facts = self.facts()
        progress = {"step": state.step, "tokens": state.tokens, "score": state.score if state.validated else None}
        write_model(self.step.model, directory, tokenizer=self.prepared.tokenizer, regard={**facts, **progress})
        entries = [*(entry for entry in self._entries() if entry.step != state.step), self._entry(state)]
        write_state(directory, state, self.step, {**facts, "kept": self._plan(entries)})

    def _candidates(self) -> Sequence[Path]:
        """Best first where the best are asked for, else newest first."""
        entries = self._entries()
        validated = [entry for entry in entries if entry.rank is not None]
        ranked = sorted(validated, key=lambda entry: (entry.rank, entry.step))
        newest = sorted(entries, key=lambda entry: -entry.step)
        if self.run.training.average == "none":
            return [self.store.path(entry.step) for entry in ranked or newest]
        why = "best" if self.run.training.average == "best" and ranked else "last"
        return [self.store.path(step) for step, reasons in self._plan(entries).items() if why in reasons]

    def _plan(self, entries: Sequence[Entry]) -> dict[int, list[str]]:
        return plan_kept(entries, self.run.training.keep_last, self.run.training.keep_best)

    def _entries(self) -> list[Entry]:
        return self.store.entries(lambda values: self._entry(RunState.from_json(values["state"])))

    def _entry(self, state: RunState) -> Entry:
        return entry_of(state, self.rank)


def require_finite(model: Any) -> None:
    """Raise CheckpointError that names the first weight with a NaN or an infinity."""
    for weight in model.trainable_variables:
        if not bool(tf.reduce_all(tf.math.is_finite(weight.value))):
            raise CheckpointError(f"the weight {weight.path} is not finite: no such checkpoint is written")


def _is_good(path: Path, warn: Callable[[str], None]) -> bool:
    try:
        verify(path)
    except CheckpointError as error:
        warn(f"{error}; left out")
        return False
    return True
