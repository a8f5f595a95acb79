"""Diverse beam search, by its definition."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.decoding import numpy_ops
from regard.decoding.groups import DiverseBeamSearch
from regard.decoding.options import GenerationOptions
from regard.decoding.processors import Processors
from regard.decoding.rows import Rows

PAD = 99
SEEDS = st.integers(0, 10_000)
STOPS = st.sampled_from([True, False, "never"])


def diverse_options(groups, size, **values):
    beams = groups * size
    return GenerationOptions(num_beams=beams, num_beam_groups=groups, eos_token_id=0, pad_token_id=PAD, **values)


class NaiveGroup:
    """One group of one row: lists of (score, sequence), best first."""

    def __init__(self, model, row, size, options, divide):
        self.model, self.row, self.size, self.options, self.divide = model, row, size, options, divide
        self.running, self.finished, self.open = [(0.0, ())], [], True

    def step(self, length, crowd):
        if not self.open:
            return
        options, longest = self.options, self.options.max_new_tokens
        candidates = sorted(
            (
                (score + log_prob - options.diversity_penalty * crowd[token], (*sequence, token))
                for score, sequence in self.running
                for token, log_prob in enumerate(self.model.log_probs(self.row, sequence))
            ),
            reverse=True,
        )[: 2 * self.size]
        ended = [(s, q) for s, q in candidates[: self.size] if q[-1] == 0 or length == longest]
        self.finished += [(score / self.divide(length, options), sequence) for score, sequence in ended]
        self.finished = sorted(self.finished, reverse=True)[: self.size]
        self.running = [(s, q) for s, q in candidates if q[-1] != 0][: self.size]
        if options.beam_threshold is not None:
            best = [self.running[0][0], *(score * self.divide(length, options) for score, _ in self.finished[:1])]
            self.running = [(s, q) for s, q in self.running if s >= max(best) - options.beam_threshold]
        crowd.update(q[-1] for _, q in self.running)
        if not self.running:
            self.open = False
        elif len(self.finished) == self.size:
            at_most = longest if options.early_stopping == "never" and options.length_penalty > 0 else length
            best = self.running[0][0] / self.divide(at_most, options)
            self.open = options.early_stopping is not True and best > self.finished[-1][0]


def naive_search(model, row, options, divide):
    size = options.num_beams // options.num_beam_groups
    groups = [NaiveGroup(model, row, size, options, divide) for _ in range(options.num_beam_groups)]
    for length in range(1, options.max_new_tokens + 1):
        crowd = Counter()
        for group in groups:
            group.step(length, crowd)
    return sorted((found for group in groups for found in group.finished), reverse=True)


@settings(deadline=None, max_examples=100)
@given(
    SEEDS, st.integers(2, 4), st.integers(1, 3), st.integers(1, 8),
    st.sampled_from([0.2, 1.0, 3.0]), st.sampled_from([0.0, 0.6, 2.0]), STOPS, st.sampled_from([None, 0.5, 2.0]),
)  # fmt: skip
def test_groups_follow_their_definition(
    scripted, divide, found_in, seed, groups, size, length, diversity, penalty, early_stopping, threshold
):
    model = scripted((1, 2, 3), 7, seed)
    options = diverse_options(
        groups, size, max_new_tokens=length, diversity_penalty=diversity, length_penalty=penalty,
        num_return_sequences=groups * size, early_stopping=early_stopping, return_scores=True, beam_threshold=threshold,
    )  # fmt: skip
    found = model.search(options)
    for row, name in enumerate(model.rows):
        expected = naive_search(model, name, options, divide)
        scores, known = [score for score, _ in expected], len(expected)  # fewer where beams were given up
        np.testing.assert_allclose(found.scores[row, :known], scores, rtol=1e-5, atol=1e-5)
        # Groups may find the same sequence with scores that differ in the last bits only.
        assert sorted(found_in(found, row)[:known]) == sorted(sequence for _, sequence in expected)
        assert not found.lengths[row, known:].any()
        totals = found.token_scores[row, :known].sum(axis=-1)
        divisors = [divide(length, options) for length in found.lengths[row, :known].tolist()]
        np.testing.assert_allclose(totals / divisors, scores, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(2, 4), st.integers(1, 9), STOPS)
def test_one_group_is_ordinary_beam_search(scripted, seed, beams, length, early_stopping):
    model = scripted((1, 2, 3), 7, seed)
    options = GenerationOptions(
        num_beams=beams, num_return_sequences=beams, max_new_tokens=length, eos_token_id=0,
        early_stopping=early_stopping, return_scores=True,
    )  # fmt: skip
    ids, state = model.start(beams)
    rows = Rows(ids[:, :1])
    diverse = DiverseBeamSearch(options, Processors(options, rows, numpy_ops), rows, numpy_ops)
    groups, parents = diverse.start(3), np.zeros_like(ids)
    for t in range(length):
        logits, state = model.step(numpy_ops)(ids, parents, state)
        ids, parents, groups = diverse.advance(logits, groups, np.int32(t))
    for one, ordinary in zip(diverse.result(groups), model.search(options), strict=True):
        np.testing.assert_array_equal(one, ordinary)


def test_a_higher_penalty_gives_more_different_beginnings(scripted, found_in):
    model = scripted(tuple(range(30)), 9, 1)
    plain = GenerationOptions(num_beams=4, num_return_sequences=4, max_new_tokens=6, eos_token_id=0)
    diverse = plain.merged(num_beam_groups=4, diversity_penalty=5.0)

    def beginnings(options):
        found = model.search(options)
        return np.mean([len({sequence[0] for sequence in found_in(found, row)}) for row in range(30)])

    assert beginnings(diverse) > beginnings(plain) + 1


@settings(deadline=None, max_examples=20)
@given(SEEDS, STOPS)
def test_a_row_of_a_batch_is_searched_as_if_alone(scripted, seed, early_stopping):
    model = scripted((1, 2, 3, 4), 9, seed)
    options = diverse_options(
        2, 2, diversity_penalty=0.7, max_new_tokens=7, early_stopping=early_stopping, return_scores=True
    )
    together = model.search(options)
    for row, name in enumerate(model.rows):
        for one, many in zip(model.only(name).search(options), together, strict=True):
            np.testing.assert_array_equal(one[0], many[row])


@pytest.mark.parametrize("words", [((3,), (4,)), ((2, 3), (5, 1))])
def test_rules_apply_within_each_group(scripted, found_in, words):
    model = scripted((1, 2), 7, 0)
    options = diverse_options(
        3, 1, diversity_penalty=1.0, max_new_tokens=6, num_return_sequences=3, bad_words_ids=words,
        renormalize_logits=True,
    )  # fmt: skip
    found = model.search(options)
    for row in (0, 1):
        for sequence in found_in(found, row):
            grams = {sequence[i : i + len(words[0])] for i in range(len(sequence))}
            assert not grams & set(words)
