"""N-grams are probabilities, those of Kneser and Ney's formula, and come back from their file."""

import math
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.decoding.ngrams import BEGIN, END, UNKNOWN, NGrams
from regard.errors import CheckpointError

TEXTS = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "d", UNKNOWN]), min_size=1, max_size=5), min_size=1, max_size=8
)
WORDS = ["a", "b", "c", "d", END, UNKNOWN]


@given(TEXTS, st.integers(1, 4), st.lists(st.sampled_from([*WORDS[:4], "never seen"]), max_size=4))
def test_after_every_context_the_words_are_all_there_is(texts, order, context):
    ngrams = NGrams.of_texts(texts, order)
    known = [word for word in WORDS if (word,) in ngrams.entries]
    assert sum(math.exp(ngrams.score((BEGIN, *context), word)) for word in known) == pytest.approx(1, abs=1e-6)


@given(TEXTS, st.integers(1, 4))
def test_a_file_says_the_same(texts, order):
    ngrams = NGrams.of_texts(texts, order)
    again = NGrams.from_arpa("\n".join(ngrams.to_arpa()).splitlines())
    assert again.order == ngrams.order
    for context in ((BEGIN,), (BEGIN, "a"), ("b", "c"), ("x", "a")):
        for word in (*WORDS, "y"):
            assert again.score(context, word) == pytest.approx(ngrams.score(context, word), abs=1e-4)


def test_bigrams_are_those_of_the_formula():
    """Chen and Goodman 1999, section 2.7: absolute discounts, and a word's share by what it was seen after."""
    texts = ["a b a b".split(), "a b c".split(), "c a".split(), "b a".split()]
    padded = [[BEGIN, *text, END] for text in texts]
    pairs = Counter(pair for text in padded for pair in pairwise(text))
    after = Counter(second for _, second in pairs)

    def discount(counts):
        often = Counter(counts.values())
        return often[1] / (often[1] + 2 * often[2]) if often[1] and often[2] else 0.5

    total, words = sum(after.values()), len(after)
    low = {w: (after[w] - discount(after)) / total + discount(after) * words / total / (words + 1) for w in after}
    ngrams = NGrams.of_texts(texts, 2)
    for first in (BEGIN, "a", "b", "c"):
        own = {second: count for (one, second), count in pairs.items() if one == first}
        for second in after:
            rest = discount(pairs) * len(own) / sum(own.values()) * low[second]
            wanted = max(own.get(second, 0) - discount(pairs), 0) / sum(own.values()) + rest
            assert math.exp(ngrams.score((first,), second)) == pytest.approx(wanted), (first, second)


def test_a_seen_order_of_words_is_likelier_and_of_a_long_context_the_end_counts():
    ngrams = NGrams.of_texts([["the", "cat", "sat"], ["the", "dog", "sat"], ["a", "cat", "ran"]] * 3, 3)
    assert ngrams.score((BEGIN, "the"), "cat") > ngrams.score((BEGIN, "the"), "sat")
    assert ngrams.score(("x", "y", "the", "cat"), "sat") == ngrams.score(("the", "cat"), "sat")
    assert ngrams.score((), "unheard") == ngrams.score((), UNKNOWN)


def test_a_file_of_kenlm_is_read_and_a_damaged_one_named_by_its_line():
    lines = ["\\data\\", "ngram 1=4", "ngram 2=1", "", "\\1-grams:", "-1.0\t<unk>\t0", "-99\t<s>\t-0.30103"]
    lines += ["-0.5\tcat\t0", "-0.7\t</s>\t0", "", "\\2-grams:", "-0.2\t<s> cat", "", "\\end\\"]
    ngrams = NGrams.from_arpa(lines)
    assert ngrams.score((BEGIN,), "cat") == pytest.approx(-0.2 * math.log(10))
    assert ngrams.score((BEGIN,), "dog") == pytest.approx((-0.30103 - 1.0) * math.log(10))
    for number, wrong in ((6, "-1.0 <unk>"), (8, "half\tcat\t0"), (12, "-0.2\tcat")):
        with pytest.raises(CheckpointError, match=f"line {number} "):
            NGrams.from_arpa([wrong if place == number else line for place, line in enumerate(lines, 1)])
    for other in (["<html>"], ["\\odd-grams:", "-1.0\t<unk>\t0"]):
        with pytest.raises(CheckpointError, match="no ARPA file of a language model"):
            NGrams.from_arpa(other)
