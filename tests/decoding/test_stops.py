"""Stops against what the text says, a row at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.decoding import numpy_ops as ops
from regard.decoding.options import GenerationOptions
from regard.decoding.stops import stop_sequences_table, stop_strings_table
from regard.errors import ConfigError

PAD = 99
SEEDS = st.integers(0, 10_000)
IDS = st.lists(st.integers(0, 3), max_size=14)
WORDS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=5)
PIECES = st.lists(st.text("abc", max_size=4), min_size=3, max_size=12)
STRINGS = st.lists(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=3)


def followed(table, ids):
    """Where a stop ends, token by token."""
    state, found = np.zeros((1, 1), "int32"), []
    for token in ids:
        state, ended = table.follow(state, np.array([[token]], "int32"), ops)
        found.append(bool(ended))
    return found


@settings(deadline=None, max_examples=200)
@given(IDS, WORDS)
def test_a_sequence_of_ids_ends_where_its_last_one_stands(ids, words):
    expected = [any(ids[: t + 1][-len(word) :] == word for word in words) for t in range(len(ids))]
    assert followed(stop_sequences_table(words), ids) == expected


def ends_in_last(pieces, strings):
    """Whether a string ends within the last piece, by comparing text alone."""
    text, before = "".join(pieces), "".join(pieces[:-1])
    return any(
        text[end - len(string) : end] == string
        for string in strings
        for end in range(max(len(before) + 1, len(string)), len(text) + 1)
    )


@settings(deadline=None, max_examples=300)
@given(PIECES, STRINGS, st.lists(st.integers(0, 100), max_size=12))
def test_a_string_is_found_wherever_tokens_cut_it(pieces, strings, choices):
    ids = [choice % len(pieces) for choice in choices]
    texts = [pieces[token] for token in ids]
    expected = [ends_in_last(texts[: t + 1], strings) for t in range(len(ids))]
    assert followed(stop_strings_table(strings, pieces), ids) == expected


def test_tokens_that_hold_a_part_of_a_character_spell_it_together():
    pieces = ["x", *(bytes([byte]) for byte in "é世".encode()), "aé"]
    table = stop_strings_table(["世", "éx"], pieces)
    assert followed(table, [3, 4, 5]) == [False, False, True]
    assert followed(table, [1, 2, 0]) == [False, False, True]
    assert followed(table, [6, 0]) == [False, True]
    assert followed(table, [3, 4, 0]) == [False, False, False]


def test_ids_that_no_piece_stands_for_break_a_string_and_empty_pieces_do_not():
    table = stop_strings_table("ab", ["a", "b", ""])
    assert followed(table, [0, 2, 2, 1]) == [False, False, False, True]
    assert followed(table, [0, 7, 1]) == [False, False, False]
    assert followed(table, [0, -1, 1]) == [False, False, False]


def test_a_stop_may_begin_in_the_prompt_but_not_end_there():
    table = stop_sequences_table([(1, 2), (2, 2)])
    states = table.follow_all(np.array([[0, 1, 2], [2, 0, 1], [-1, -1, 2]], "int32"), ops)
    _, ended = table.follow(states, np.array([2, 2, 0], "int32"), ops)
    assert ended.tolist() == [True, True, False]


def test_a_large_vocabulary_keeps_few_exceptions():
    random = np.random.default_rng(0)
    pieces = ["".join(random.choice(list("abcdefgh \n"), random.integers(1, 9))) for _ in range(20_000)]
    table = stop_strings_table(["\nabc:", "###", "hgfedcba"], pieces)
    assert len(table.after) == 20_000
    assert len(table.keys) < 20_000


@pytest.mark.parametrize("strings", ["", [], ["a", ""]])
def test_empty_stop_strings_are_refused(strings):
    with pytest.raises(ConfigError, match="stop_strings must be non-empty strings, but are"):
        stop_strings_table(strings, ["a"])


def test_stops_beyond_the_bounds_are_refused():
    with pytest.raises(ConfigError, match="stop_strings must hold at most 4096 bytes, but hold 5000"):
        stop_strings_table("a" * 5000, ["a"])
    with pytest.raises(ConfigError, match="stop_sequences must hold at most 1024 ids, but hold 1200"):
        GenerationOptions(stop_sequences=[[1, 2, 3]] * 400)
    with pytest.raises(
        ConfigError, match=r"the stops' states times the vocabulary \(3000001\) must stay below 2\*\*31"
    ):
        stop_sequences_table([[3_000_000] * 800])


@settings(deadline=None, max_examples=40)
@given(SEEDS, WORDS)
def test_greedy_search_ends_with_a_stop_and_keeps_it(scripted, found_in, seed, words):
    model = scripted((1, 2, 3), 5, seed, 1.0)
    free = GenerationOptions(max_new_tokens=12, eos_token_id=4, pad_token_id=PAD)
    found = model.search(free.merged(stop_sequences=words))
    for row, (whole,) in enumerate(found_in(model.search(free), row) for row in range(3)):
        text = [1, *whole]  # the start id counts, as a prompt does
        ends = [t for t in range(1, len(whole) + 1) if any(text[: t + 1][-len(word) :] == word for word in words)]
        assert found_in(found, row) == [whole[: ends[0]] if ends else whole]
        assert set(found.sequences[row, 0, found.lengths[row, 0] :].tolist()) <= {PAD}


def naive_beams(model, row, options, divide, ends):
    """Lists of (score, sequence), best first; `ends(sequence)` says where one is over."""
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
        )[: 2 * width]
        finished += [(s / divide(length, options), q) for s, q in candidates[:width] if ends(q) or length == longest]
        finished = sorted(finished, reverse=True)[:width]
        running = [(s, q) for s, q in candidates if not ends(q)][:width]
        if not running or (len(finished) == width and running[0][0] / divide(length, options) <= finished[-1][0]):
            break
    return finished


@settings(deadline=None, max_examples=40)
@given(SEEDS, WORDS, STRINGS, st.integers(2, 4))
def test_beams_end_with_a_stop_as_with_eos(scripted, divide, found_in, seed, words, strings, width):
    model = scripted((1, 2), 5, seed)
    pieces = ["a", "b", "ca", "bc", ""]
    options = GenerationOptions(
        max_new_tokens=7, num_beams=width, num_return_sequences=width, eos_token_id=4, stop_sequences=words
    )
    words = [tuple(word) for word in words]

    def ends(sequence):
        whole = (1, *sequence)
        spelled = ends_in_last([pieces[token] for token in whole], strings)
        return sequence[-1] == 4 or spelled or any(whole[-len(word) :] == word for word in words)

    found = model.search(options, stops=stop_strings_table(strings, pieces))
    for row, name in enumerate(model.rows):
        expected = naive_beams(model, name, options, divide, ends)
        real = int(np.isfinite(found.scores[row]).sum())
        assert found_in(found, row)[:real] == [sequence for _, sequence in expected]
        np.testing.assert_allclose(found.scores[row, :real], [s for s, _ in expected], rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.sampled_from([{}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}]))
def test_a_row_stops_as_if_alone(scripted, seed, how):
    model = scripted((1, 2, 3), 6, seed)
    options = GenerationOptions(
        max_new_tokens=8, eos_token_id=0, stop_sequences=[[2, 3], [4]], return_scores=True, **how
    )
    prompt, mask = np.array([[4, 2], [5, 2], [5, 1]], "int32"), np.array([[1, 1], [1, 1], [0, 1]])
    together = model.search(options.merged(seed=(7, 8, 9)), prompt=prompt, prompt_mask=mask)
    for row, name in enumerate(model.rows):
        real = prompt[row : row + 1, -mask[row].sum() :]
        alone = model.only(name).search(options.merged(seed=7 + row), prompt=real)
        for one, many in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one[0], many[row])
