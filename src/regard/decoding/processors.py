"""What changes the scores of the next token before one is chosen: Transformers' logits processors, in its order.

Scores are (B, W, V) float32, logits or log-probabilities; a banned token has -inf, and the rules together may ban all
of them. A history is (B, W, L) int32, the prompt, then what was generated; -1 stands for no token (before a short
prompt, and from `end` on).
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from regard.decoding.options import Array, GenerationOptions
from regard.errors import ConfigError


@dataclass(frozen=True)
class Processors:
    """All that `options` ask for. `prompt` is (B, P) int32 from `aligned_prompt`."""

    options: GenerationOptions
    prompt: Array
    ops: ModuleType

    def __call__(self, scores: Array, sequences: Array, step: Array) -> Array:
        """`sequences` (B, W, T) int32: generated so far, -1 from `step` on."""
        options, ops = self.options, self.ops
        if self._needs_history:
            width, start = scores.shape[1], self.prompt.shape[1]
            prompt = ops.broadcast_to(self.prompt[:, None, :], (ops.shape(scores)[0], width, start))
            scores = self._by_history(scores, ops.concatenate([prompt, sequences], axis=-1), start + step)
        elif options.bad_words_ids:
            scores = ban_words(scores, None, 0, self._words, ops)
        if options.min_new_tokens and options.eos_ids:
            scores = ban_where(step < options.min_new_tokens, scores, options.eos_ids, ops)
        if options.forced_bos_token_id is not None:
            scores = force_where(step < 1, scores, (options.forced_bos_token_id,), ops)
        if options.forced_eos_ids:
            scores = force_where(step >= options.max_new_tokens - 1, scores, options.forced_eos_ids, ops)
        if options.do_sample:
            scores = self._for_sampling(scores)
        # Alone, a hypothesis chooses the same token without it, and its log-probabilities are normalised anyway.
        return normalise(scores, ops) if options.renormalize_logits and options.num_beams > 1 else scores

    def _by_history(self, scores: Array, history: Array, end: Array) -> Array:
        options, ops = self.options, self.ops
        if options.repetition_penalty != 1:
            scores = penalise_repetition(scores, history, options.repetition_penalty, ops)
        if options.no_repeat_ngram_size:
            scores = ban_repeated_ngrams(scores, history, end, options.no_repeat_ngram_size, ops)
        return ban_words(scores, history, end, self._words, ops) if options.bad_words_ids else scores

    def _for_sampling(self, scores: Array) -> Array:
        options, ops = self.options, self.ops
        beams = options.num_beams > 1
        keep = len(options.eos_ids) + 1 if beams else 1  # a beam needs a way on besides the end
        if options.temperature != 1:  # beams add up what comes out, so theirs cannot be shifted
            temperature = options.temperature
            scores = scores / temperature if beams else scale_by_temperature(scores, temperature, ops)
        if options.top_k:
            scores = keep_top_k(scores, max(options.top_k, keep), ops)
        if options.top_p < 1:
            scores = keep_top_p(scores, options.top_p, keep, ops)
        if options.min_p:
            scores = keep_min_p(scores, options.min_p, keep, ops)
        return scores

    @property
    def _needs_history(self) -> bool:
        options = self.options
        return options.repetition_penalty != 1 or options.no_repeat_ngram_size > 0 or suffix_length(options) > 0

    @property
    def _words(self) -> list[tuple[int, ...]]:
        """Transformers never bans an end of sequence as a bad word."""
        return [word for word in self.options.bad_words_ids if word not in {(eos,) for eos in self.options.eos_ids}]


def suffix_length(options: GenerationOptions) -> int:
    """How many of the last tokens the rules on sequences look at."""
    return max([options.no_repeat_ngram_size, *map(len, options.bad_words_ids), 1]) - 1


def aligned_prompt(prompt: Array, mask: Array | None, margin: int, ops: ModuleType) -> Array:
    """The prompt (B, P) with its real tokens at the right end, after -1 for padding and `margin` more of it.

    So what the rules read does not depend on the side that was padded, nor on the batch-mates' lengths.
    """
    prompt = ops.cast(prompt, "int32")
    if mask is not None:
        real, length = ops.cast(mask, "int32"), ops.shape(prompt)[1]
        order = ops.argsort(real * length + ops.arange(length, dtype="int32"), axis=-1)
        prompt = ops.take_along_axis(ops.where(real > 0, prompt, -1), order, axis=-1)
    missing = ops.full((ops.shape(prompt)[0], margin), -1, dtype="int32")
    return ops.concatenate([missing, prompt], axis=-1)


def penalise_repetition(scores: Array, history: Array, penalty: float, ops: ModuleType) -> Array:
    """Scores of tokens in the history: divided by the penalty where positive, multiplied where negative.

    Keskar et al. 2019, section 4.1, with Transformers' treatment of the sign.
    """
    penalised = ops.where(scores < 0, scores * penalty, scores / penalty)
    return ops.where(_members(history, scores, ops), penalised, scores)


def ban_repeated_ngrams(scores: Array, history: Array, end: Array, size: int, ops: ModuleType) -> Array:
    """No token may complete an n-gram of this size that the history holds already (Paulus et al. 2017, section 2.5)."""
    windows = history.shape[-1] - size + 1
    suffix = _suffix(history, end, size - 1, ops)
    matches = history[..., :windows] >= 0
    for offset in range(size - 1):
        matches = ops.logical_and(matches, history[..., offset : offset + windows] == suffix[..., offset : offset + 1])
    completions = ops.where(matches, history[..., size - 1 :], -1)
    return ops.where(_members(completions, scores, ops), -math.inf, scores)


def ban_words(scores: Array, history: Array, end: Array, words: Sequence[tuple[int, ...]], ops: ModuleType) -> Array:
    """No token may complete one of these sequences; words of one token need no history."""
    vocab_size = scores.shape[-1]
    by_length = defaultdict(list)
    for word in words:
        if max(word) >= vocab_size:
            raise ConfigError(f"bad_words_ids must be below the vocabulary's size ({vocab_size}), but has {max(word)}")
        by_length[len(word)].append(word)
    singles = [token for (token,) in by_length.pop(1, [])]
    if singles:
        scores = scores + np.where(_is_one_of(singles, vocab_size), -np.inf, 0).astype("float32")
    for length, group in by_length.items():
        table = np.array(group, "int32")
        suffix = _suffix(history, end, length - 1, ops)[:, :, None, :]
        matches = ops.all(suffix == table[None, None, :, :-1], axis=-1)
        completions = ops.where(matches, table[None, None, :, -1], -1)
        scores = ops.where(_members(completions, scores, ops), -math.inf, scores)
    return scores


def ban_where(condition: Array, scores: Array, ids: Sequence[int], ops: ModuleType) -> Array:
    """Where the scalar `condition` holds, none of `ids` may come."""
    return ops.where(ops.logical_and(condition, _is_one_of(ids, scores.shape[-1])), -math.inf, scores)


def force_where(condition: Array, scores: Array, ids: Sequence[int], ops: ModuleType) -> Array:
    """Where the scalar `condition` holds, only `ids` may come, each with score 0."""
    forced = np.where(_is_one_of(ids, scores.shape[-1]), 0, -np.inf).astype("float32")
    return ops.where(condition, forced, scores)


def scale_by_temperature(scores: Array, temperature: float, ops: ModuleType) -> Array:
    """Scores over the temperature, up to a constant: the largest goes to 0, so that one near 0 cannot overflow."""
    return (scores - ops.maximum(ops.max(scores, axis=-1, keepdims=True), _LOWEST)) / temperature


def keep_top_k(scores: Array, count: int, ops: ModuleType) -> Array:
    """Only the `count` largest, and what equals the last of them (Fan et al. 2018)."""
    return _keep_from(scores, _kth_largest(scores, count, ops), ops)


def keep_top_p(scores: Array, mass: float, keep: int, ops: ModuleType) -> Array:
    """Only the smallest set of the likeliest that holds `mass`, at least `keep` of them (Holtzman et al. 2020)."""
    ascending = ops.sort(scores, axis=-1)
    below = ops.cumsum(ops.softmax(ascending, axis=-1), axis=-1) <= 1 - mass
    threshold = ops.min(ops.where(below, math.inf, ascending), axis=-1, keepdims=True)
    return _keep_from(scores, ops.minimum(threshold, _kth_largest(scores, keep, ops)), ops)


def keep_min_p(scores: Array, share: float, keep: int, ops: ModuleType) -> Array:
    """Only those with `share` of the likeliest one's probability, at least `keep` of them (Nguyen et al. 2024)."""
    threshold = ops.max(scores, axis=-1, keepdims=True) + math.log(share)
    return _keep_from(scores, ops.minimum(threshold, _kth_largest(scores, keep, ops)), ops)


def normalise(scores: Array, ops: ModuleType) -> Array:
    """Log-probabilities; where every token is banned, every one keeps -inf, for which a log_softmax has NaN."""
    return ops.where(scores == -math.inf, -math.inf, ops.log_softmax(scores, axis=-1))


_LOWEST = float(np.finfo("float32").min)


def _keep_from(scores: Array, threshold: Array, ops: ModuleType) -> Array:
    return ops.where(scores < threshold, -math.inf, scores)


def _kth_largest(scores: Array, count: int, ops: ModuleType) -> Array:
    return ops.top_k(scores, min(count, scores.shape[-1]))[0][..., -1:]


def _suffix(history: Array, end: Array, length: int, ops: ModuleType) -> Array:
    """The `length` tokens before `end`: (B, W, length)."""
    return ops.take(history, end - length + ops.arange(length, dtype="int32"), axis=-1)


def _is_one_of(ids: Sequence[int], vocab_size: int) -> np.ndarray:
    return np.isin(np.arange(vocab_size), ids)


def _members(ids: Array, scores: Array, ops: ModuleType) -> Array:
    """Which tokens of the vocabulary are among ids (B, W, L), -1 being none: (B, W, V) bool."""
    batch, width, vocab_size = ops.shape(scores)[0], scores.shape[1], scores.shape[2]
    row = ops.arange(batch * width, dtype="int32") * vocab_size
    cells = ops.reshape(row, (batch, width, 1)) + ids
    present = ops.logical_and(ids >= 0, ids < vocab_size)
    counts = ops.scatter(
        ops.reshape(ops.where(present, cells, 0), (-1, 1)),
        ops.reshape(ops.cast(present, "int32"), (-1,)),
        (batch * width * vocab_size,),
    )
    return ops.reshape(counts, (batch, width, vocab_size)) > 0
