"""GPT-2: what its config.json leaves out, and tokens that a small model's vocabulary has not."""

import math

import pytest

from regard.models.family import Config
from regard.models.gpt2 import GPT2

SIZES = {"vocab_size": 23, "n_positions": 16, "n_embd": 12, "n_layer": 2, "n_head": 3}


def config_of(**changes):
    return Config({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], **changes})


def parameters(config):
    return sum(math.prod(rule.shape) for rule in GPT2.rules(GPT2.from_config(config)))


def test_a_config_that_says_nothing_is_gpt2_itself():
    assert parameters(config_of()) == 124_439_808
    tokens = GPT2.from_config(config_of()).tokens
    assert (tokens.eos, tokens.bos, tokens.pad) == (50256, 50256, None)


@pytest.mark.parametrize(
    ("sizes", "published"),
    [
        ({"n_embd": 1024, "n_layer": 24, "n_head": 16}, 354_823_168),
        ({"n_embd": 1280, "n_layer": 36, "n_head": 20}, 774_030_080),
    ],
)
def test_the_larger_ones_have_as_many_parameters_as_published(sizes, published):
    assert parameters(config_of(**sizes)) == published


@pytest.mark.parametrize(
    ("said", "eos", "bos"),
    [
        ({}, None, None),
        ({"eos_token_id": 50256, "bos_token_id": 3}, None, 3),
        ({"eos_token_id": [5, 50256], "bos_token_id": None}, (5,), None),
        ({"eos_token_id": [50256]}, None, None),
        ({"eos_token_id": 22, "bos_token_id": 23}, 22, None),
    ],
)
def test_a_token_beyond_the_vocabulary_counts_as_absent_and_is_kept(said, eos, bos):
    config = config_of(**SIZES, **said)
    tokens = GPT2.from_config(config).tokens
    assert (tokens.eos, tokens.bos) == (eos, bos)
    beyond = {
        key for key, value in said.items() if value in (23, 50256) or (isinstance(value, list) and value[-1] > 22)
    }
    assert config.unread().keys() == beyond
