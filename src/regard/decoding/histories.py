"""Rules on what was read and written before: repetition, n-grams, words, biases.

Scores are (B, W, V) float32, a banned token's -inf; a history is (B, W, L) int32, the prompt, then what was generated,
and -1 for no token (before a short prompt, and from `end` on).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from types import ModuleType

import numpy as np

from regard.decoding.options import Array
from regard.decoding.options_checks import Word
from regard.errors import ConfigError


def aligned(ids: Array, mask: Array | None, margin: int, ops: ModuleType) -> Array:
    """Rows (B, P) with their real tokens at the right end, after -1 for padding and `margin` more of it.

    So what the rules read does not depend on the side that was padded, nor on the batch-mates' lengths.
    """
    ids = ops.cast(ids, "int32")
    if mask is not None:
        real, length = ops.cast(mask, "int32"), ops.shape(ids)[1]
        order = ops.argsort(real * length + ops.arange(length, dtype="int32"), axis=-1)
        ids = ops.take_along_axis(ops.where(real > 0, ids, -1), order, axis=-1)
    missing = ops.full((ops.shape(ids)[0], margin), -1, dtype="int32")
    return ops.concatenate([missing, ids], axis=-1)


def penalise_repetition(scores: Array, history: Array, penalty: float, ops: ModuleType) -> Array:
    """Scores of tokens in the history: divided by the penalty where positive, multiplied where negative.

    Keskar et al. 2019, section 4.1, with Transformers' treatment of the sign.
    """
    penalised = ops.where(scores < 0, scores * penalty, scores / penalty)
    return ops.where(members(history, scores, ops), penalised, scores)


def penalise_frequency(scores: Array, generated: Array, each: float, once: float, ops: ModuleType) -> Array:
    """Scores less `each` for every time that a token was generated, and less `once` if it was (OpenAI's penalties)."""
    if not each:
        return scores - once * ops.cast(members(generated, scores, ops), "float32")
    counts = _totals(generated, ops.cast(generated >= 0, "float32"), scores, ops)
    scores = scores - each * counts
    return scores - once * ops.cast(counts > 0, "float32") if once else scores


def ban_repeated_ngrams(
    scores: Array, history: Array, end: Array, size: int, ops: ModuleType, among: Array | None = None
) -> Array:
    """No token may complete an n-gram of this size that the history holds already (Paulus et al. 2017, section 2.5),
    or that `among` (B, W, S) holds."""
    among = history if among is None else among
    windows = ops.shape(among)[-1] - size + 1
    matches = among[..., :windows] >= 0
    if size > 1:
        suffix = _suffix(history, end, size - 1, ops)
    for offset in range(size - 1):
        matches = ops.logical_and(matches, among[..., offset : offset + windows] == suffix[..., offset : offset + 1])
    completions = ops.where(matches, among[..., size - 1 :], -1)
    return ops.where(members(completions, scores, ops), -math.inf, scores)


def ban_words(scores: Array, history: Array, end: Array, words: Sequence[Word], ops: ModuleType) -> Array:
    """No token may complete one of these sequences; words of one token need no history."""
    vocab_size = scores.shape[-1]
    by_length = _by_length("bad_words_ids", words, vocab_size)
    singles = [token for (token,) in by_length.pop(1, [])]
    if singles:
        scores = ops.where(is_one_of(singles, vocab_size), -math.inf, scores)
    for group in by_length.values():
        table = np.array(group, "int32")
        completions = ops.where(_complete(table, history, end, ops), table[None, None, :, -1], -1)
        scores = ops.where(members(completions, scores, ops), -math.inf, scores)
    return scores


def bias_sequences(
    scores: Array, history: Array, end: Array, biases: Sequence[tuple[Word, float]], ops: ModuleType
) -> Array:
    """The score of a token that completes one of these sequences gains its bias; sequences of one token need no
    history."""
    vocab_size = scores.shape[-1]
    bias_of = dict(biases)
    by_length = _by_length("sequence_bias", bias_of, vocab_size)
    alone = np.zeros(vocab_size, "float32")
    for word in by_length.pop(1, []):
        alone[word[0]] = bias_of[word]
    bias = alone
    for group in by_length.values():
        table, gains = np.array(group, "int32"), np.array([bias_of[word] for word in group], "float32")
        gains = ops.where(_complete(table, history, end, ops), gains, 0.0)
        last = ops.broadcast_to(table[:, -1], ops.shape(gains))
        bias = bias + _totals(last, gains, scores, ops)
    return scores + bias


def is_one_of(ids: Sequence[int], vocab_size: int) -> np.ndarray:
    """(V,) bool: which tokens are among `ids`."""
    return np.isin(np.arange(vocab_size), ids)


def _by_length(name: str, words: Iterable[Word], vocab_size: int) -> dict[int, list[Word]]:
    by_length = defaultdict(list)
    for word in words:
        if max(word) >= vocab_size:
            raise ConfigError(f"{name} must be below the vocabulary's size ({vocab_size}), but has {max(word)}")
        by_length[len(word)].append(word)
    return by_length


def _complete(table: np.ndarray, history: Array, end: Array, ops: ModuleType) -> Array:
    """(B, W, n) bool: which of n words of one length, (n, length), lack their last token only."""
    suffix = _suffix(history, end, table.shape[1] - 1, ops)[:, :, None, :]
    return ops.all(suffix == table[None, None, :, :-1], axis=-1)


def _suffix(history: Array, end: Array, length: int, ops: ModuleType) -> Array:
    """The `length` tokens before `end`: (B, W, length)."""
    return ops.take(history, end - length + ops.arange(length, dtype="int32"), axis=-1)


def members(ids: Array, scores: Array, ops: ModuleType) -> Array:
    """Which tokens of the vocabulary are among ids (B, W, L), -1 being none: (B, W, V) bool."""
    return _totals(ids, ops.ones_like(ids), scores, ops) > 0


def _totals(ids: Array, values: Array, scores: Array, ops: ModuleType) -> Array:
    """The sum of `values` (B, W, L) at each of `ids` (B, W, L), -1 being none: (B, W, V)."""
    batch, width, vocab_size = ops.shape(scores)[0], scores.shape[1], scores.shape[2]
    row = ops.arange(batch * width, dtype="int32") * vocab_size
    present = ops.logical_and(ids >= 0, ids < vocab_size)
    cells = ops.where(present, ops.reshape(row, (batch, width, 1)) + ids, 0)
    totals = ops.scatter(
        ops.reshape(cells, (-1, 1)),
        ops.reshape(ops.where(present, values, ops.zeros_like(values)), (-1,)),
        (batch * width * vocab_size,),
    )
    return ops.reshape(totals, (batch, width, vocab_size))
