import json

import pytest

from regard.errors import CheckpointError, ConfigError
from regard.models import vaswani
from regard.models.catalog import FAMILIES, family, spec
from regard.models.family import Config
from regard.models.forms import build_model


def preset(name, **overrides):
    return spec(name, vocab_size=37000, pad_id=36999, eos_id=0, **overrides)


@pytest.mark.parametrize(("name", "count"), [("base", 63_082_496), ("big", 214_245_376)])
def test_the_papers_presets_have_the_papers_sizes(name, count):
    """docs/parameters.md derives the sums term by term; here every variable's size is added up."""
    chosen = preset(name)
    sizes = [rule.shape for rule in family(chosen.family).rules(chosen)]
    assert sum(shape[0] * (shape[1] if len(shape) == 2 else 1) for shape in sizes) == count


def test_a_built_model_has_exactly_the_variables_that_its_rules_name():
    chosen = preset("tiny", norm_order="pre")
    model = build_model(chosen)
    trained = {variable.path: tuple(variable.shape) for variable in model.trainable_variables}
    assert trained == {rule.path: rule.shape for rule in family(chosen.family).rules(chosen)}
    assert "decoder/layer_1/cross_attention/query/kernel" in trained
    assert all(path.startswith(("encoder/", "decoder/")) for path in trained)


@pytest.mark.parametrize("name", vaswani.PRESETS)  # the others: test_presets.py
@pytest.mark.parametrize("order", ["post", "pre"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh", "silu"])
def test_a_config_written_and_read_gives_the_same_spec(name, order, activation):
    chosen = preset(name, norm_order=order, activation=activation, dropout=0.25, attention_dropout=0.125)
    values = json.loads(json.dumps(FAMILIES[chosen.family].config(chosen)))
    assert FAMILIES[values["model_type"]].from_config(Config(values)) == chosen


def test_unknown_names_get_the_nearest_known_one():
    with pytest.raises(ConfigError, match="did you mean small"):
        preset("smal")
    with pytest.raises(ConfigError, match="known are tiny, small, base, big"):
        preset("enormous")
    with pytest.raises(CheckpointError, match="unknown model_type 'llama7'"):
        family("llama7")


def test_heads_must_divide_the_width():
    with pytest.raises(ConfigError, match=r"multiple of heads \(3\), but is 512"):
        preset("base", heads=3)
