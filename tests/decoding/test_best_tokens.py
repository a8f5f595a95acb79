"""A search that is given the few best tokens finds what it finds among all logits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.decoding import numpy_ops
from regard.decoding.best_tokens import BestTokens, bans_on_best, best_count, forced_best
from regard.decoding.loop import search
from regard.decoding.options import GenerationOptions

VOCAB, ROWS, STEPS = 11, 2, 4
WAYS = {
    "eos": {"forced_eos_token_id": 3},
    "several ends": {"forced_eos_token_id": (2, 3, 7), "eos_token_id": (2, 3)},
    "bos": {"forced_bos_token_id": 5, "begin_suppress_tokens": (4, 6)},
    "bos and eos": {"forced_bos_token_id": 5, "forced_eos_token_id": 3, "suppress_tokens": (1,)},
    "an end that is suppressed": {"forced_eos_token_id": (1, 3), "suppress_tokens": (1, 8)},
    "an end that may not begin": {"forced_eos_token_id": 3, "begin_suppress_tokens": (3,), "max_new_tokens": 1},
    "never": {"min_new_tokens": 2, "bad_words_ids": ((9,), (0,))},
}


def found(options, logits, short):
    """The search over logits (STEPS, V, V): of each step, by the token before. short: by the best of each."""
    steps, width = [], options.width

    def step(ids, parents, state):
        place = len(steps)
        steps.append("all")
        scores = logits[place][ids]
        if not short:
            return scores, state
        forced = forced_best(options, place, ROWS, VOCAB, True)
        if forced is not None:
            steps[-1] = "forced"
            return forced, state
        bans = bans_on_best(options, place, True)
        if bans is None:
            return scores, state
        steps[-1] = "short"
        log_probs = numpy_ops.log_softmax(scores)
        log_probs[..., list(bans)] = -np.inf
        best = numpy_ops.top_k(log_probs, best_count(options, VOCAB))
        return BestTokens(*best), state

    start = np.full((ROWS, width), 10, np.int32)
    return search(step, (), start, options, numpy_ops), steps


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("way", WAYS)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_same_is_found_among_few_tokens_as_among_all(way, beams, seed):
    asked = {"eos_token_id": 3, "max_new_tokens": STEPS, "num_beams": beams, "return_scores": beams > 1, **WAYS[way]}
    options = GenerationOptions(**asked)
    logits = np.random.default_rng(seed).normal(0, 2, (STEPS, VOCAB, VOCAB)).astype(np.float32)
    few, how = found(options, logits, short=True)
    whole, _ = found(options, logits, short=False)
    np.testing.assert_array_equal(few.sequences, whole.sequences)
    np.testing.assert_array_equal(few.lengths, whole.lengths)
    if beams > 1:
        np.testing.assert_allclose(few.scores, whole.scores, atol=1e-5)
    if len(how) == STEPS and way != "several ends" and options.forced_eos_ids:
        assert how[-1] == "forced"
    assert "short" in how or options.max_new_tokens < STEPS
