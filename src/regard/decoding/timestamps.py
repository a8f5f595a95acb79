"""Whisper's rules on timestamps (Radford et al. 2022, section 2.3): a rule that a search takes as its own."""

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from regard.decoding.options import Array

_LOWEST = float(np.finfo("float32").min)


@dataclass(frozen=True)
class TimestampRule:
    """Timestamps come in pairs, never fall, and come at all where they are likelier together than any other token.

    Hashable; for `Search(..., rule=...)`, as Transformers' WhisperTimeStampLogitsProcessor.
    """

    begin: int  # the id of <|0.00|>; all from here on are timestamps
    eos: int  # below it are the tokens of text
    no_timestamps: int  # the id of <|notimestamps|>, which never comes
    latest_first: int | None = None  # in steps of a timestamp: the first one is not later

    def __call__(self, scores: Array, generated: Array, step: Array, ops: ModuleType) -> Array:
        """Scores (B, W, V) after generated (B, W, T), which is -1 from `step` on."""
        tokens = np.arange(scores.shape[-1])
        stamps, floor = tokens >= self.begin, self._floor(generated, step, ops)
        after, within = self._place(generated, step, ops)
        banned = ops.logical_or(tokens == self.no_timestamps, ops.logical_and(stamps, tokens < floor))
        banned = ops.logical_or(banned, ops.logical_and(after, stamps))
        banned = ops.logical_or(banned, ops.logical_and(within, tokens < self.eos))
        banned = ops.logical_or(banned, ops.logical_and(step < 1, self._not_first(tokens)))
        scores = ops.where(banned, -float("inf"), scores)
        certain = self._together(scores, stamps, ops)
        return ops.where(ops.logical_and(certain, tokens < self.begin), -float("inf"), scores)

    def _place(self, generated: Array, step: Array, ops: ModuleType) -> tuple[Array, Array]:
        """(B, W, 1) bool each: after a pair of timestamps (or the first one alone), and after the first of a pair."""

        def is_stamp(back: int) -> Array:
            token = ops.take(generated, ops.maximum(step - back, 0), axis=-1)[..., None]
            return ops.logical_and(token >= self.begin, step >= back)

        last, before = is_stamp(1), ops.logical_or(is_stamp(2), step < 2)
        return ops.logical_and(last, before), ops.logical_and(last, ops.logical_not(before))

    def _floor(self, generated: Array, step: Array, ops: ModuleType) -> Array:
        """(B, W, 1): the least timestamp that may come. The second of a pair may equal the first."""
        latest = ops.max(generated, axis=-1, keepdims=True)
        _, within = self._place(generated, step, ops)
        return ops.where(within, latest, latest + 1)

    def _not_first(self, tokens: np.ndarray) -> np.ndarray:
        early = tokens < self.begin
        return early if self.latest_first is None else early | (tokens > self.begin + self.latest_first)

    @staticmethod
    def _together(scores: Array, stamps: np.ndarray, ops: ModuleType) -> Array:
        """(B, W, 1) bool: whether the timestamps' probability is above that of the likeliest other token."""
        shares = ops.exp(scores - ops.maximum(ops.max(scores, axis=-1, keepdims=True), _LOWEST))
        of_stamps = ops.sum(ops.where(stamps, shares, 0.0), axis=-1)[..., None]
        return of_stamps > ops.max(ops.where(stamps, 0.0, shares), axis=-1, keepdims=True)
