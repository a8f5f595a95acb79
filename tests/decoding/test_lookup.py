"""What prompt lookup guesses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.decoding.lookup import LONGEST_NGRAM, looked_up


@pytest.mark.parametrize(
    ("text", "count", "guess"),
    [
        ([1, 2, 3, 4, 1, 2], 2, [3, 4]),
        ([1, 2, 3, 4, 1, 2], 9, [3, 4, 1, 2]),
        ([7, 2, 3, 1, 2, 4, 5, 1, 2], 2, [4, 5]),  # the longer n-gram counts, not the nearer token
        ([1, 2, 8, 1, 2, 9, 1, 2], 1, [9]),  # its latest place
        ([5, 5, 5], 3, [5]),  # no place that three follow: the first, which most follow
        ([1, 2, 3], 2, []),
        ([1], 2, []),
    ],
)
def test_the_guess_is_what_followed_the_last_words_before(text, count, guess):
    assert looked_up(text, count) == guess


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 5))
def test_a_guess_always_stands_in_the_text_after_the_n_gram_that_ends_it(text, count):
    guess = looked_up(text, count)
    assert len(guess) <= count
    if guess:
        assert any(
            text[start : start + size + len(guess)] == text[-size:] + guess
            for size in range(1, LONGEST_NGRAM + 1)
            for start in range(len(text) - size)
        )
    else:
        assert text[-1] not in text[:-1]
