"""Greedy search and sampling: each hypothesis goes its own way, and only once."""

import math
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

from regard.decoding.best_tokens import BestTokens
from regard.decoding.noise import gumbel
from regard.decoding.options import Array, Generation, GenerationOptions
from regard.decoding.processors import Processors
from regard.decoding.rows import Rows, States
from regard.decoding.tracks import Tracks, empty_tracks, generation, length_divisor, write


class Samples(NamedTuple):
    """The search so far."""

    tracks: Tracks  # (B, W, T) each
    open: Array  # (B, W) bool: not ended yet
    states: States = ()  # (B, W) each


@dataclass(frozen=True)
class Sampler:
    """Takes the likeliest token, or with noise a sample; W hypotheses differ by their noise alone.

    A hypothesis for which every token is banned ends before it; with no token at all it does not exist (score -inf).
    """

    options: GenerationOptions
    process: Processors
    rows: Rows
    ops: ModuleType

    def start(self, batch: Array) -> Samples:
        """Nothing generated yet."""
        open_all = self.ops.full((batch, self.options.width), True, dtype="bool")
        states = self.rows.start(batch, self.options.width, self.ops)
        return Samples(empty_tracks(batch, self.options, self.ops), open_all, states)

    def advance(self, logits: Array, samples: Samples, step: Array) -> tuple[Array, Array, Samples]:
        """Choose from logits (B, W, V), or a `BestTokens` of them: the next ids (B, W), the hypotheses (B, W) they
        extend, and all so far."""
        ops, options = self.ops, self.options
        ids, scores, log_probs = self._chosen(logits, samples, step)
        taken = ops.logical_and(samples.open, scores != -math.inf)
        values: Tracks = (ops.where(taken, ids, -1),)
        if options.return_scores:
            values += (ops.where(taken, log_probs, 0.0),)
        tracks = write(samples.tracks, step, values, ops)
        states, stopped = self.rows.follow(samples.states, ids, ops)
        still_open = ops.logical_and(taken, goes_on(ids, stopped, options.eos_ids, ops))
        return ids, own_parents(ids, ops), Samples(tracks, still_open, states)

    def _chosen(self, logits: Array, samples: Samples, step: Array) -> tuple[Array, Array, Array]:
        """The next ids, their scores, and their log-probabilities where these are asked for: (B, W) each."""
        ops = self.ops
        if isinstance(logits, BestTokens):
            best = logits.log_probs[..., 0]
            return logits.ids[..., 0], best, best
        logits = self.process(logits, samples.tracks[0], step, samples.states)
        ids = ops.cast(ops.argmax(self._noisy(logits, step), axis=-1), "int32")
        scores = ops.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]
        if not self.options.return_scores:
            return ids, scores, scores
        log_probs = ops.take_along_axis(ops.log_softmax(logits, axis=-1), ids[..., None], axis=-1)
        return ids, scores, log_probs[..., 0]

    def _noisy(self, logits: Array, step: Array) -> Array:
        if not self.options.do_sample:
            return logits
        return logits + gumbel(self.rows.seeds, self.options.width, step, logits.shape[-1], self.ops)

    def open_rows(self, samples: Samples) -> Array:
        """(B,) bool: which rows have a hypothesis that has not ended."""
        return self.ops.any(samples.open, axis=1)

    def result(self, samples: Samples) -> Generation:
        """All hypotheses, in the order of their noise."""
        found = generation(samples.tracks, None, self.options, self.ops)
        if not self.options.return_scores:
            return found
        ops = self.ops
        scores = ops.sum(found.token_scores, axis=-1) / length_divisor(ops.maximum(found.lengths, 1), self.options, ops)
        return found._replace(scores=ops.where(found.lengths > 0, scores, -math.inf))


def own_parents(ids: Array, ops: ModuleType) -> Array:
    """(B, W) int32: each hypothesis extends itself."""
    return ops.broadcast_to(ops.arange(ids.shape[1], dtype="int32")[None, :], ops.shape(ids))


def goes_on(ids: Array, stopped: Array | None, ends: tuple[int, ...], ops: ModuleType) -> Array:
    """Where ids (B, W) are none of `ends`, and nothing else stopped there."""
    on = ids >= 0 if stopped is None else ops.logical_not(stopped)
    for token in ends:
        on = ops.logical_and(on, ids != token)
    return on
