"""What a shortlist keeps of a vocabulary for a source."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.decoding.lexical_shortlist import LexicalShortlist
from regard.errors import ConfigError

VOCAB = 30


def drawn(draw, frequent=3, best=4):
    return LexicalShortlist(
        draw.integers(0, VOCAB, frequent).astype(np.int32), draw.integers(-1, VOCAB, (VOCAB, best)).astype(np.int32)
    )


@given(st.integers(0, 2**32 - 1))
def test_a_row_keeps_the_frequent_tokens_and_what_its_own_translate_to(seed):
    draw = np.random.default_rng(seed)
    shortlist, ids, real = drawn(draw), draw.integers(0, VOCAB, (3, 5)), draw.integers(0, 2, (3, 5))
    tokens, allowed = shortlist.of_rows(ids, real, (7, 29))
    assert tokens.dtype == np.int32
    own = []
    for row, mask in zip(ids, real, strict=True):
        of_source = shortlist.likeliest[row[mask == 1]].reshape(-1)
        own.append({7, 29, *shortlist.frequent.tolist(), *of_source[of_source >= 0].tolist()})
    assert tokens.tolist() == sorted(set.union(*own))
    assert [set(tokens[row].tolist()) for row in allowed] == own
    alone, all_of_it = shortlist.of_rows(ids[1:2], real[1:2], (7, 29))
    assert all_of_it.all()
    np.testing.assert_array_equal(alone, tokens[allowed[1]])


def test_a_model_may_have_more_tokens_than_its_tokenizer():
    wide = drawn(np.random.default_rng(0)).for_vocabulary(VOCAB + 5)
    assert wide.vocab_size == VOCAB + 5
    tokens, _ = wide.of_rows(np.array([[VOCAB + 4]]), np.ones((1, 1)), (VOCAB + 1,))
    assert tokens.tolist() == sorted({*wide.frequent.tolist(), VOCAB + 1})
    with pytest.raises(ConfigError, match=f"a shortlist of {VOCAB + 5} tokens is not for a model of {VOCAB}"):
        wide.for_vocabulary(VOCAB)


@pytest.mark.parametrize(
    ("frequent", "best", "message"),
    [
        (np.zeros(0, np.int32), np.zeros((4, 1), np.int32), "F at least 1"),
        (np.zeros(1, np.int32), np.zeros(4, np.int32), r"likeliest ones \(V, K\), but has \(1,\) and \(4,\)"),
        (np.zeros(1, np.int32), np.full((4, 1), 4, np.int32), r"likeliest tokens must be int32, at least -1 and below"),
        (np.full(1, -1, np.int32), np.zeros((4, 1), np.int32), "frequent tokens must be int32, at least 0"),
        (np.zeros(1, np.int64), np.zeros((4, 1), np.int32), "frequent tokens must be int32"),
    ],
)
def test_arrays_that_are_none_are_refused(frequent, best, message):
    with pytest.raises(ConfigError, match=message):
        LexicalShortlist(frequent, best)
