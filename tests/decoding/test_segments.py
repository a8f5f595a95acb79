"""A search in segments finds what the whole one finds, and says so as it goes on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.decoding import numpy_ops
from regard.decoding.loop import Search
from regard.decoding.options import GenerationOptions
from regard.errors import ConfigError

WAYS = [
    {"eos_token_id": 0, "return_scores": True},
    {"eos_token_id": 0, "do_sample": True, "num_return_sequences": 2, "seed": 4, "repetition_penalty": 1.3},
    {"eos_token_id": 0, "stop_sequences": ((2, 3), (4,)), "no_repeat_ngram_size": 2, "frequency_penalty": 0.5},
]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from(WAYS), st.integers(1, 5))
def test_segments_find_what_the_whole_search_finds(scripted, seed, way, length):
    model = scripted((1, 2, 3), 6, seed, 1.0)
    options = GenerationOptions(max_new_tokens=11, pad_token_id=9, **way)
    search = Search(model.step(numpy_ops), options, numpy_ops)
    start_ids, codes = model.start(options.width)
    now, whole, steps = search.start(codes, start_ids), model.search(options), 0
    while search.is_open(now):
        steps += length
        now = search.run(now, steps)
        part = search.result(now)
        assert int(now.step) == min(steps, int(whole.lengths.max()))
        np.testing.assert_array_equal(part.lengths, np.minimum(whole.lengths, steps))
        for row, length_so_far in np.ndenumerate(part.lengths):
            np.testing.assert_array_equal(part.sequences[row][:length_so_far], whole.sequences[row][:length_so_far])
    for one, other in zip(search.result(now), whole, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_search_that_is_over_goes_no_further(scripted):
    model = scripted((1,), 6, 0)
    options = GenerationOptions(max_new_tokens=3)
    search = Search(model.step(numpy_ops), options, numpy_ops)
    now = search.run(search.start(*reversed(model.start(1))), 100)
    assert (int(now.step), bool(search.is_open(now))) == (3, False)
    assert int(search.run(now, 200).step) == 3


def test_beams_in_segments_end_as_the_whole_search_does(scripted):
    model = scripted((1, 2, 3), 6, 5, 1.0)
    options = GenerationOptions(num_beams=3, max_new_tokens=9, eos_token_id=0, pad_token_id=9)
    search = Search(model.step(numpy_ops), options, numpy_ops)
    start_ids, codes = model.start(3)
    now, steps = search.start(codes, start_ids), 0
    while search.is_open(now):
        steps += 2
        now = search.run(now, steps)
    for one, other in zip(search.result(now), model.search(options), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_stream_of_beams_or_of_no_tokens_at_a_time_is_refused():
    with pytest.raises(ConfigError, match=r"a stream needs num_beams=1, .* but has 3"):
        GenerationOptions(num_beams=3).check_stream(1)
    for every, complaint in ((0, "every must be at least 1, but is 0"), (1.5, "every must be an integer, but is 1.5")):
        with pytest.raises(ConfigError, match=complaint):
            GenerationOptions().check_stream(every)
