"""Each rule on the history against a naive one, a row at a time, written from its definition."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.decoding import histories
from regard.decoding import numpy_ops as ops
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
    found = histories.penalise_repetition(scores[None, None], row, penalty, ops)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-6)


@settings(max_examples=200)
@given(HISTORIES, st.integers(1, 4))
def test_no_ngram_is_completed_twice(history, size):
    ngrams = [tuple(history[i : i + size]) for i in range(len(history) - size + 1)]
    suffix = tuple(history[len(history) - size + 1 :]) if size > 1 else ()
    expected = {token for token in range(V) if (*suffix, token) in ngrams}
    found = histories.ban_repeated_ngrams(np.zeros((1, 1, V), "float32"), *padded(history), size, ops)
    assert banned_by(found) == expected


@settings(max_examples=200)
@given(HISTORIES, st.lists(st.lists(st.integers(0, V - 1), min_size=1, max_size=4), min_size=1, max_size=8))
def test_no_bad_word_is_completed(history, words):
    expected = {word[-1] for word in words if len(word) == 1 or history[-len(word) + 1 :] == word[:-1]}
    found = histories.ban_words(np.zeros((1, 1, V), "float32"), *padded(history), [tuple(w) for w in words], ops)
    assert banned_by(found) == expected


def test_a_bad_word_beyond_the_vocabulary_is_refused():
    with pytest.raises(ConfigError, match=r"bad_words_ids must be below the vocabulary's size \(7\), but has 9"):
        histories.ban_words(np.zeros((1, 1, V), "float32"), None, 0, [(2, 9)], ops)


@given(HISTORIES, SEEDS, st.sampled_from([0.0, 0.4, -0.3]), st.sampled_from([0.0, 1.1]))
def test_frequency_and_presence_are_taken_from_each_generated_token(generated, seed, each, once):
    scores, (row, _) = scores_of(seed), padded(generated, before=0)
    expected = [
        score - each * generated.count(token) - once * (token in generated) for token, score in enumerate(scores)
    ]
    found = histories.penalise_frequency(scores[None, None], row, each, once, ops)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=200)
@given(HISTORIES, HISTORIES, st.integers(1, 4))
def test_no_ngram_of_the_source_is_completed(history, source, size):
    ngrams = [tuple(source[i : i + size]) for i in range(len(source) - size + 1)]
    suffix = tuple(history[len(history) - size + 1 :]) if size > 1 else ()
    expected = {token for token in range(V) if (*suffix, token) in ngrams}
    among = histories.aligned(np.array([source], "int32").reshape(1, -1), None, 3, ops)[:, None]
    found = histories.ban_repeated_ngrams(np.zeros((1, 1, V), "float32"), *padded(history), size, ops, among)
    assert banned_by(found) == expected


WORDS = st.lists(st.integers(0, V - 1), min_size=1, max_size=4).map(tuple)


@settings(max_examples=200)
@given(HISTORIES, st.dictionaries(WORDS, st.floats(-4, 4, width=16), min_size=1, max_size=8), SEEDS)
def test_biases_add_up_on_the_tokens_that_complete_a_sequence(history, biases, seed):
    scores = scores_of(seed)
    expected = scores.copy()
    for word, bias in biases.items():
        if len(word) == 1 or tuple(history[-len(word) + 1 :]) == word[:-1]:
            expected[word[-1]] += bias
    found = histories.bias_sequences(scores[None, None], *padded(history), tuple(biases.items()), ops)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-5, atol=1e-5)


def test_a_biased_sequence_beyond_the_vocabulary_is_refused():
    with pytest.raises(ConfigError, match=r"sequence_bias must be below the vocabulary's size \(7\), but has 8"):
        histories.bias_sequences(np.zeros((1, 1, V), "float32"), None, 0, [((2, 8), 1.0)], ops)
