"""The search of frames finds what adding up every path finds."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.decoding.frames import collapsed
from regard.decoding.ngrams import BEGIN, END, NGrams
from regard.decoding.prefixes import Spelling, WordModel, prefix_search

BLANK = 3
SPELLING = Spelling.of([" a", "b", " c", ""])  # a text of ids 0 1 2 is "ab c"
NGRAMS = NGrams.of_texts([["ab", "c"], ["ab", "c"], ["a", "c"], ["c"]], 2)


def frames_of(seed, places):
    logits = np.random.default_rng(seed).normal(0, 2, (places, 4))
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def words_of(ids):
    words = []
    for token in ids:
        if SPELLING.begins[token] or not words:
            words.append("")
        words[-1] += SPELLING.pieces[token].decode()
    return words


def best_of_all(frames, alpha, beta):
    """By every path: the text with the greatest sum, and what its words count."""
    sums = {}
    for path in itertools.product(range(4), repeat=len(frames)):
        (text,) = (tuple(ids) for ids in collapsed(np.array([path]), BLANK))
        sums[text] = sums.get(text, 0) + math.exp(sum(frames[place, token] for place, token in enumerate(path)))

    def score(text):
        words, context, counted = words_of(text), (BEGIN,), 0.0
        for word in words:
            counted += alpha * NGRAMS.score(context, word) + beta
            context = (*context, word)
        return math.log(sums[text]) + (counted + alpha * NGRAMS.score(context, END) if alpha or beta else 0.0)

    return max(sums, key=score), score


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([(0.0, 0.0), (0.5, 1.0), (2.0, -0.5)]))
def test_with_room_for_every_prefix_it_is_the_best_text_of_all(seed, places, weights):
    frames = frames_of(seed, places)
    wanted, score = best_of_all(frames, *weights)
    model = WordModel(NGRAMS, *weights) if any(weights) else None
    found = tuple(prefix_search(frames, BLANK, SPELLING, 1000, model))
    assert score(found) == pytest.approx(score(wanted))


def test_it_finds_a_text_whose_paths_together_are_likelier_than_the_likeliest_path():
    # The blank twice is the likeliest path, and "a" by its three paths the likeliest text.
    frames = np.log(np.array([[0.4, 1e-9, 1e-9, 0.6]] * 2))
    assert next(collapsed(frames[None].argmax(-1), BLANK)) == []
    assert prefix_search(frames, BLANK, SPELLING, 4) == [0]


def test_equal_tokens_are_said_twice_only_over_a_blank():
    def sure(*tokens):
        frames = np.full((len(tokens), 4), 1e-6)
        frames[np.arange(len(tokens)), tokens] = 1
        return np.log(frames / frames.sum(-1, keepdims=True))

    assert prefix_search(sure(0, 0, 1), BLANK, SPELLING, 8) == [0, 1]
    assert prefix_search(sure(0, BLANK, 0, 1), BLANK, SPELLING, 8) == [0, 0, 1]


def test_known_words_win_where_sounds_are_as_likely_and_only_there():
    doubtful = np.log(np.array([[0.9, 0.02, 0.02, 0.06], [0.02, 0.44, 0.44, 0.1], [0.02, 0.48, 0.48, 0.02]]))
    model = WordModel(NGRAMS, 1.0, 0.0)
    assert words_of(prefix_search(doubtful, BLANK, SPELLING, 16, model)) in (["ab", "c"], ["ab"], ["a", "c"])
    sure = np.log(np.array([[1e-5, 1, 1e-5, 1e-5], [1, 1e-5, 1e-5, 1e-5]]))
    assert words_of(prefix_search(sure, BLANK, SPELLING, 16, model)) == ["b", "a"], "though nobody knows b"


def test_bytes_of_one_character_make_a_word_together():
    spelling = Spelling.of([b" \xe4", b"\xb8\xad", " x", ""])
    ngrams = NGrams.of_texts([["中", "x"]] * 3, 2)
    frames = np.log(np.array([[0.9, 0.04, 0.03, 0.03], [0.03, 0.9, 0.04, 0.03], [0.03, 0.04, 0.9, 0.03]]))
    model = WordModel(ngrams, 1.0, 0.0)
    assert prefix_search(frames, BLANK, spelling, 8, model) == [0, 1, 2]
    assert model.begun((BEGIN,), b"\xe4") == 0
    assert model.begun((BEGIN,), b"\xe5") < 0
