"""Laws of beam search, on scripted logits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.decoding import numpy_ops
from regard.decoding.beam import BeamSearch
from regard.decoding.loop import Search, search
from regard.decoding.options import GenerationOptions
from regard.decoding.processors import Processors
from regard.decoding.rows import Rows
from regard.errors import ConfigError

PAD = 99
SEEDS = st.integers(0, 10_000)
PENALTIES = st.sampled_from([-0.5, 0.0, 0.6, 1.0, 2.0])
FORMS = st.sampled_from(["transformers", "gnmt"])
STOPS = st.sampled_from([True, False, "never"])
THRESHOLDS = st.sampled_from([None, 0.0, 0.7, 2.5])


def beam_options(**values):
    return GenerationOptions(**{"eos_token_id": 0, "pad_token_id": PAD, "return_scores": True, **values})


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(2, 4), st.integers(1, 3), PENALTIES, FORMS, STOPS)
def test_a_wide_beam_is_an_exhaustive_search(scripted, divide, found_in, seed, vocab_size, length, penalty, form, stop):
    model = scripted((5, 6), vocab_size, seed)
    options = beam_options(max_new_tokens=length, length_penalty=penalty, length_penalty_form=form, early_stopping=stop)
    sequences = list(model.sequences(options))
    options = options.merged(num_beams=max(2, len(sequences)), num_return_sequences=len(sequences))
    found = model.search(options)
    for row, name in enumerate(model.rows):
        scored = sorted(((model.score(name, s) / divide(len(s), options), s) for s in sequences), reverse=True)
        assert found_in(found, row) == [sequence for _, sequence in scored]
        np.testing.assert_allclose(found.scores[row], [score for score, _ in scored], rtol=1e-5, atol=1e-5)


def naive_beam_search(model, row, options, divide):
    """One row, by the definition: lists of (score, sequence), best first."""
    width, longest = options.num_beams, options.max_new_tokens
    running, finished = [(0.0, ())], []
    for length in range(1, longest + 1):
        candidates = sorted(
            (
                (score + log_prob, (*sequence, token))
                for score, sequence in running
                for token, log_prob in enumerate(model.log_probs(row, sequence))
            ),
            reverse=True,
        )[: (1 + len(options.eos_ids)) * width]
        ended = [(s, q) for s, q in candidates[:width] if q[-1] in options.eos_ids or length == longest]
        finished += [(score / divide(length, options), sequence) for score, sequence in ended]
        finished = sorted(finished, reverse=True)[:width]
        running = [(s, q) for s, q in candidates if q[-1] not in options.eos_ids][:width]
        if options.beam_threshold is not None:
            rivals = [running[0][0], *(score * divide(length, options) for score, _ in finished[:1])]
            running = [(s, q) for s, q in running if s >= max(rivals) - options.beam_threshold]
            if not running:
                break
        if len(finished) == width:
            at_most = longest if options.early_stopping == "never" and options.length_penalty > 0 else length
            if options.early_stopping is True or running[0][0] / divide(at_most, options) <= finished[-1][0]:
                break
    return finished


@settings(deadline=None, max_examples=100)
@given(
    SEEDS, st.integers(2, 5), st.sampled_from([0, (0, 3)]), st.integers(1, 8), PENALTIES, FORMS, STOPS, THRESHOLDS
)  # fmt: skip
def test_beam_search_follows_its_definition(
    scripted, divide, found_in, seed, width, eos, length, penalty, form, stop, threshold
):
    model = scripted((1, 2, 3), 6, seed)
    options = beam_options(num_beams=width, num_return_sequences=width, max_new_tokens=length, eos_token_id=eos).merged(
        length_penalty=penalty, length_penalty_form=form, early_stopping=stop, beam_threshold=threshold
    )
    found = model.search(options)
    for row, name in enumerate(model.rows):
        expected = naive_beam_search(model, name, options, divide)
        known = len(expected)  # fewer than the width where beams were given up
        assert 0 < known == np.count_nonzero(found.lengths[row])
        assert found_in(found, row)[:known] == [sequence for _, sequence in expected]
        np.testing.assert_allclose(found.scores[row, :known], [score for score, _ in expected], rtol=1e-5, atol=1e-5)
        assert (found.scores[row, known:] == -math.inf).all()


def test_the_three_ways_to_stop_find_different_hypotheses(scripted):
    """So that the definition above is tested where it matters."""
    model = scripted(tuple(range(40)), 5, 3)
    found = {
        stop: model.search(beam_options(num_beams=2, num_return_sequences=2, max_new_tokens=12, early_stopping=stop))
        for stop in (True, False, "never")
    }
    assert (found[False].scores > found[True].scores + 1e-4).any()
    assert (found["never"].scores > found[False].scores + 1e-4).any()


def row_steps(model, options):
    """What a search finds, and how many rows its steps extend: those that are done leave a batch."""
    start_ids, codes = model.start(options.width)
    whole = Search(model.step(numpy_ops), options, numpy_ops)
    state, count = whole.start(codes, start_ids), 0
    while whole.is_open(state):
        count += int(whole.open_rows(state).sum())
        state = whole.extend(state)
    return whole.result(state), count


def test_beams_that_are_given_up_save_steps_and_the_more_the_nearer_the_threshold(scripted):
    model = scripted(tuple(range(60)), 6, 4, spread=3.0)
    options = beam_options(num_beams=4, max_new_tokens=30)
    whole, most = row_steps(model, options)
    counts, kept = [], []
    for threshold in (1e9, 4.0, 2.0, 1.0):
        found, count = row_steps(model, options.merged(beam_threshold=threshold))
        counts.append(count)
        kept.append(sum(a == b for a, b in zip(found.sequences.tolist(), whole.sequences.tolist(), strict=True)))
        assert (found.lengths > 0).all()
        assert (found.scores <= whole.scores + 1e-4).sum() > 50  # a beam that went may have kept out a better one
    assert counts[0] == most
    assert 0.9 * most > counts[1] > counts[2] > counts[3]
    assert 0.75 * most > counts[2]
    assert kept[:3] == [60, 60, 60]
    assert 50 < kept[3] < 60


def test_an_end_that_came_too_soon_does_not_outlast_longer_hypotheses(scripted):
    """Its sum is the greatest of all, but not its score: the length penalty stands between it and the beams."""

    class Sure(type(scripted((1,), 4, 0))):
        @property
        def table(self):
            return np.tile(np.float32([-1.5, -math.inf, -0.3, -3.0]), (997, 1))  # 0, eos; 2, by far the likeliest

    model = Sure((1,), 4, 0)
    options = beam_options(num_beams=2, max_new_tokens=12, length_penalty=1.0, beam_threshold=2.0)
    found = model.search(options)
    assert found.lengths[0, 0] == 12
    np.testing.assert_array_equal(found.sequences, model.search(options.merged(beam_threshold=None)).sequences)
    assert model.search(options.merged(length_penalty=0.0)).lengths[0, 0] == 1


@settings(deadline=None, max_examples=50)
@given(SEEDS, st.integers(3, 12), st.integers(2, 14), FORMS)
def test_hypotheses_are_distinct_sorted_and_scored_by_their_tokens(
    scripted, divide, found_in, seed, vocab_size, width, form
):
    model = scripted((4, 8), vocab_size, seed)
    options = beam_options(num_beams=width, num_return_sequences=width, max_new_tokens=6, length_penalty_form=form)
    found = model.search(options)
    assert np.isfinite(found.scores).all()
    assert (np.diff(found.scores, axis=1) <= 0).all()
    for row, name in enumerate(model.rows):
        sequences = found_in(found, row)
        assert len(set(sequences)) == width
        for n, sequence in enumerate(sequences):
            total = model.score(name, sequence)
            np.testing.assert_allclose(
                found.scores[row, n], total / divide(len(sequence), options), rtol=1e-5, atol=1e-5
            )
            np.testing.assert_allclose(found.token_scores[row, n].sum(), total, rtol=1e-5, atol=1e-5)
            np.testing.assert_array_equal(found.token_scores[row, n, len(sequence) :], 0)


def test_beams_that_no_sequence_fills_have_no_score_and_no_tokens(scripted, found_in):
    model = scripted((2,), 3, 0)
    found = model.search(beam_options(num_beams=8, num_return_sequences=8, max_new_tokens=1))
    assert sorted(found_in(found, 0)[:3]) == [(0,), (1,), (2,)]
    assert np.isfinite(found.scores[0, :3]).all()
    assert (found.scores[0, 3:] == -math.inf).all()
    assert (found.lengths[0, 3:] == 0).all()
    assert (found.sequences[0, 3:] == PAD).all()


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(1, 4), STOPS, st.sampled_from([0, (0, 2)]))
def test_nothing_but_padding_follows_the_end(scripted, seed, width, stop, eos):
    options = beam_options(num_beams=width, max_new_tokens=9, early_stopping=stop, eos_token_id=eos)
    for row in scripted((1, 2, 3), 7, seed).search(options).sequences.reshape(-1, 9).tolist():
        ends = [t for t, token in enumerate(row) if token in options.eos_ids]
        assert PAD not in (row[: ends[0]] if ends else row)
        assert set(row[ends[0] + 1 :] if ends else []) <= {PAD}


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(1, 5), STOPS, st.booleans(), THRESHOLDS)
def test_a_row_of_a_batch_is_searched_as_if_alone(scripted, seed, width, stop, sample, threshold):
    model = scripted((1, 2, 3, 4), 9, seed)
    options = beam_options(num_beams=width, max_new_tokens=7, early_stopping=stop, do_sample=sample, return_scores=True)
    if width > 1:
        options = options.merged(beam_threshold=threshold)
    together = model.search(options.merged(seed=(3, 1, 4, 1)))
    for row, name in enumerate(model.rows):
        alone = model.only(name).search(options.merged(seed=(3, 1, 4, 1)[row]))
        for one, many in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one[0], many[row])


@settings(deadline=None, max_examples=30)
@given(SEEDS)
def test_one_beam_that_stops_at_its_first_end_is_greedy(scripted, seed):
    model = scripted((1, 2, 3), 9, seed)
    options = beam_options(max_new_tokens=8, early_stopping=True)
    ids, state = model.start(1)
    rows = Rows(ids)
    beam = BeamSearch(options, Processors(options, rows, numpy_ops), rows, numpy_ops)
    beams, parents = beam.start(3), np.zeros((3, 1), "int32")
    for t in range(8):
        logits, state = model.step(numpy_ops)(ids, parents, state)
        ids, parents, beams = beam.advance(logits, beams, np.int32(t))
    for one, greedy in zip(beam.result(beams), model.search(options), strict=True):
        np.testing.assert_allclose(one, greedy, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.sampled_from([0.4, 1.7]))
def test_sampled_beams_add_up_log_probabilities_over_the_temperature(scripted, found_in, seed, temperature):
    """total = running + log_prob / T, as Transformers has it, without normalising again."""
    model = scripted((1, 2), 6, seed)
    options = beam_options(
        do_sample=True, num_beams=3, num_return_sequences=3, top_k=0, temperature=temperature, seed=seed
    ).merged(max_new_tokens=4, length_penalty=0.0)
    found = model.search(options)
    for row, name in enumerate(model.rows):
        for n, sequence in enumerate(found_in(found, row)):
            steps = [model.log_probs(name, sequence[:t])[token] / temperature for t, token in enumerate(sequence)]
            np.testing.assert_allclose(found.token_scores[row, n, : len(steps)], steps, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(found.scores[row, n], sum(steps), rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(SEEDS)
def test_renormalised_beams_add_up_the_log_probabilities_of_what_is_left(scripted, found_in, seed):
    model = scripted((1, 2), 6, seed)
    options = beam_options(num_beams=3, num_return_sequences=3, max_new_tokens=4, bad_words_ids=[[2], [5]])
    found = model.search(options.merged(renormalize_logits=True, length_penalty=0.0))
    for row, name in enumerate(model.rows):
        for n, sequence in enumerate(found_in(found, row)):
            total = 0.0
            for t, token in enumerate(sequence):
                log_probs = model.log_probs(name, sequence[:t])
                total += log_probs[token] - np.log(np.exp(log_probs[[0, 1, 3, 4]]).sum())
            np.testing.assert_allclose(found.scores[row, n], total, rtol=1e-5, atol=1e-5)


def test_the_loop_ends_with_the_last_row(scripted):
    model = scripted((1, 2, 3), 5, 0, spread=3.0)
    calls = []

    class Counting(type(model)):
        def step(self, ops):
            inner = super().step(ops)

            def step(*arguments):
                calls.append(1)
                return inner(*arguments)

            return step

    counting = Counting(model.rows, model.vocab_size, model.seed, model.spread)
    for width in (1, 3):
        calls.clear()
        found = counting.search(beam_options(num_beams=width, max_new_tokens=50, early_stopping=True))
        assert found.lengths.max() <= len(calls) < 50
        assert width > 1 or len(calls) == found.lengths.max()


def test_a_vocabulary_of_nothing_but_ends_is_refused(scripted):
    with pytest.raises(ConfigError, match=r"needs a token besides eos, but the vocabulary's size is 1"):
        scripted((1,), 1, 0).search(beam_options(num_beams=2))


def test_start_ids_of_another_width_are_refused(scripted):
    model = scripted((1,), 5, 0)
    start_ids, codes = model.start(1)
    with pytest.raises(ConfigError, match=r"start_ids must have 4 columns, one a hypothesis, but has 1"):
        search(model.step(numpy_ops), codes, start_ids, beam_options(num_beams=4), numpy_ops)
