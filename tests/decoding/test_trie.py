"""A trie against the Python function that Transformers asks: which ids may follow these?"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.decoding import numpy_ops as ops
from regard.decoding import trie as module
from regard.decoding.options import GenerationOptions
from regard.decoding.processors import Processors
from regard.decoding.rows import Rows
from regard.decoding.trie import TokenTrie
from regard.errors import ConfigError

V = 7
PAD = 99
SEEDS = st.integers(0, 10_000)
SEQUENCES = st.lists(st.lists(st.integers(0, V - 1), min_size=1, max_size=5), min_size=1, max_size=15)


def may_follow(sequences, ids):
    """Transformers' prefix_allowed_tokens_fn for a set of sequences."""
    return {q[len(ids)] for q in map(tuple, sequences) if len(q) > len(ids) and q[: len(ids)] == tuple(ids)}


@settings(deadline=None, max_examples=200)
@given(SEQUENCES, st.lists(st.integers(0, V - 1), max_size=5))
def test_a_trie_allows_what_the_function_allows(sequences, ids):
    trie = TokenTrie.of(sequences)
    state = trie.start(1, 1, ops)
    for token in ids:
        state = trie.follow(state, np.array([[token]], "int32"), ops)
    found = trie.allowed(state, ops)[0, 0]
    assert sorted(found[found >= 0].tolist()) == sorted(may_follow(sequences, ids))


def test_each_row_may_have_its_own_sequences():
    trie = TokenTrie.of_rows([[(1, 2), (1, 3)], [(2,)], [(1, 2)]], eos_token_id=0)
    state = trie.start(3, 1, ops)
    assert [set(row[0].tolist()) - {-1} for row in trie.allowed(state, ops)] == [{1}, {2}, {1}]
    state = trie.follow(state, np.array([[1], [2], [1]], "int32"), ops)
    assert [set(row[0].tolist()) - {-1} for row in trie.allowed(state, ops)] == [{2, 3}, {0}, {2}]


def constrained(model, sequences):
    """The same model, asked through the function: whatever it does not allow has logit -inf."""

    class Constrained(type(model)):
        def logits(self, row, prefix):
            allowed = may_follow(sequences, prefix)
            full = super().logits(row, prefix)
            total = np.log(np.exp(full.astype("float64")).sum())
            return np.where(np.isin(np.arange(V), list(allowed)), full - total, -math.inf)

        def log_probs(self, row, prefix):
            return self.logits(row, prefix)

    return Constrained(model.rows, model.vocab_size, model.seed, model.spread)


@settings(deadline=None, max_examples=60)
@given(SEEDS, SEQUENCES)
def test_greedy_search_takes_the_likeliest_that_is_allowed(scripted, found_in, seed, sequences):
    closed = [(*(token for token in q if token), 0) for q in sequences]
    model = scripted((1, 2, 3), V, seed)
    options = GenerationOptions(max_new_tokens=8, eos_token_id=0, pad_token_id=PAD)
    found = model.search(options, trie=TokenTrie.of(closed))
    naive = constrained(model, closed)
    for row, name in enumerate(model.rows):
        expected = []
        while not expected or expected[-1] != 0:
            expected.append(int(np.argmax(naive.logits(name, expected))))
        assert found_in(found, row) == [tuple(expected)]
        assert tuple(expected) in closed


@settings(deadline=None, max_examples=60)
@given(SEEDS, SEQUENCES)
def test_a_wide_beam_ranks_all_allowed_sequences(scripted, divide, found_in, seed, sequences):
    closed = sorted({(*(token for token in q if token), 0) for q in sequences})
    model = scripted((1, 2), V, seed)
    options = GenerationOptions(max_new_tokens=8, eos_token_id=0, num_beams=16, num_return_sequences=16)
    found = model.search(options, trie=TokenTrie.of([q[:-1] for q in closed if len(q) > 1] or [(3,)], eos_token_id=0))
    closed = [q for q in closed if len(q) > 1] or [(3, 0)]
    for row, name in enumerate(model.rows):
        scored = sorted(((model.score(name, q) / divide(len(q), options), q) for q in closed), reverse=True)
        assert found_in(found, row)[: len(closed)] == [q for _, q in scored]
        np.testing.assert_allclose(found.scores[row, : len(closed)], [s for s, _ in scored], rtol=1e-5, atol=1e-5)
        assert (found.scores[row, len(closed) :] == -math.inf).all()


def test_where_other_rules_ban_all_that_is_allowed_the_trie_wins(scripted, found_in):
    model = scripted((1, 2), V, 0)
    trie = TokenTrie.of([(3, 4), (3, 5)], eos_token_id=0)
    for beams in (1, 2):
        options = GenerationOptions(max_new_tokens=6, eos_token_id=0, num_beams=beams, bad_words_ids=[[3], [4]])
        found = model.search(options, trie=trie)
        assert [found_in(found, row) for row in (0, 1)] == [[(3, 5, 0)]] * 2


def test_the_trie_wins_only_where_all_beams_of_a_row_are_banned():
    options = GenerationOptions(num_beams=2, bad_words_ids=[[3]])
    rows = Rows(np.array([[1]], "int32"), trie=TokenTrie.of([(1, 3), (2, 4), (5, 3)]))
    process = Processors(options, rows, ops)

    def left(first, second):
        generated = np.array([[[first, -1], [second, -1]]], "int32")
        states, _ = rows.follow(rows.start(1, 2, ops), generated[:, :, 0], ops)
        found = process(np.zeros((1, 2, V), "float32"), generated, np.int32(1), states)
        return [set(np.flatnonzero(row > -math.inf).tolist()) for row in found[0]]

    assert left(1, 2) == [set(), {4}]
    assert left(1, 5) == [{3}, {3}]


def test_a_hypothesis_that_nothing_may_follow_is_over(scripted, found_in):
    found = scripted((1,), V, 0).search(
        GenerationOptions(max_new_tokens=6, eos_token_id=0), trie=TokenTrie.of([(3, 4)])
    )
    assert found_in(found, 0) == [(3, 4)]


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.sampled_from([{"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2, "top_k": 0}]))
def test_a_row_is_constrained_as_if_alone(scripted, seed, how):
    model = scripted((1, 2, 3), V, seed)
    options = GenerationOptions(max_new_tokens=8, eos_token_id=0, return_scores=True, **how)
    allowed = [[(1, 2), (1, 3, 3), (2,)], [(5,), (5, 5), (6, 1)], [(1,), (2, 2, 2), (3,), (4,)]]
    together = model.search(options.merged(seed=(7, 8, 9)), trie=TokenTrie.of_rows(allowed, 0))
    for row, name in enumerate(model.rows):
        alone = model.only(name).search(options.merged(seed=7 + row), trie=TokenTrie.of(allowed[row], 0))
        for one, many in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one[0], many[row])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "a trie needs a sequence that is allowed, for each row, but has none"),
        ([[(1,)], []], "a trie needs a sequence that is allowed, for each row, but has none"),
        ([[(1,), ()]], "a trie's sequences must not be empty, but one is"),
        ([[(1, -2)]], "a trie's ids must be at least 0, but one is -2"),
    ],
)
def test_what_no_trie_can_be_made_of_is_refused(rows, message):
    with pytest.raises(ConfigError, match=message):
        TokenTrie.of_rows(rows)


def test_a_trie_beyond_its_bound_or_the_vocabulary_is_refused(monkeypatch):
    monkeypatch.setattr(module, "MOST_TOKENS", 5)
    assert len(TokenTrie.of([(1, 2, 3), (1, 2, 4), (5,)]).tokens) == 5
    with pytest.raises(ConfigError, match="a trie must have at most 5 tokens, but has more: allow fewer sequences"):
        TokenTrie.of([(1, 2, 3), (1, 2, 4), (5, 6)])
    TokenTrie.of([(1, 2)]).check_vocabulary(3)
    with pytest.raises(ConfigError, match=r"a trie's ids must be below the vocabulary's size \(3\), but has 3"):
        TokenTrie.of([(1, 3)]).check_vocabulary(3)
