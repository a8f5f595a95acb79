"""What changes the scores of the next token before one is chosen: Transformers' logits processors, in its order.

Scores are (B, W, V) float32, logits or log-probabilities; a banned token has -inf, and the rules together may ban all
of them. A rule that is off adds nothing to the graph.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from regard.decoding import histories, warpers
from regard.decoding.options import Array, GenerationOptions
from regard.decoding.options_checks import Word
from regard.decoding.rows import Rows, States
from regard.decoding.trie import TokenTrie
from regard.errors import ConfigError

Rule = Callable[[Array, Array, Array, ModuleType], Array]  # (scores (B,W,V), generated (B,W,T), step, ops) -> scores


@dataclass(frozen=True)
class Processors:
    """All that `options` ask for, and `rule`, which comes after the other rules and before those of sampling."""

    options: GenerationOptions
    rows: Rows
    ops: ModuleType
    rule: Rule | None = None

    def __call__(
        self, scores: Array, sequences: Array, step: Array, states: States = (), crowd: Array | None = None
    ) -> Array:
        """`sequences` (B, W, T) int32: generated so far, -1 from `step` on; `states` as `Rows` follows them; `crowd`
        (B, V): how many beams of former groups take each token at this step."""
        scores = self._by_history(scores, sequences, step, crowd)
        if isinstance(self.rows.trie, TokenTrie):
            scores = self._only(self.rows.trie.allowed(states[0], self.ops), scores)
        scores = self._by_position(scores, step)
        if self.rule is not None:
            scores = self.rule(scores, sequences, step, self.ops)
        if self.options.do_sample:
            scores = self._for_sampling(scores)
        # Alone, a hypothesis chooses the same token without it, and its log-probabilities are normalised anyway.
        renormalised = self.options.renormalize_logits and self.options.num_beams > 1
        return warpers.normalise(scores, self.ops) if renormalised else scores

    def _by_history(self, scores: Array, sequences: Array, step: Array, crowd: Array | None) -> Array:
        options, ops, source = self.options, self.ops, None
        history, end = self._history(scores, sequences, step)
        if needs_source(options):
            source = self._source(scores)
        if options.sequence_bias:
            scores = histories.bias_sequences(scores, history, end, options.sequence_bias, ops)
        if crowd is not None:
            scores = scores - options.diversity_penalty * crowd[:, None, :]
        if options.encoder_repetition_penalty != 1:
            scores = histories.penalise_repetition(scores, source, 1 / options.encoder_repetition_penalty, ops)
        if options.repetition_penalty != 1:
            scores = histories.penalise_repetition(scores, history, options.repetition_penalty, ops)
        if options.frequency_penalty or options.presence_penalty:
            each, once = options.frequency_penalty, options.presence_penalty
            scores = histories.penalise_frequency(scores, sequences, each, once, ops)
        if options.no_repeat_ngram_size:
            scores = histories.ban_repeated_ngrams(scores, history, end, options.no_repeat_ngram_size, ops)
        if options.encoder_no_repeat_ngram_size:
            size = options.encoder_no_repeat_ngram_size
            scores = histories.ban_repeated_ngrams(scores, history, end, size, ops, among=source)
        if options.bad_words_ids:
            scores = histories.ban_words(scores, history, end, self._words, ops)
        if options.min_new_tokens and options.eos_ids:
            scores = ban_where(step < self.rows.floor(options), scores, options.eos_ids, ops)
        return scores

    def _history(self, scores: Array, sequences: Array, step: Array) -> tuple[Array, Array]:
        """The prompt and what was generated, (B, W, L), and where it ends; nothing where no rule reads it."""
        if not (self.options.repetition_penalty != 1 or self.options.no_repeat_ngram_size or margin(self.options)):
            return None, 0
        prompt = self.rows.prompt
        history = self.ops.concatenate([self._for_each(prompt, scores), sequences], axis=-1)
        return history, self.ops.shape(prompt)[1] + step

    def _source(self, scores: Array) -> Array:
        """(B, W, S), the same for each hypothesis."""
        if isinstance(self.rows.source, tuple):
            raise ConfigError(
                "encoder_repetition_penalty and encoder_no_repeat_ngram_size need the ids of the source, "
                "but there are none: leave them at 1 and 0"
            )
        return self._for_each(self.rows.source, scores)

    def _for_each(self, row: Array, scores: Array) -> Array:
        """(B, L) -> (B, W, L)."""
        shape = (self.ops.shape(scores)[0], scores.shape[1], self.ops.shape(row)[1])
        return self.ops.broadcast_to(row[:, None, :], shape)

    def _only(self, ids: Array, scores: Array) -> Array:
        """Only `ids` (B, W, F), which a trie allows. Where other rules ban them all, the trie wins: each scores 0."""
        ops = self.ops
        allowed = histories.members(ids, scores, ops)
        left = ops.where(allowed, scores, -math.inf)
        together = (1, 2) if self.options.num_beams > 1 else (2,)  # all beams of a row, as Transformers
        nothing = ops.all(left == -math.inf, axis=together, keepdims=True)
        return ops.where(ops.logical_and(allowed, nothing), 0.0, left)

    def _by_position(self, scores: Array, step: Array) -> Array:
        options, ops = self.options, self.ops
        bos = options.forced_bos_token_id
        if bos is not None:
            scores = force_where(ops.logical_and(self._unprompted, step < 1), scores, (bos,), ops)
        if options.forced_eos_ids:
            scores = force_where(step >= self.rows.limit(options) - 1, scores, options.forced_eos_ids, ops)
        if options.remove_invalid_values:
            scores = without_invalid(scores, ops)
        if options.exponential_decay_length_penalty and options.eos_ids:
            start, factor = options.exponential_decay_length_penalty
            scores = favour_end(scores, step - start, factor, options.eos_ids, ops)
        if options.suppress_tokens:
            scores = ops.where(histories.is_one_of(options.suppress_tokens, scores.shape[-1]), -math.inf, scores)
        if options.begin_suppress_tokens:
            first = step == (0 if bos is None else ops.cast(self._unprompted, "int32"))
            scores = ban_where(first, scores, options.begin_suppress_tokens, ops)
        return scores

    @property
    def _unprompted(self) -> Array:
        """(B, 1, 1) bool: the row's prompt is a start token alone."""
        return self.ops.sum(self.ops.cast(self.rows.prompt >= 0, "int32"), axis=-1)[:, None, None] <= 1

    def _for_sampling(self, scores: Array) -> Array:
        options, ops = self.options, self.ops
        beams = options.num_beams > 1
        keep = len(options.eos_ids) + 1 if beams else 1  # a beam needs a way on besides the end
        if options.temperature != 1:  # beams add up what comes out, so theirs cannot be shifted
            temperature = options.temperature
            scores = scores / temperature if beams else warpers.scale_by_temperature(scores, temperature, ops)
        if options.top_h is not None:
            scores = warpers.keep_top_h(scores, options.top_h, ops)
        if options.top_k:
            scores = warpers.keep_top_k(scores, max(options.top_k, keep), ops)
        if options.top_p < 1:
            scores = warpers.keep_top_p(scores, options.top_p, keep, ops)
        if options.min_p:
            scores = warpers.keep_min_p(scores, options.min_p, keep, ops)
        if options.typical_p < 1:
            scores = warpers.keep_typical(scores, options.typical_p, keep, ops)
        if options.epsilon_cutoff:
            scores = warpers.keep_epsilon(scores, options.epsilon_cutoff, keep, ops)
        if options.eta_cutoff:
            scores = warpers.keep_eta(scores, options.eta_cutoff, keep, ops)
        return scores

    @property
    def _words(self) -> list[Word]:
        """Transformers never bans an end of sequence as a bad word."""
        return [word for word in self.options.bad_words_ids if word not in {(eos,) for eos in self.options.eos_ids}]


def needs_source(options: GenerationOptions) -> bool:
    """Whether a rule reads the ids of the source."""
    return options.encoder_repetition_penalty != 1 or options.encoder_no_repeat_ngram_size > 0


def reads_prompt(options: GenerationOptions) -> bool:
    """Whether a rule looks at the ids of a prompt."""
    repeats = options.repetition_penalty != 1 or options.no_repeat_ngram_size > 0
    return repeats or needs_source(options) or margin(options) > 0


def margin(options: GenerationOptions) -> int:
    """How many of the last tokens the rules on sequences look at."""
    sizes = [options.no_repeat_ngram_size, options.encoder_no_repeat_ngram_size, 1]
    return max(*sizes, *map(len, options.bad_words_ids), *(len(word) for word, _ in options.sequence_bias)) - 1


def ban_where(condition: Array, scores: Array, ids: Sequence[int], ops: ModuleType) -> Array:
    """Where `condition`, a scalar or (B, 1, 1), holds, none of `ids` may come."""
    return ops.where(ops.logical_and(condition, histories.is_one_of(ids, scores.shape[-1])), -math.inf, scores)


def force_where(condition: Array, scores: Array, ids: Sequence[int], ops: ModuleType) -> Array:
    """Where `condition`, a scalar or (B, 1, 1), holds, only `ids` may come, each with score 0."""
    forced = np.where(histories.is_one_of(ids, scores.shape[-1]), 0, -np.inf).astype("float32")
    return ops.where(condition, forced, scores)


def favour_end(scores: Array, late: Array, factor: float, ids: Sequence[int], ops: ModuleType) -> Array:
    """From `late` = 1 on, the finite scores of `ids` gain |score| (factor**late - 1)."""
    finite = ops.logical_and(histories.is_one_of(ids, scores.shape[-1]), ops.abs(scores) < math.inf)
    gain = ops.abs(ops.where(finite, scores, 0.0)) * (ops.power(factor, ops.cast(late, "float32")) - 1)
    return ops.where(late > 0, scores + gain, scores)


def without_invalid(scores: Array, ops: ModuleType) -> Array:
    """0 for NaN, and the largest numbers for the infinities."""
    limits = np.finfo("float32")
    numbers = ops.where(ops.isnan(scores), 0.0, scores)
    return ops.minimum(ops.maximum(numbers, float(limits.min)), float(limits.max))
