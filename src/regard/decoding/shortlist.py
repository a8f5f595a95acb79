"""The few best tokens of each hypothesis in place of all logits, where no rule needs more.

An engine outside Python finds them beside its last product, so that the search need not walk over (B, W, V) numbers.
"""

from typing import NamedTuple

import numpy as np

from regard.decoding.options import Array, GenerationOptions

_DEFAULTS = GenerationOptions()


class Shortlist(NamedTuple):
    """The best tokens of each hypothesis, falling; of equal ones the lower id comes first. A search may be given it for
    logits (B, W, V)."""

    log_probs: Array  # (B, W, C) float32, of all V tokens' softmax; -inf for a banned one
    ids: Array  # (B, W, C) int32


def shortlist_size(options: GenerationOptions, vocab_size: int) -> int:
    """C: what the search may take of one hypothesis at a step."""
    count = 1 if options.num_beams == 1 else max(2, 1 + len(options.eos_ids)) * options.width
    return min(count, vocab_size)


def shortlist_bias(
    options: GenerationOptions, step: int, vocab_size: int, unprompted: bool | None
) -> np.ndarray | None:
    """What the options add to the logits at `step`: (V,) float32, 0 and -inf; None where a rule needs all logits.

    unprompted: each row's prompt is a start token alone; None: that of some rows.
    """
    if unprompted is None and options.forced_bos_token_id is not None and step <= 1:
        return None
    if _needs_all(options) or _forces(options, step, unprompted):
        return None
    banned = [*options.suppress_tokens, *(word[0] for word in options.bad_words_ids if word[0] not in options.eos_ids)]
    if step < options.min_new_tokens:
        banned += options.eos_ids
    if step == (0 if options.forced_bos_token_id is None else int(bool(unprompted))):
        banned += options.begin_suppress_tokens
    if banned and options.num_beams == 1 and options.return_scores:
        return None  # greedy search's log-probabilities are those of the tokens that are left
    bias = np.zeros(vocab_size, np.float32)
    bias[list(banned)] = -np.inf
    return bias


def _needs_all(options: GenerationOptions) -> bool:
    """Whether a rule reads the history, the source or the scores themselves."""
    named = (
        *("do_sample", "num_beam_groups", "repetition_penalty", "encoder_repetition_penalty", "frequency_penalty"),
        *("presence_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "sequence_bias"),
        *("exponential_decay_length_penalty", "remove_invalid_values", "renormalize_logits"),
    )
    changed = any(getattr(options, name) != getattr(_DEFAULTS, name) for name in named)
    return changed or any(len(word) > 1 for word in options.bad_words_ids)


def _forces(options: GenerationOptions, step: int, unprompted: bool | None) -> bool:
    """Whether only some tokens may come, each with score 0."""
    begins = options.forced_bos_token_id is not None and bool(unprompted) and step < 1
    return begins or (bool(options.forced_eos_ids) and step >= options.max_new_tokens - 1)
