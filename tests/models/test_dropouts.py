"""The dropouts of a run file in the config.json of every family."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from regard.config.sections import DROPOUTS as KEYS
from regard.errors import ConfigError
from regard.models.catalog import FAMILIES, family
from regard.models.dropouts import DROPOUTS, with_dropouts
from regard.models.family import Config
from regard.specs import StackSpec

CASES = Path(__file__).parent.parent / "parity" / "cases"
CONFIGS = {path.name: json.loads((path / "config.json").read_text("utf-8")) for path in sorted(CASES.iterdir())}
TRAINED = {
    name: config
    for name, config in CONFIGS.items()
    if not config["model_type"].startswith("clip") and (CASES / name / "model.safetensors").is_file()
}


def spec_of(config):
    return family(config["model_type"]).from_config(Config(dict(config)))


def sides(config):
    found = [config[side] for side in ("encoder", "decoder") if isinstance(config.get(side), dict)]
    return found or [config]


def takes(config):
    """The keys that all sides of a checkpoint have."""
    return [key for key in KEYS if all(key in DROPOUTS[side["model_type"]] for side in sides(config))]


def test_every_family_that_is_trained_is_known():
    two_sided = {"encoder-decoder", "vision-encoder-decoder"}
    assert set(DROPOUTS) == {name for name in FAMILIES if not name.startswith("clip")} - two_sided
    assert {config["model_type"] for config in TRAINED.values()} >= two_sided
    assert all(set(names) <= set(KEYS) for names in DROPOUTS.values())


@pytest.mark.parametrize("name", TRAINED)
def test_a_rate_reaches_every_layer_and_nothing_else_changes(name):
    """T5 has one rate for all three places."""
    config, field = TRAINED[name], {"dropout": 0.31, "attention_dropout": 0.32, "activation_dropout": 0.33}
    keys = takes(config)
    rates = {key: field[key] for key in keys}
    before, after = spec_of(config), spec_of(with_dropouts(config, rates))
    want = dict.fromkeys(KEYS, 0.31) if "t5" in config["model_type"] else rates
    for part in ("encoder", "decoder"):
        old, new = getattr(before, part), getattr(after, part)
        assert (old is None) == (new is None)
        if isinstance(old, StackSpec):
            assert {key: getattr(new.layer, key) for key in want} == want
            assert replace(new, layer=replace(new.layer, **{key: getattr(old.layer, key) for key in want})) == old
    if "dropout" in rates and after.embedding is not None:
        assert after.embedding.dropout == 0.31
    assert spec_of(with_dropouts(config, {})) == before
    assert spec_of(family(after.family).config(after)).encoder == after.encoder  # and is written as it is


@pytest.mark.parametrize("name", TRAINED)
def test_a_rate_that_a_family_does_not_have_is_named(name):
    config = TRAINED[name]
    for key in set(KEYS) - set(takes(config)):
        with pytest.raises(ConfigError, match=rf"^model\.{key} is nothing that [\w-]+ has: .* takes model\.\w+"):
            with_dropouts(config, {key: 0.1})


def test_a_family_without_any_says_so():
    with pytest.raises(ConfigError, match=r"^model\.dropout is nothing that clip has: .* takes no dropout$"):
        with_dropouts({"model_type": "clip"}, {"dropout": 0.1})


def test_the_given_config_stays_as_it_is():
    config = {"model_type": "encoder-decoder", "encoder": {"model_type": "bert"}, "decoder": {"model_type": "bert"}}
    known = json.dumps(config)
    changed = with_dropouts(config, {"dropout": 0.2})
    assert [changed[side]["hidden_dropout_prob"] for side in ("encoder", "decoder")] == [0.2, 0.2]
    assert json.dumps(config) == known
