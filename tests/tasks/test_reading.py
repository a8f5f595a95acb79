from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.errors import ConfigError, InputError
from regard.features.encoding import Encoding
from regard.tasks.characters import whole_characters
from regard.tasks.reading import bounded, most_tokens, outputs, widest_context, windows

QUESTION = [None, 0, 0, None]


def encoding(count, before=(None,), after=(None,), segment=0):
    segments = [*before, *[segment] * count, *after]
    places = range(len(segments))
    return Encoding(list(places), [int(of == 1) for of in segments], [(n, n + 1) for n in places], segments)


@given(st.integers(0, 60), st.integers(5, 20), st.integers(0, 8))
def test_windows_hold_the_whole_text_and_all_that_stands_around_it_and_share_the_stride(count, max_length, stride):
    whole = encoding(count, QUESTION, segment=1)
    if len(whole.ids) > max_length and max_length - 5 <= stride:
        with pytest.raises(InputError, match="it must be at least"):
            windows(whole, max_length, stride, segment=1)
        return
    found = windows(whole, max_length, stride, segment=1)
    texts = [[place for place, of in zip(w.encoding.ids, w.encoding.segments, strict=True) if of == 1] for w in found]
    assert sorted({place for text in texts for place in text}) == list(range(4, 4 + count))
    assert all(window.encoding.ids[:4] == [0, 1, 2, 3] for window in found)
    assert all(len(window.encoding.ids) <= max_length for window in found)
    assert all(window.encoding.ids[-1] == whole.ids[-1] for window in found)
    assert all(
        window.encoding.ids[window.before : window.before + window.length] == text
        and text == list(range(4 + window.start, 4 + window.start + window.length))
        for window, text in zip(found, texts, strict=True)
    )
    assert all(first[-stride:] == second[:stride] for first, second in pairwise(texts) if stride)
    assert all(len(of) == len(window.encoding.ids) for window in found for of in window.encoding[:4])


@given(st.integers(1, 60), st.integers(5, 20), st.integers(0, 2))
def test_each_token_is_read_where_most_of_what_stands_around_it_is_seen(count, max_length, stride):
    whole = encoding(count)
    found = windows(whole, max_length, stride)
    ends = [(w.start, w.start + w.length) for w in found]

    def context(place, start, stop):
        left = place - start if start else count
        right = stop - 1 - place if stop < count else count
        return min(left, right)

    for place, (number, where) in enumerate(widest_context(found)):
        assert found[number].encoding.ids[where] == 1 + place
        own = [context(place, start, stop) for start, stop in ends if start <= place < stop]
        assert context(place, *ends[number]) == max(own)


def test_batches_are_of_near_lengths_padded_on_the_right_and_know_their_rows(reader):
    engine = reader(lambda ids: {"logits": [sum(ids)]}, pad_token_id=0)
    given_encodings = [encoding(count) for count in (1, 7, 2, 6)]
    found = {}
    for rows, output in outputs(engine, given_encodings, batch_tokens=20):
        found |= {row: float(output.logits[place, 0]) for place, row in enumerate(rows)}
    assert found == {row: sum(own.ids) for row, own in enumerate(given_encodings)}
    assert [batch["input_ids"].shape for batch in engine.batches] == [(2, 9), (2, 4)]
    assert all(array.dtype == np.int32 for batch in engine.batches for array in batch.values())


def test_token_types_are_given_only_to_a_model_that_tells_them_apart(reader):
    for types, has in ((2, True), (1, False)):
        engine = reader(lambda ids: {"logits": [0]}, type_vocab_size=types)
        list(outputs(engine, [encoding(3, QUESTION, segment=1)]))
        assert ("token_type_ids" in engine.batches[0]) == has
        if has:
            assert engine.batches[0]["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 0]]


def test_a_text_without_a_token_is_refused_by_its_number(reader):
    engine = reader(lambda ids: {"logits": [0]})
    with pytest.raises(InputError, match="text 2 is empty"):
        list(outputs(engine, [encoding(1), encoding(0, (), ())]))


def test_the_smaller_of_two_bounds_holds_and_nobody_may_ask_for_more(reader, words):
    assert most_tokens(reader(None, positions=9).spec, words) == 9
    words.max_length = 7
    try:
        assert most_tokens(reader(None, positions=9).spec, words) == 7
    finally:
        words.max_length = None
    assert bounded(None, 9) == 9
    assert bounded(5, 9) == bounded(5, None) == 5
    with pytest.raises(ConfigError, match="max_length must be at most 9, which the model reads, but is 10"):
        bounded(10, 9)


@pytest.mark.parametrize(
    ("text", "span", "whole"),
    [
        ("a cat ", (1, 6), "cat"),
        ("cafe\u0301 x", (0, 4), "cafe\u0301"),
        ("xe\u0301 y", (2, 3), "e\u0301"),
        ("👍🏽 ok", (0, 1), "👍🏽"),
        ("👩\u200d💻 ok", (0, 1), "👩\u200d💻"),
        ("😀😀", (0, 1), "😀"),
        ("天气", (1, 2), "气"),
        ("a  b", (1, 3), ""),
    ],
)
def test_a_span_has_whole_characters_and_no_white_space_at_its_ends(text, span, whole):
    start, end = whole_characters(text, *span)
    assert text[start:end] == whole
