"""Sizes and keys that are rare, and that Transformers reads."""

import numpy as np
import pytest

from regard.errors import CheckpointError
from regard.models.catalog import FAMILIES
from regard.models.family import Config
from regard.models.forms import build_model
from regard.models.rope import read_rope, rope_config
from regard.nn.rotary import rotation
from regard.specs import RelativeSpec, RotarySpec
from regard.specs.tables import bucket_of_distance


@pytest.mark.parametrize(
    ("bidirectional", "wanted"),
    [(True, [0, 1, 1, 1, 1] + 16 * [2]), (False, [0, 1, 2, 3, 3, 4, 4, 4, 5, 5, 5, 5, 5] + 8 * [6])],
)
def test_an_odd_number_of_buckets_is_halved_downwards(bidirectional, wanted):
    np.testing.assert_array_equal(bucket_of_distance(RelativeSpec(7, 20), bidirectional), wanted)


def test_a_partial_rotation_is_ignored_without_scaling_and_refused_with_it():
    """As in Transformers, whose default rates are for the whole of a head."""
    said = {"rope_theta": 500.0, "partial_rotary_factor": 0.5}
    assert read_rope(Config({"rope_parameters": {**said, "rope_type": "default"}}), 16) == RotarySpec(500.0)
    with pytest.raises(CheckpointError, match="partial_rotary_factor other than 1 is not supported with 'linear'"):
        read_rope(Config({"rope_parameters": {**said, "rope_type": "linear", "factor": 2.0}}), 16)


def test_dynamic_rates_are_those_of_a_base_that_grows_with_a_row_beyond_the_trained_length():
    """theta (factor L / L0 - (factor - 1))^(H / (H - 2)), for a row of L places where L0 were trained."""
    config = Config({"rope_theta": 100.0, "rope_scaling": {"type": "dynamic", "factor": 4.0}})
    spec = read_rope(config, 8)
    assert spec == RotarySpec(100.0, "dynamic", 4.0, 8)
    assert rope_config(spec) == {"rope_theta": 100.0, "rope_type": "dynamic", "factor": 4.0}
    places = np.array([np.arange(12), np.minimum(np.arange(12), 7)], "int32")
    found = rotation(spec, 6, places)
    for row, theta in enumerate((100.0 * (4 * 12 / 8 - 3) ** (6 / 4), 100.0)):
        wanted = rotation(RotarySpec(theta), 6, places[row : row + 1])
        np.testing.assert_allclose(found.cosines[row], wanted.cosines[0], atol=1e-5)
        np.testing.assert_allclose(found.sines[row], wanted.sines[0], atol=1e-5)


def test_tokens_that_are_read_together_may_each_have_the_rates_of_the_text_that_ends_with_it():
    spec, places = RotarySpec(100.0, "dynamic", 4.0, 8), np.array([np.arange(6, 12), np.arange(6)], "int32")
    found = rotation(spec, 6, places, ends=places)
    for place in range(6):
        alone = rotation(spec, 6, places[:, place : place + 1])
        np.testing.assert_allclose(found.sines[:, :, place], alone.sines[:, :, 0], atol=1e-6)


def test_padding_does_not_stretch_dynamic_rates():
    sizes = {"hidden_size": 12, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 7}
    config = {"model_type": "llama", "vocab_size": 20, "max_position_embeddings": 3, **sizes}
    config |= {"architectures": ["LlamaForCausalLM"], "rope_scaling": {"type": "dynamic", "factor": 4.0}}
    model = build_model(FAMILIES["llama"].from_config(Config(config)))
    ids, mask = np.array([[4, 5, 6, 7, 8]]), np.ones((1, 5), "int32")
    alone = model({"input_ids": ids}).logits
    for pads in ((0, 4), (4, 0)):
        padded = {"input_ids": np.pad(ids, ((0, 0), pads)), "attention_mask": np.pad(mask, ((0, 0), pads))}
        found = np.asarray(model(padded).logits)[:, pads[0] : pads[0] + 5]
        np.testing.assert_allclose(found, alone, atol=1e-5)


def test_distilberts_sinusoids_are_read_from_the_file_and_never_trained():
    known, said = FAMILIES["distilbert"], {"model_type": "distilbert", "sinusoidal_pos_embds": True}
    spec = known.from_config(Config(said))
    assert (spec.text.positions.kind, spec.text.positions.layout) == ("stored", "interleaved")
    assert known.config(spec)["sinusoidal_pos_embds"] is True
    assert "embeddings.position_embeddings.weight" in {name for rule in known.rules(spec) for name in rule.names}
