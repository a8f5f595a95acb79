"""Each processor against a naive one, a row at a time, written from its definition."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.decoding import numpy_ops as ops
from regard.decoding import processors
from regard.decoding.options import GenerationOptions
from regard.errors import ConfigError

V = 7
HISTORIES = st.lists(st.integers(0, V - 1), max_size=9)
SEEDS = st.integers(0, 10_000)


def scores_of(seed, banned=0):
    random = np.random.default_rng(seed)
    scores = (random.standard_normal(V) * 2).astype("float32")
    scores[random.permutation(V)[:banned]] = -math.inf
    return scores


def padded(history, length=12, before=4):
    """One row, one beam: (1, 1, before + length), and where its tokens end."""
    row = [-1] * before + history + [-1] * (length - len(history))
    return np.array([[row]], "int32"), before + len(history)


def banned_by(scores):
    return {token for token in range(V) if scores[0, 0, token] == -math.inf}


@given(HISTORIES, SEEDS, st.sampled_from([0.7, 1.3, 5.0]))
def test_repetition_penalty_moves_each_token_of_the_history_once(history, seed, penalty):
    scores, (row, _) = scores_of(seed), padded(history)
    expected = [
        score if token not in history else score * penalty if score < 0 else score / penalty
        for token, score in enumerate(scores)
    ]
    found = processors.penalise_repetition(scores[None, None], row, penalty, ops)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-6)


@settings(max_examples=200)
@given(HISTORIES, st.integers(1, 4))
def test_no_ngram_is_completed_twice(history, size):
    ngrams = [tuple(history[i : i + size]) for i in range(len(history) - size + 1)]
    suffix = tuple(history[len(history) - size + 1 :]) if size > 1 else ()
    expected = {token for token in range(V) if (*suffix, token) in ngrams}
    found = processors.ban_repeated_ngrams(np.zeros((1, 1, V), "float32"), *padded(history), size, ops)
    assert banned_by(found) == expected


@settings(max_examples=200)
@given(HISTORIES, st.lists(st.lists(st.integers(0, V - 1), min_size=1, max_size=4), min_size=1, max_size=8))
def test_no_bad_word_is_completed(history, words):
    expected = {word[-1] for word in words if len(word) == 1 or history[-len(word) + 1 :] == word[:-1]}
    found = processors.ban_words(np.zeros((1, 1, V), "float32"), *padded(history), [tuple(w) for w in words], ops)
    assert banned_by(found) == expected


def test_a_bad_word_beyond_the_vocabulary_is_refused():
    with pytest.raises(ConfigError, match=r"bad_words_ids must be below the vocabulary's size \(7\), but has 9"):
        processors.ban_words(np.zeros((1, 1, V), "float32"), None, 0, [(2, 9)], ops)


def probabilities(scores):
    exponentials = np.exp(scores.astype("float64") - scores.max())
    return exponentials / exponentials.sum()


def kept(scores):
    return set(np.flatnonzero(scores[0, 0] > -math.inf).tolist())


@given(SEEDS, st.integers(0, 3), st.integers(1, 9))
def test_top_k_keeps_the_k_likeliest(seed, banned, count):
    scores = scores_of(seed, banned)
    order = sorted(range(V), key=lambda token: -scores[token])
    expected = {token for token in order[:count] if scores[token] > -math.inf}
    assert kept(processors.keep_top_k(scores[None, None], count, ops)) == expected


@given(SEEDS, st.integers(0, 3), st.floats(0.01, 0.99), st.integers(1, 3))
def test_top_p_keeps_the_smallest_set_that_holds_the_mass(seed, banned, mass, keep):
    scores = scores_of(seed, banned)
    p = probabilities(scores)
    expected, held = set(), 0.0
    for token in sorted(range(V), key=lambda token: -p[token]):
        if p[token] and (held < mass or len(expected) < keep):
            expected.add(token)
        held += p[token]
    assert kept(processors.keep_top_p(scores[None, None], mass, keep, ops)) == expected


@given(SEEDS, st.integers(0, 3), st.floats(0.01, 1.0), st.integers(1, 3))
def test_min_p_keeps_what_has_its_share_of_the_likeliest(seed, banned, share, keep):
    scores = scores_of(seed, banned)
    p = probabilities(scores)
    likeliest = sorted(range(V), key=lambda token: -p[token])
    expected = {token for n, token in enumerate(likeliest) if p[token] and (n < keep or p[token] >= share * p.max())}
    assert kept(processors.keep_min_p(scores[None, None], share, keep, ops)) == expected


@given(SEEDS, st.sampled_from([0.3, 1.0, 2.5]))
def test_temperature_divides_the_logits(seed, temperature):
    scores = scores_of(seed, 1)
    found = processors.scale_by_temperature(scores[None, None], temperature, ops)[0, 0]
    np.testing.assert_allclose(probabilities(found), probabilities(scores / np.float32(temperature)), rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.3, 2.5])
def test_temperature_only_divides_what_beams_add_up(temperature):
    scores = scores_of(0, 1)[None, None]
    options = GenerationOptions(do_sample=True, num_beams=2, top_k=0, temperature=temperature)
    np.testing.assert_allclose(process(options, scores=scores), scores / temperature, rtol=1e-6)


def test_renormalised_log_probabilities_of_beams_sum_to_1_after_all_other_rules():
    scores = scores_of(0)[None, None]
    options = GenerationOptions(num_beams=2, bad_words_ids=[[2], [5]], renormalize_logits=True)
    found = process(options, scores=scores)
    left = np.where(np.isin(np.arange(V), [2, 5]), -math.inf, scores[0, 0])
    np.testing.assert_allclose(np.exp(found[0, 0]), probabilities(left), rtol=1e-5)
    forced = options.merged(forced_bos_token_id=4)
    assert kept(process(forced, scores=scores)) == {4}
    assert process(forced, scores=scores)[0, 0, 4] == 0


@pytest.mark.parametrize("values", [{}, {"do_sample": True, "temperature": 0.5, "top_p": 0.9, "min_p": 0.1}])
def test_a_row_whose_tokens_are_all_banned_stays_so_without_nan(values):
    for beams in (1, 2):
        options = GenerationOptions(num_beams=beams, renormalize_logits=True, bad_words_ids=[[t] for t in range(V)])
        found = process(options.merged(**values), scores=scores_of(0)[None, None])
        np.testing.assert_array_equal(found, np.full((1, 1, V), -math.inf))


def process(options, sequences=(), prompt=((1,),), mask=None, scores=None):
    prompt, mask = np.array(prompt, "int32"), None if mask is None else np.array(mask)
    aligned = processors.aligned_prompt(prompt, mask, processors.suffix_length(options), ops)
    length, step = options.max_new_tokens, len(sequences)
    rows = np.array([[[*sequences, *[-1] * (length - step)]]] * len(prompt), "int32")
    scores = np.zeros((len(prompt), 1, V), "float32") if scores is None else scores
    return processors.Processors(options, aligned, ops)(scores, rows, np.int32(step))


def test_eos_waits_for_min_new_tokens():
    options = GenerationOptions(min_new_tokens=2, max_new_tokens=4, eos_token_id=(0, 3))
    assert [banned_by(process(options, [5] * step)) for step in range(4)] == [{0, 3}, {0, 3}, set(), set()]


def test_first_and_last_token_can_be_forced():
    options = GenerationOptions(max_new_tokens=3, forced_bos_token_id=4, forced_eos_token_id=(0, 2))
    assert [kept(process(options, [5] * step)) for step in range(3)] == [{4}, set(range(V)), {0, 2}]


def test_eos_is_never_a_bad_word():
    options = GenerationOptions(eos_token_id=0, bad_words_ids=[[0], [2], [3, 0]])
    assert banned_by(process(options, [5])) == {2}
    assert banned_by(process(options, [3])) == {0, 2}


def test_rules_on_sequences_count_the_prompt_whichever_side_is_padded():
    options = GenerationOptions(no_repeat_ngram_size=2, bad_words_ids=[[2, 5, 6]], repetition_penalty=2.0)
    prompts = [[1, 2, 5, 4, 2], [1, 2, 5, 4, 2], [9, 9, 2, 3, 2]]
    padded_prompts = [[1, 2, 5, 4, 2, 3, 3, 3], [3, 3, 3, 1, 2, 5, 4, 2], [3, 3, 3, 9, 9, 2, 3, 2]]
    masks = [[1] * 5 + [0] * 3, [0] * 3 + [1] * 5, [0] * 3 + [1] * 5]
    scores = np.full((3, 1, V), 1.0, "float32")
    found = process(options, [5], padded_prompts, masks, scores)
    np.testing.assert_array_equal(found, process(options, [5], prompts, None, scores))
    np.testing.assert_array_equal(found[0, 0], [1, 0.5, 0.5, 1, -math.inf, 0.5, -math.inf])  # 5 4 and 2 5 6 are banned
    np.testing.assert_array_equal(found[2, 0], [1, 1, 0.5, 0.5, 1, 0.5, -math.inf])


def test_without_a_prompt_the_start_id_counts(scripted):
    model = scripted((1,), V, 0)
    options = GenerationOptions(no_repeat_ngram_size=1, max_new_tokens=V - 1)
    assert sorted(model.search(options).sequences[0, 0].tolist()) == [0, 2, 3, 4, 5, 6]  # all but the start id, 1


def test_rules_apply_beam_by_beam(scripted, found_in):
    model = scripted((1, 2), V, 0)
    options = GenerationOptions(num_beams=3, num_return_sequences=3, no_repeat_ngram_size=2, max_new_tokens=12)
    found = model.search(options)
    for row in (0, 1):
        for sequence in found_in(found, row):
            pairs = list(zip((1, *sequence), sequence, strict=False))
            assert len(set(pairs)) == len(pairs)


def test_sampling_processors_stay_away_from_greedy_search():
    scores = scores_of(0)[None, None]
    np.testing.assert_array_equal(process(GenerationOptions(top_k=1), scores=scores), scores)


def test_a_sampled_beam_keeps_a_way_on_besides_the_end():
    options = GenerationOptions(do_sample=True, num_beams=2, top_k=1, top_p=0.01, min_p=1.0, eos_token_id=(0, 3))
    assert len(kept(process(options, scores=scores_of(0)[None, None]))) == 3
