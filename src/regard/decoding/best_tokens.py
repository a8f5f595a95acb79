"""The few best tokens of each hypothesis in place of all logits, where no rule needs more.

An engine outside Python finds them beside its last product, so that the search need not walk over (B, W, V) numbers.
"""

from itertools import islice
from typing import NamedTuple

import numpy as np

from regard.decoding.options import Array, GenerationOptions

_DEFAULTS = GenerationOptions()


class BestTokens(NamedTuple):
    """The best tokens of each hypothesis, falling; of equal ones the lower id comes first. A search may be given it for
    logits (B, W, V)."""

    log_probs: Array  # (B, W, C) float32, of all V tokens' softmax; -inf for a banned one
    ids: Array  # (B, W, C) int32


def best_count(options: GenerationOptions, vocab_size: int) -> int:
    """C: what the search may take of one hypothesis at a step."""
    count = 1 if options.num_beams == 1 else max(2, 1 + len(options.eos_ids)) * options.width
    return min(count, vocab_size)


def bans_on_best(options: GenerationOptions, step: int, unprompted: bool | None) -> tuple[int, ...] | None:
    """The tokens that the options ban from the best ones at `step`; None where a rule needs all logits.

    unprompted: each row's prompt is a start token alone; None: that of some rows.
    """
    if _needs_all(options) or _depends_on_row(options, step, unprompted) or _only(options, step, unprompted):
        return None
    banned = _suppressed(options, step, unprompted)
    banned += tuple(word[0] for word in options.bad_words_ids if word[0] not in options.eos_ids)
    if step < options.min_new_tokens:
        banned += options.eos_ids
    if banned and options.num_beams == 1 and options.return_scores:
        return None  # greedy search's log-probabilities are those of the tokens that are left
    return banned


def forced_best(
    options: GenerationOptions, step: int, batch: int, vocab_size: int, unprompted: bool | None
) -> BestTokens | None:
    """What a search takes at `step` whatever the logits, for the options force its tokens; None where they do not.

    After those stand the lowest other ids, banned, as in the order of all tokens.
    """
    if _needs_all(options) or _depends_on_row(options, step, unprompted):
        return None
    forced = set(_only(options, step, unprompted)) - set(_suppressed(options, step, unprompted))
    if not forced or (len(forced) > 1 and options.num_beams == 1):  # whose log-probabilities are those of a choice
        return None
    count = best_count(options, vocab_size)
    others = (token for token in range(vocab_size) if token not in forced)
    ids = [*sorted(forced), *islice(others, count)][:count]
    scores = np.where(np.isin(ids, list(forced)), np.float32(0), np.float32(-np.inf))
    shape = (batch, options.width, count)
    return BestTokens(np.broadcast_to(scores, shape), np.broadcast_to(np.array(ids, np.int32), shape))


def _needs_all(options: GenerationOptions) -> bool:
    """Whether a rule reads the history, the source or the scores themselves."""
    named = (
        *("do_sample", "num_beam_groups", "repetition_penalty", "encoder_repetition_penalty", "frequency_penalty"),
        *("presence_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "sequence_bias"),
        *("exponential_decay_length_penalty", "remove_invalid_values", "renormalize_logits"),
    )
    changed = any(getattr(options, name) != getattr(_DEFAULTS, name) for name in named)
    return changed or any(len(word) > 1 for word in options.bad_words_ids)


def _depends_on_row(options: GenerationOptions, step: int, unprompted: bool | None) -> bool:
    """Whether some rows have a rule at this step that others have not."""
    return unprompted is None and options.forced_bos_token_id is not None and step <= 1


def _only(options: GenerationOptions, step: int, unprompted: bool | None) -> tuple[int, ...]:
    """The only tokens that may come, each with score 0, before any are suppressed; () where others may."""
    if options.forced_eos_ids and step >= options.max_new_tokens - 1:
        return options.forced_eos_ids
    if options.forced_bos_token_id is not None and unprompted and step < 1:
        return (options.forced_bos_token_id,)
    return ()


def _suppressed(options: GenerationOptions, step: int, unprompted: bool | None) -> tuple[int, ...]:
    """What never comes at this step, forced or not."""
    if step == (0 if options.forced_bos_token_id is None else int(bool(unprompted))):
        return options.suppress_tokens + options.begin_suppress_tokens
    return options.suppress_tokens
