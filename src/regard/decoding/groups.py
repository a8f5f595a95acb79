"""Diverse beam search (Vijayakumar et al. 2018): groups of beams, each kept off what the groups before it chose.

Within a step the groups decode one after the other. Each is a beam search of its own, with its own hypotheses; from a
token's log-probability it takes `diversity_penalty` for each running beam of the former groups of the row that takes
the token at this very step (the paper's Hamming diversity, its equation 5). The penalty stays in the beams' scores, as
in Transformers 4; ends do not count, nor do groups that are done. The result is the best of all groups' hypotheses.
"""

import math
from dataclasses import dataclass, replace
from types import ModuleType

from regard.decoding.beam import Beams, BeamSearch
from regard.decoding.options import Array, Generation, GenerationOptions
from regard.decoding.processors import Processors
from regard.decoding.rows import Rows
from regard.decoding.tracks import generation, pick

Groups = tuple[Beams, ...]


@dataclass(frozen=True)
class DiverseBeamSearch:
    """G groups of W / G beams."""

    options: GenerationOptions
    process: Processors
    rows: Rows
    ops: ModuleType

    @property
    def _group(self) -> BeamSearch:
        size = self.options.num_beams // self.options.num_beam_groups
        alone = replace(
            self.options, num_beams=size, num_return_sequences=size, num_beam_groups=1, diversity_penalty=0.0
        )
        return BeamSearch(alone, self.process, self.rows, self.ops)

    def start(self, batch: Array) -> Groups:
        """Each group begins as a beam search does."""
        return (self._group.start(batch),) * self.options.num_beam_groups

    def advance(self, logits: Array, groups: Groups, step: Array) -> tuple[Array, Array, Groups]:
        """Choose from logits (B, W, V): the next ids (B, W), the beams (B, W) they extend, and all so far."""
        ops, search = self.ops, self._group
        size, crowd = search.options.width, ops.zeros_like(logits[:, 0])
        ids, parents, advanced = [], [], []
        for place, beams in enumerate(groups):
            first = place * size
            chosen, extended, found = search.advance(logits[:, first : first + size], beams, step, crowd)
            ids.append(chosen)
            parents.append(extended + first)
            advanced.append(found)
            running = ops.logical_and(beams.open[:, None], found.running_scores > -math.inf)
            crowd = crowd + self._taken(chosen, running, logits.shape[-1])
        return ops.concatenate(ids, axis=1), ops.concatenate(parents, axis=1), tuple(advanced)

    def _taken(self, ids: Array, running: Array, vocab_size: int) -> Array:
        """How many running beams take each token: (B, W), (B, W) bool -> (B, V)."""
        ops = self.ops
        one_hot = ops.logical_and(ids[..., None] == ops.arange(vocab_size, dtype="int32"), running[..., None])
        return ops.sum(ops.cast(one_hot, "float32"), axis=1)

    def open_rows(self, groups: Groups) -> Array:
        """(B,) bool: which rows have a group that can still find something better."""
        open_rows = groups[0].open
        for beams in groups[1:]:
            open_rows = self.ops.logical_or(open_rows, beams.open)
        return open_rows

    def result(self, groups: Groups) -> Generation:
        """The best num_return_sequences hypotheses of all groups; of equal ones the former group's."""
        ops = self.ops
        scores = ops.concatenate([beams.finished_scores for beams in groups], axis=1)
        best, index = ops.top_k(scores, self.options.num_return_sequences)
        finished = zip(*(beams.finished for beams in groups), strict=True)
        tracks = pick(tuple(ops.concatenate(track, axis=1) for track in finished), index, ops)
        return generation(tracks, best, self.options, ops)
