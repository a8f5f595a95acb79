"""Each rule of sampling against a naive one, written from its definition."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from regard.decoding import numpy_ops as ops
from regard.decoding import warpers

V = 7
SEEDS = st.integers(0, 10_000)


def scores_of(seed, banned=0):
    random = np.random.default_rng(seed)
    scores = (random.standard_normal(V) * 2).astype("float32")
    scores[random.permutation(V)[:banned]] = -math.inf
    return scores


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
    assert kept(warpers.keep_top_k(scores[None, None], count, ops)) == expected


@given(SEEDS, st.integers(0, 3), st.floats(0.01, 0.99), st.integers(1, 3))
def test_top_p_keeps_the_smallest_set_that_holds_the_mass(seed, banned, mass, keep):
    scores = scores_of(seed, banned)
    p = probabilities(scores)
    expected, held = set(), 0.0
    for token in sorted(range(V), key=lambda token: -p[token]):
        if p[token] and (held < mass or len(expected) < keep):
            expected.add(token)
        held += p[token]
    assert kept(warpers.keep_top_p(scores[None, None], mass, keep, ops)) == expected


@given(SEEDS, st.integers(0, 3), st.floats(0.01, 1.0), st.integers(1, 3))
def test_min_p_keeps_what_has_its_share_of_the_likeliest(seed, banned, share, keep):
    scores = scores_of(seed, banned)
    p = probabilities(scores)
    likeliest = sorted(range(V), key=lambda token: -p[token])
    expected = {token for n, token in enumerate(likeliest) if p[token] and (n < keep or p[token] >= share * p.max())}
    assert kept(warpers.keep_min_p(scores[None, None], share, keep, ops)) == expected


@given(SEEDS, st.sampled_from([0.3, 1.0, 2.5]))
def test_temperature_divides_the_logits(seed, temperature):
    scores = scores_of(seed, 1)
    found = warpers.scale_by_temperature(scores[None, None], temperature, ops)[0, 0]
    np.testing.assert_allclose(probabilities(found), probabilities(scores / np.float32(temperature)), rtol=1e-5)


def entropy(p):
    return -sum(x * math.log(x) for x in p if x)


@given(SEEDS, st.integers(0, 3), st.floats(0.01, 0.99), st.integers(1, 3))
def test_typical_keeps_what_tells_about_as_much_as_is_expected(seed, banned, mass, keep):
    scores = scores_of(seed, banned)
    p = probabilities(scores)
    distance = {token: abs(-math.log(p[token]) - entropy(p)) for token in range(V) if p[token]}
    expected, held = set(), 0.0
    for token in sorted(distance, key=distance.get):
        if held < mass or len(expected) < keep:
            expected.add(token)
        held += p[token]
    assert kept(warpers.keep_typical(scores[None, None], mass, keep, ops)) == expected


@given(SEEDS, st.integers(0, 3), st.floats(0.01, 0.99))
def test_top_h_keeps_the_likeliest_that_fit_into_a_share_of_the_entropy(seed, banned, share):
    scores = scores_of(seed, banned)
    p = probabilities(scores)
    expected, used = set(), 0.0
    for token in sorted(range(V), key=lambda token: -p[token]):
        used += entropy([p[token]])
        if p[token] and (not expected or used <= share * entropy(p)):
            expected.add(token)
    assert kept(warpers.keep_top_h(scores[None, None], share, ops)) == expected


def test_top_h_looks_at_the_100_likeliest_only():
    scores = np.random.default_rng(0).standard_normal((1, 1, 300)).astype("float32") * 0.01
    found = warpers.keep_top_h(scores, 0.9999, ops)
    assert 95 <= len(kept(found)) <= 100
    assert kept(found) <= kept(warpers.keep_top_k(scores, 100, ops))


@given(SEEDS, st.integers(0, 3), st.floats(0.001, 0.5), st.integers(1, 3))
def test_epsilon_keeps_what_is_likely_enough(seed, banned, cutoff, keep):
    scores = scores_of(seed, banned)
    p = probabilities(scores)
    likeliest = sorted(range(V), key=lambda token: -p[token])
    expected = {token for n, token in enumerate(likeliest) if p[token] and (n < keep or p[token] >= cutoff)}
    assert kept(warpers.keep_epsilon(scores[None, None], cutoff, keep, ops)) == expected


@given(SEEDS, st.integers(0, 3), st.floats(0.001, 0.9), st.integers(1, 3))
def test_eta_lowers_the_bound_of_epsilon_where_the_entropy_is_high(seed, banned, cutoff, keep):
    scores = scores_of(seed, banned)
    p = probabilities(scores)
    bound = min(cutoff, math.sqrt(cutoff) * math.exp(-entropy(p)))
    likeliest = sorted(range(V), key=lambda token: -p[token])
    expected = {token for n, token in enumerate(likeliest) if p[token] and (n < keep or p[token] >= bound)}
    assert kept(warpers.keep_eta(scores[None, None], cutoff, keep, ops)) == expected


def test_no_rule_of_sampling_makes_a_nan_of_a_row_without_tokens():
    nothing = np.full((1, 1, V), -math.inf, "float32")
    for found in (
        warpers.keep_typical(nothing, 0.5, 2, ops),
        warpers.keep_top_h(nothing, 0.5, ops),
        warpers.keep_epsilon(nothing, 0.1, 2, ops),
        warpers.keep_eta(nothing, 0.1, 2, ops),
    ):
        np.testing.assert_array_equal(found, nothing)
