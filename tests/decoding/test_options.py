"""Options say by name what cannot be, and speak generation_config.json."""

import json

import numpy as np
import pytest

from regard.decoding.options import GENERATION_CONFIG_KEYS, Generation, GenerationOptions
from regard.errors import ConfigError

REFUSED = [
    ({"num_beams": 4, "num_return_sequences": 8}, "num_beams must be at least num_return_sequences (8), but is 4"),
    ({"num_return_sequences": 2}, "num_beams must be at least num_return_sequences (2), but is 1 (or set do_sample"),
    ({"min_new_tokens": 9, "max_new_tokens": 5}, "min_new_tokens must be at most max_new_tokens (5), but is 9"),
    ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, but is 0"),
    ({"num_beams": 2.5}, "num_beams must be an integer, but is 2.5"),
    ({"num_beams": True}, "num_beams must be an integer, but is True"),
    ({"temperature": 0}, "temperature must be above 0, but is 0.0; do_sample=False takes the likeliest token"),
    ({"temperature": "hot"}, "temperature must be a number, but is 'hot'"),
    ({"length_penalty": float("nan")}, "length_penalty must be finite, but is nan"),
    ({"top_p": 1.5}, "top_p must be between 0 and 1, but is 1.5"),
    ({"repetition_penalty": -1.0}, "repetition_penalty must be above 0, but is -1.0"),
    ({"early_stopping": "always"}, "early_stopping must be True, False or \"never\", but is 'always'"),
    ({"length_penalty_form": "paper"}, 'length_penalty_form must be "transformers" or "gnmt", but is \'paper\''),
    ({"do_sample": "yes"}, "do_sample must be True or False, but is 'yes'"),
    ({"bad_words_ids": [[]]}, "bad_words_ids must be a list of non-empty lists of ids, but is [[]]"),
    ({"bad_words_ids": [[-3]]}, "bad_words_ids must be at least 0, but is -3"),
    ({"eos_token_id": [1, "</s>"]}, "eos_token_id must be an integer, but is '</s>'"),
    ({"pad_token_id": -1}, "pad_token_id must be at least 0, but is -1"),
    ({"seed": "abc"}, "seed must be integers, but is 'abc'"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED)
def test_values_that_cannot_be_are_refused_by_name(values, message):
    with pytest.raises(ConfigError) as caught:
        GenerationOptions(**values)
    assert message in str(caught.value)


def test_an_unknown_option_names_the_nearest_one():
    with pytest.raises(ConfigError, match=r"unknown option num_beam: did you mean num_beams\?"):
        GenerationOptions().merged(num_beam=3)
    with pytest.raises(ConfigError, match=r"unknown option xyzzy: known options: max_new_tokens, "):
        GenerationOptions().merged(xyzzy=3)


def test_what_only_sampling_reads_is_refused_where_nothing_samples():
    with pytest.raises(ConfigError, match=r"temperature is for sampling, so it needs do_sample=True"):
        GenerationOptions().merged(temperature=0.7)
    sampled = GenerationOptions().merged(do_sample=True, temperature=0.7)
    assert sampled.merged(do_sample=False).temperature == 0.7  # a checkpoint's default, not said here
    assert GenerationOptions().merged(top_k=0, temperature=1.0).top_k == 0


def test_options_are_hashable_whatever_sequences_they_were_given():
    options = GenerationOptions(
        eos_token_id=[np.int64(1), 2], bad_words_ids=[[3], [4, 5]], seed=np.array([6, 7]), num_beams=np.int32(2)
    )
    assert (options.eos_ids, options.bad_words_ids, options.seed) == ((1, 2), ((3,), (4, 5)), (6, 7))
    assert hash(options.static) == hash(options.merged(seed=9).static)


def test_none_stands_for_the_default():
    assert GenerationOptions(top_k=None, bad_words_ids=None, temperature=None) == GenerationOptions()


@pytest.mark.parametrize(
    ("values", "width", "pad"),
    [
        ({"num_beams": 4, "num_return_sequences": 2}, 4, 0),
        ({"do_sample": True, "num_return_sequences": 3, "eos_token_id": (5, 6)}, 3, 5),
        ({"eos_token_id": 5, "pad_token_id": 7}, 1, 7),
    ],
)
def test_width_and_padding_follow_from_the_options(values, width, pad):
    options = GenerationOptions(**values)
    assert (options.width, options.pad_id) == (width, pad)


def test_a_row_has_its_own_seed():
    np.testing.assert_array_equal(GenerationOptions(seed=2**32 - 1).row_seeds(2), [[2**32 - 1, 0], [0, 1]])
    np.testing.assert_array_equal(GenerationOptions(seed=-1).row_seeds(1), [[2**32 - 1, 2**32 - 1]])
    np.testing.assert_array_equal(GenerationOptions(seed=(5, 3)).row_seeds(2), [[5, 0], [3, 0]])
    assert (GenerationOptions().row_seeds(1) != GenerationOptions().row_seeds(1)).any()
    with pytest.raises(ConfigError, match=r"seed must be one int or one a row \(3\), but has 2"):
        GenerationOptions(seed=(5, 3)).row_seeds(3)


def test_generation_config_round_trips():
    options = GenerationOptions(
        max_new_tokens=7,
        num_beams=4,
        early_stopping="never",
        bad_words_ids=[[3], [4, 5]],
        eos_token_id=(1, 2),
        min_p=0.1,
    )
    config = json.loads(json.dumps(options.to_generation_config()))
    assert set(config) <= GENERATION_CONFIG_KEYS
    assert GenerationOptions.from_generation_config(config) == options


def test_what_transformers_does_not_know_stays_out_of_generation_config():
    options = GenerationOptions(seed=3, return_scores=True, length_penalty_form="gnmt")
    assert options.to_generation_config() == {}


def test_total_lengths_of_a_generation_config_become_new_tokens():
    config = {"max_length": 142, "min_length": 56, "top_k": None, "transformers_version": "4.0"}
    assert GenerationOptions.from_generation_config(config) == GenerationOptions(max_new_tokens=141, min_new_tokens=55)
    prompted = GenerationOptions.from_generation_config(config | {"max_new_tokens": 9}, prompt_length=100)
    assert (prompted.max_new_tokens, prompted.min_new_tokens) == (9, 0)


def test_a_generation_is_cropped_to_its_longest_sequence():
    sequences = np.array([[[5, 0, 9, 9]], [[4, 4, 0, 9]]], "int32")
    found = Generation(sequences, np.array([[2], [3]], "int32"), np.zeros((2, 1)), np.zeros((2, 1, 4))).cropped()
    assert (found.sequences.shape, found.token_scores.shape, found.scores.shape) == ((2, 1, 3), (2, 1, 3), (2, 1))
