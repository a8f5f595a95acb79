"""Options say by name what cannot be, and speak generation_config.json."""

import json

import numpy as np
import pytest

from regard.decoding.options import (
    GENERATION_CONFIG_KEYS,
    Generation,
    GenerationOptions,
    unsupported_generation_keys,
)
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
    ({"seed": 2**64}, f"seed must be at least 0 and below 2**64, but is {2**64}"),
    ({"seed": (3, -1)}, "seed must be at least 0 and below 2**64, but is -1"),
    ({"num_beams": 1025}, "num_beams must be at most 1024, but is 1025"),
    ({"num_return_sequences": 9999, "do_sample": True}, "num_return_sequences must be at most 1024, but is 9999"),
    ({"no_repeat_ngram_size": 1025}, "no_repeat_ngram_size must be at most 1024, but is 1025"),
    ({"eos_token_id": -1}, "eos_token_id must be at least 0, but is -1"),
    ({"forced_eos_token_id": [2, -1]}, "forced_eos_token_id must be at least 0, but is -1"),
    ({"early_stopping": 2}, 'early_stopping must be True, False or "never", but is 2'),
    ({"early_stopping": []}, 'early_stopping must be True, False or "never", but is []'),
    ({"renormalize_logits": 1.0}, "renormalize_logits must be True or False, but is 1.0"),
    ({"typical_p": 0.0}, "typical_p must be above 0 and at most 1, but is 0.0"),
    ({"top_h": 1.5}, "top_h must be above 0 and at most 1, but is 1.5"),
    ({"epsilon_cutoff": 1.0}, "epsilon_cutoff must be at least 0 and below 1, but is 1.0"),
    ({"eta_cutoff": -0.1}, "eta_cutoff must be at least 0 and below 1, but is -0.1"),
    ({"diversity_penalty": -1}, "diversity_penalty must be at least 0, but is -1.0"),
    ({"beam_threshold": -0.5, "num_beams": 4}, "beam_threshold must be at least 0, but is -0.5"),
    ({"frequency_penalty": float("inf")}, "frequency_penalty must be finite, but is inf"),
    ({"num_beam_groups": 65}, "num_beam_groups must be at most 64, but is 65"),
    ({"num_beams": 4, "num_beam_groups": 3, "diversity_penalty": 1}, "num_beams must be a multiple of num_beam_groups"),
    ({"num_beams": 4, "num_beam_groups": 2}, "diversity_penalty must be above 0 where num_beam_groups is above 1"),
    (
        {"num_beams": 2, "num_beam_groups": 2, "diversity_penalty": 1.0, "do_sample": True},
        "num_beam_groups is for beams that do not sample: set do_sample=False, or leave it at 1",
    ),
    ({"suppress_tokens": 5}, "suppress_tokens must be integers, but is 5"),
    ({"suppress_tokens": (3,), "forced_bos_token_id": 3}, "forced_bos_token_id must not be among suppress_tokens"),
    ({"sequence_bias": [[[1, 2]]]}, "sequence_bias must be a list of [ids, bias], but is [[[1, 2]]]"),
    ({"sequence_bias": 3}, "sequence_bias must be a list of [ids, bias], but is 3"),
    ({"sequence_bias": [[[1, 2], "much"]]}, "sequence_bias must be a number, but is 'much'"),
    ({"exponential_decay_length_penalty": 5}, "must be a start, in tokens, and a factor, but is 5"),
    ({"exponential_decay_length_penalty": (5, 0)}, "must have a factor above 0, but has 0.0"),
    ({"stop_sequences": [[]]}, "stop_sequences must be a list of non-empty lists of ids, but is [[]]"),
    ({"bad_words_ids": map(list, [[4], []])}, "bad_words_ids must be a list of non-empty lists of ids, but is [["),
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
    with pytest.raises(ConfigError, match=r"top_h is for sampling, so it needs do_sample=True"):
        GenerationOptions().merged(top_h=0.5)


def test_a_diversity_penalty_without_groups_is_refused_where_it_is_asked_for():
    with pytest.raises(ConfigError, match=r"diversity_penalty is between groups, so it needs num_beam_groups above 1"):
        GenerationOptions().merged(diversity_penalty=0.5)
    assert GenerationOptions(diversity_penalty=0.5).merged(num_beams=2).num_beams == 2  # a checkpoint's own


def test_a_threshold_between_beams_is_refused_where_there_is_one():
    with pytest.raises(
        ConfigError, match=r"beam_threshold is between beams, so it needs num_beams above 1, which is 1"
    ):
        GenerationOptions().merged(beam_threshold=0)
    threshold = GenerationOptions(num_beams=4).merged(beam_threshold=0)
    assert threshold.beam_threshold == 0.0
    assert threshold.merged(num_beams=1).width == 1  # a default, not said here


def test_biases_are_read_from_pairs_and_from_a_table_alike():
    pairs = GenerationOptions(sequence_bias=[[[3], 1], [[4, 5], -2.5]])
    assert pairs.sequence_bias == (((3,), 1.0), ((4, 5), -2.5))
    assert GenerationOptions(sequence_bias={(3,): 1.0, (4, 5): -2.5}) == pairs
    assert hash(pairs.static) == hash(pairs)


def test_options_are_hashable_whatever_sequences_they_were_given():
    options = GenerationOptions(
        eos_token_id=[np.int64(1), 2], bad_words_ids=[[3], [4, 5]], seed=np.array([6, 7]), num_beams=np.int32(2)
    )
    assert (options.eos_ids, options.bad_words_ids, options.seed) == ((1, 2), ((3,), (4, 5)), (6, 7))
    assert hash(options.static) == hash(options.merged(seed=9).static)


def test_bad_words_may_come_from_an_iterator_which_can_be_read_but_once():
    assert GenerationOptions(bad_words_ids=map(list, [(3,), (4, 5)])).bad_words_ids == ((3,), (4, 5))


@pytest.mark.parametrize("truth", [1, np.True_, np.int64(1)])
def test_early_stopping_is_true_whatever_says_so(truth):
    options = GenerationOptions(early_stopping=truth)
    assert options.early_stopping is True
    assert GenerationOptions(early_stopping=0).early_stopping is False
    assert GenerationOptions(early_stopping="never").early_stopping == "never"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eos_token_id": 7}, "eos_token_id must be below the vocabulary's size (7), but is 7"),
        ({"eos_token_id": (1, 9)}, "eos_token_id must be below the vocabulary's size (7), but has 9"),
        ({"pad_token_id": 8}, "pad_token_id must be below the vocabulary's size (7), but is 8"),
        ({"forced_bos_token_id": 7}, "forced_bos_token_id must be below the vocabulary's size (7), but is 7"),
        ({"forced_eos_token_id": [7]}, "forced_eos_token_id must be below the vocabulary's size (7), but has 7"),
        ({"suppress_tokens": [1, 7]}, "suppress_tokens must be below the vocabulary's size (7), but has 7"),
        ({"stop_sequences": [[1, 7]]}, "stop_sequences must be below the vocabulary's size (7), but has 7"),
        ({"sequence_bias": [[[1, 8], 1.0]]}, "sequence_bias must be below the vocabulary's size (7), but has 8"),
        ({"bad_words_ids": [[1], [2, 99]]}, "bad_words_ids must be below the vocabulary's size (7), but has 99"),
    ],
)
def test_an_id_beyond_the_vocabulary_is_refused_by_name(values, message):
    options = GenerationOptions(**values)
    with pytest.raises(ConfigError) as caught:
        options.check_vocabulary(7)
    assert message in str(caught.value)
    options.check_vocabulary(100)


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
    np.testing.assert_array_equal(GenerationOptions(seed=2**64 - 1).row_seeds(2), [[2**32 - 1, 2**32 - 1], [0, 0]])
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
        renormalize_logits=True,
        sequence_bias=[[[3, 4], -1.5]],
        suppress_tokens=[5],
        exponential_decay_length_penalty=[3, 1.1],
        typical_p=0.9,
    )
    config = json.loads(json.dumps(options.to_generation_config()))
    assert set(config) <= GENERATION_CONFIG_KEYS
    assert config["renormalize_logits"] is True
    assert GenerationOptions.from_generation_config(config) == options


def test_what_transformers_does_not_know_stays_out_of_generation_config():
    options = GenerationOptions(
        seed=3,
        return_scores=True,
        length_penalty_form="gnmt",
        frequency_penalty=1,
        presence_penalty=2,
        beam_threshold=3,
        stop_sequences=[[3]],
    )  # fmt: skip
    assert options.to_generation_config() == {}


def test_lengths_that_count_the_prompt_are_kept_and_resolved_where_it_is_known():
    config = {"max_length": 142, "min_length": 56, "top_k": None, "transformers_version": "4.0"}
    options = GenerationOptions.from_generation_config(config)
    assert (options.max_length, options.min_length) == (142, 56)
    assert options.resolved(1) == GenerationOptions(max_new_tokens=141, min_new_tokens=55)
    assert options.resolved(100) == GenerationOptions(max_new_tokens=42)
    assert options.resolved(500) == GenerationOptions(max_new_tokens=1)
    shorter = options.merged(max_new_tokens=40)  # than the least length: as in Transformers, nothing ends before
    assert shorter.resolved(1) == GenerationOptions(max_new_tokens=40, min_new_tokens=40)
    assert options.to_generation_config() == {"max_length": 142, "min_length": 56}
    plain = GenerationOptions(max_new_tokens=3)
    assert plain.resolved(7) is plain


def test_of_two_lengths_the_one_without_the_prompt_is_meant():
    config = {"max_length": 142, "max_new_tokens": 9, "min_length": 2}
    options = GenerationOptions.from_generation_config(config)
    assert (options.max_new_tokens, options.max_length) == (9, None)
    assert GenerationOptions(max_length=142).merged(max_new_tokens=5).resolved(1) == GenerationOptions(max_new_tokens=5)
    assert GenerationOptions(max_new_tokens=5).merged(max_length=9).resolved(2).max_new_tokens == 7
    with pytest.raises(ConfigError, match="max_new_tokens and max_length both say"):
        options.merged(max_new_tokens=5, max_length=9)
    with pytest.raises(ConfigError, match=r"max_new_tokens must be at most 1048576"):
        GenerationOptions(max_length=10**12).resolved(1)


WRONG_TYPES = [
    ("max_length", "512"),
    ("min_length", [5]),
    ("max_new_tokens", 1.0),
    ("num_beams", {}),
    ("temperature", "1.0"),
    ("top_p", True),
    ("length_penalty", []),
    ("repetition_penalty", 10**400),
    ("do_sample", "true"),
    ("early_stopping", 1.0),
    ("renormalize_logits", "no"),
    ("eos_token_id", "2"),
    ("eos_token_id", {"a": 1}),
    ("pad_token_id", [0]),
    ("bad_words_ids", 5),
    ("bad_words_ids", [5]),
    ("bad_words_ids", [[5.0]]),
    ("bad_words_ids", {"a": [1]}),
]


@pytest.mark.parametrize(("key", "value"), WRONG_TYPES)
def test_a_value_of_the_wrong_type_in_a_generation_config_is_refused_by_its_key(key, value):
    with pytest.raises(ConfigError, match=rf"^{key} must be "):
        GenerationOptions.from_generation_config({key: value})


def test_what_a_generation_config_asks_and_no_search_does_is_told_apart_from_neutral_values():
    neutral = {
        "encoder_no_repeat_ngram_size": 0, "encoder_repetition_penalty": 1.0, "typical_p": 1.0, "epsilon_cutoff": 0.0,
        "eta_cutoff": 0.0, "diversity_penalty": 0.0, "num_beam_groups": 1, "penalty_alpha": 0, "sequence_bias": None,
        "force_words_ids": None, "guidance_scale": 1, "suppress_tokens": [], "stop_strings": None, "num_beams": 4,
        "transformers_version": "4.0", "use_cache": True, "decoder_start_token_id": 3, "_from_model_config": True,
    }  # fmt: skip
    assert unsupported_generation_keys(neutral) == {}
    assert GenerationOptions.from_generation_config(neutral) == GenerationOptions(num_beams=4)
    asked = {
        "penalty_alpha": 0.6, "guidance_scale": 1.5, "stop_strings": "x", "max_time": 2.0, "token_healing": True,
        "forced_decoder_ids": [[1, 50259]], "force_words_ids": [[3]], "watermarking_config": {"bias": 2.5},
    }  # fmt: skip
    assert unsupported_generation_keys(neutral | asked) == asked
    assert not set(asked) & GENERATION_CONFIG_KEYS


def test_a_generation_is_cropped_to_its_longest_sequence():
    sequences = np.array([[[5, 0, 9, 9]], [[4, 4, 0, 9]]], "int32")
    found = Generation(sequences, np.array([[2], [3]], "int32"), np.zeros((2, 1)), np.zeros((2, 1, 4))).cropped()
    assert (found.sequences.shape, found.token_scores.shape, found.scores.shape) == ((2, 1, 3), (2, 1, 3), (2, 1))
