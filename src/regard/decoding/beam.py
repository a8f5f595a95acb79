"""Beam search with the rules of Transformers' `generate`, so that ids and scores agree.

Each step takes the best (1 + number of eos ids) * W continuations, so that W of them go on even if every end comes
first. Those of the best W that end become hypotheses, and the W best hypotheses by penalised score are kept.
"""

import math
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

from regard.decoding.best_tokens import BestTokens
from regard.decoding.noise import gumbel
from regard.decoding.options import Array, Generation, GenerationOptions
from regard.decoding.processors import Processors
from regard.decoding.rows import Rows, States
from regard.decoding.sample import goes_on
from regard.decoding.tracks import Tracks, empty_tracks, generation, length_divisor, pick, write
from regard.errors import ConfigError

_NOTHING = -1e9  # below it Transformers takes nothing for a hypothesis


class Beams(NamedTuple):
    """The search so far."""

    running: Tracks  # (B, W, T) each
    running_scores: Array  # (B, W): sums of log-probabilities, falling; -inf: no such beam
    finished: Tracks  # (B, W, T) each
    finished_scores: Array  # (B, W): penalised, falling; -inf: no such hypothesis
    open: Array  # (B,) bool: the row may still find something better
    states: States = ()  # (B, W) each, of the running beams


class Candidates(NamedTuple):
    """The best continuations of all running beams, best first."""

    scores: Array  # (B, K): sums of log-probabilities
    parents: Array  # (B, K) int32
    values: Tracks  # (B, K) each, a column of the tracks
    ends: Array  # (B, K) bool: eos or another stop
    states: States  # (B, K) each


@dataclass(frozen=True)
class BeamSearch:
    """W beams that compete for the W best hypotheses.

    A beam for which every token is banned dies: all of its continuations have -inf, and none becomes a hypothesis.
    """

    options: GenerationOptions
    process: Processors
    rows: Rows
    ops: ModuleType

    def start(self, batch: Array) -> Beams:
        """All beams are equal now, so only the first one counts."""
        ops, width = self.ops, self.options.width
        first = ops.broadcast_to(ops.arange(width, dtype="int32")[None, :] == 0, (batch, width))
        tracks = empty_tracks(batch, self.options, ops)
        none = ops.full((batch, width), -math.inf, dtype="float32")
        all_open, states = ops.full((batch,), True, dtype="bool"), self.rows.start(batch, width, ops)
        return Beams(tracks, ops.where(first, 0.0, none), tracks, none, all_open, states)

    def advance(
        self, logits: Array, beams: Beams, step: Array, crowd: Array | None = None
    ) -> tuple[Array, Array, Beams]:
        """Choose from logits (B, W, V), or a `BestTokens` of them: the next ids (B, W), the beams (B, W) that they
        extend, and all so far. `crowd` (B, V) counts the beams of former groups that take each token."""
        ops, width = self.ops, self.options.width
        candidates = self._candidates(logits, beams, step, crowd)
        running_scores, chosen = ops.top_k(ops.where(candidates.ends, -math.inf, candidates.scores), width)
        parents = ops.take_along_axis(candidates.parents, chosen, axis=1)
        values, states = (
            tuple(ops.take_along_axis(value, chosen, axis=1) for value in of)
            for of in (candidates.values, candidates.states)
        )
        running = write(pick(beams.running, parents, ops), step, values, ops)
        finished, finished_scores = self._finished(candidates, beams, step)
        if self.options.beam_threshold is not None:
            running_scores = self._near_the_best(running_scores, finished_scores, step + 1)
        still_open = ops.logical_and(beams.open, self._may_improve(running_scores, finished_scores, step + 1))
        return values[0], parents, Beams(running, running_scores, finished, finished_scores, still_open, states)

    def _candidates(self, logits: Array, beams: Beams, step: Array, crowd: Array | None) -> Candidates:
        ops, options = self.ops, self.options
        log_probs, offered = self._offered(logits, beams, step, crowd)
        each, count = log_probs.shape[-1], max(2, 1 + len(options.eos_ids)) * options.width
        if options.width * each < count:
            raise ConfigError(f"beam search needs a token besides eos, but the vocabulary's size is {each}")
        totals = ops.reshape(log_probs + beams.running_scores[:, :, None], (-1, options.width * each))
        if options.remove_invalid_values:  # so that the lowest of numbers ends no search
            totals = ops.where(totals < _NOTHING, -math.inf, totals)
        scores, index = self._best(totals, step, count, each)
        parents = index // each
        ids = index % each if offered is None else self._at(offered, index)
        values: Tracks = (ids,)
        if options.return_scores:
            values += (self._at(log_probs, index),)
        before = tuple(ops.take_along_axis(state, parents, axis=1) for state in beams.states)
        states, stopped = self.rows.follow(before, ids, ops)
        on = goes_on(ids, stopped, options.eos_ids, ops)
        return Candidates(scores, parents, values, ops.logical_not(on), states)

    def _offered(self, logits: Array, beams: Beams, step: Array, crowd: Array | None) -> tuple[Array, Array | None]:
        """The log-probabilities of each beam's next token, (B, W, V or C), and their ids, None where they are all."""
        if isinstance(logits, BestTokens):
            return logits
        scores = self.ops.log_softmax(logits, axis=-1)
        return self.process(scores, beams.running[0], step, beams.states, crowd), None

    def _at(self, of_each: Array, index: Array) -> Array:
        """What stands at index (B, K) of the beams' (B, W, C) side by side."""
        ops = self.ops
        return ops.take_along_axis(ops.reshape(of_each, (-1, of_each.shape[1] * of_each.shape[2])), index, axis=1)

    def _best(self, totals: Array, step: Array, count: int, vocab_size: int) -> tuple[Array, Array]:
        """The `count` best of totals (B, W * V), or where the options sample, drawn without replacement."""
        ops, width = self.ops, self.options.width
        if not self.options.do_sample:
            scores, index = ops.top_k(totals, count)
            return scores, index
        noise = ops.reshape(gumbel(self.rows.seeds, width, step, vocab_size, ops), (-1, width * vocab_size))
        _, index = ops.top_k(totals + noise, count)
        return ops.take_along_axis(totals, index, axis=1), index

    def _finished(self, candidates: Candidates, beams: Beams, step: Array) -> tuple[Tracks, Array]:
        """The hypotheses, with those of the W best candidates that end here."""
        ops, width = self.ops, self.options.width
        ends = ops.logical_or(candidates.ends[:, :width], step >= self.rows.limit(self.options) - 1)
        ends = ops.logical_and(ends, beams.open[:, None])
        penalised = candidates.scores[:, :width] / length_divisor(step + 1, self.options, ops)
        scores = ops.concatenate([beams.finished_scores, ops.where(ends, penalised, -math.inf)], axis=1)
        # Of equal scores the first is taken, so what does not exist is never preferred to an empty slot.
        finished_scores, chosen = ops.top_k(scores, width)
        values = tuple(value[:, :width] for value in candidates.values)
        ended = write(pick(beams.running, candidates.parents[:, :width], ops), step, values, ops)
        merged = tuple(ops.concatenate(pair, axis=1) for pair in zip(beams.finished, ended, strict=True))
        return pick(merged, chosen, ops), finished_scores

    def _near_the_best(self, running_scores: Array, finished_scores: Array, length: Array) -> Array:
        """The beams (B, W), -inf for those given up: more than `beam_threshold` nats behind the best of them, or behind
        what a beam of this length would need for the score of the best hypothesis.

        Relative threshold pruning (Freitag and Al-Onaizan 2017, section 3), with the length penalty between beams and
        what ended before them: without it an end that came too soon would outlast them all.
        """
        ops = self.ops
        best = finished_scores[:, 0] * length_divisor(length, self.options, ops)
        least = ops.maximum(running_scores[:, 0], best) - self.options.beam_threshold
        return ops.where(running_scores < least[:, None], -math.inf, running_scores)

    def _may_improve(self, running_scores: Array, finished_scores: Array, length: Array) -> Array:
        """(B,) bool: whether the best beam could still beat the worst hypothesis; -inf is beaten by any.

        Transformers' estimate: the beam's score as if it ended at this length, or under "never", if length pays, at
        the greatest.
        """
        options, ops = self.options, self.ops
        if options.early_stopping == "never" and options.length_penalty > 0:
            length = self.rows.limit(options)
        reachable = running_scores[:, 0] / length_divisor(length, options, ops)
        worst = finished_scores[:, -1]
        improvable = reachable > worst
        return ops.logical_and(improvable, worst == -math.inf) if options.early_stopping is True else improvable

    def open_rows(self, beams: Beams) -> Array:
        """(B,) bool: which rows can still find something better."""
        return beams.open

    def result(self, beams: Beams) -> Generation:
        """The best num_return_sequences hypotheses."""
        count = self.options.num_return_sequences
        tracks = tuple(track[:, :count] for track in beams.finished)
        return generation(tracks, beams.finished_scores[:, :count], self.options, self.ops)
