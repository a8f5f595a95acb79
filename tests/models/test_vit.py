"""ViT and DeiT as data: sizes, names, and what a config may say."""

import json
import re
from math import prod

import numpy as np
import pytest

from regard.errors import CheckpointError, ConfigError, InputError
from regard.models.catalog import FAMILIES
from regard.models.family import Config
from regard.models.forms import build_model
from regard.specs import HeadSpec, PatchSpec

SMALL = {
    "model_type": "vit",
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 19,
    "image_size": 12,
    "patch_size": 4,
}


def spec(**values):
    config = Config({**SMALL, **values})
    return FAMILIES[config["model_type"]].from_config(config)


def stored_parameters(chosen):
    shapes = [rule.stored_shapes() for rule in FAMILIES[chosen.family].rules(chosen)]
    return sum(prod(shape) for found in shapes for shape in found.values())


def written(chosen):
    return json.loads(json.dumps(FAMILIES[chosen.family].config(chosen)))


@pytest.mark.parametrize(
    ("family", "architecture", "count"),
    [
        ("vit", "ViTForImageClassification", 86_567_656),  # ViT-B/16-224
        ("deit", "DeiTForImageClassificationWithTeacher", 87_338_192),  # DeiT-B distilled, 16-224
    ],
)
def test_a_config_of_defaults_has_the_published_size(family, architecture, count):
    config = Config({"model_type": family, "architectures": [architecture], "num_labels": 1000})
    assert stored_parameters(FAMILIES[family].from_config(config)) == count


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"image_size": [13, 9], "patch_size": [4, 2], "num_channels": 1, "qkv_bias": False},
        {"head_dim": 5, "hidden_act": "quick_gelu", "layer_norm_eps": 0.5},
        {"hidden_size": 13, "hidden_dropout_prob": 0.25, "attention_probs_dropout_prob": 0.125},
        {"pooler_output_size": 7, "pooler_act": "relu"},
        {"architectures": ["ViTForImageClassification"], "num_labels": 5, "problem_type": "regression"},
        {"model_type": "deit"},
        {"model_type": "deit", "architectures": ["DeiTForImageClassification"], "id2label": {"0": "cat"}},
        {"model_type": "deit", "architectures": ["DeiTForImageClassificationWithTeacher"]},
    ],
)
def test_a_config_written_and_read_gives_the_same_spec(values):
    chosen = spec(**values)
    assert FAMILIES[chosen.family].from_config(Config(written(chosen))) == chosen


def test_sizes_are_height_before_width():
    source = spec(image_size=[13, 9], patch_size=[4, 2]).source
    assert isinstance(source, PatchSpec)
    assert (source.image_height, source.image_width, source.patch_height, source.patch_width) == (13, 9, 4, 2)
    assert source.count == 12
    with pytest.raises(CheckpointError, match=r"image_size must be one number or two.* but is \[1, 2, 3\]"):
        spec(image_size=[1, 2, 3])


def test_heads_need_not_fill_the_width():
    layer = spec(hidden_size=13).encoder.layer
    assert (layer.head_width, layer.heads) == (4, 3)
    shapes = {rule.path: rule.shape for rule in FAMILIES["vit"].rules(spec(hidden_size=13))}
    assert shapes["encoder/layer_0/self_attention/query_key_value/kernel"] == (13, 36)
    assert shapes["encoder/layer_0/self_attention/output/kernel"] == (12, 13)


def test_a_class_that_is_not_known_is_refused_by_name():
    with pytest.raises(CheckpointError, match="ViTForMaskedImageModeling is not supported; ViTModel"):
        spec(architectures=["ViTForMaskedImageModeling"])
    with pytest.raises(ConfigError, match="no patch of 16 x 4"):
        spec(patch_size=[16, 4])


def test_the_pooler_is_there_where_its_tensors_are():
    bare = spec(pooler_output_size=7, pooler_act="relu")
    assert bare.head == HeadSpec("hidden", dense="relu", width=7)
    assert FAMILIES["vit"].adapt(bare, {"pooler.dense.weight": np.zeros(())}) == bare
    assert FAMILIES["vit"].adapt(bare, {}).head == HeadSpec("hidden")


def test_names_that_transformers_uses_in_memory_are_read_as_those_of_its_files():
    stored = {name for rule in FAMILIES["vit"].rules(spec()) for name in rule.names}
    in_memory = {
        "layers.0.attention.q_proj.weight": "encoder.layer.0.attention.attention.query.weight",
        "layers.1.attention.v_proj.bias": "encoder.layer.1.attention.attention.value.bias",
        "layers.1.attention.k_proj.bias": "encoder.layer.1.attention.attention.key.bias",
        "layers.0.attention.o_proj.bias": "encoder.layer.0.attention.output.dense.bias",
        "layers.0.layernorm_before.bias": "encoder.layer.0.layernorm_before.bias",
        "layers.0.mlp.fc1.weight": "encoder.layer.0.intermediate.dense.weight",
        "layers.1.mlp.fc2.weight": "encoder.layer.1.output.dense.weight",
    }
    assert {name: renamed(name) for name in in_memory} == in_memory
    assert set(in_memory.values()) <= stored
    assert {renamed(name) for name in stored} == stored


def renamed(name):
    for pattern, replacement in FAMILIES["vit"].renames:
        name = re.sub(pattern, replacement, name)
    return name


def test_an_image_of_another_size_is_refused_whatever_holds_it():
    import keras

    model = build_model(spec())
    for image in (np.zeros((1, 24, 24, 3), np.float32), keras.ops.zeros((1, 24, 24, 3))):
        with pytest.raises(InputError, match=r"pixel_values must be \(B, 12, 12, 3\), but is \(1, 24, 24, 3\)"):
            model({"pixel_values": image})


def test_a_teachers_classes_are_the_mean_of_both_tokens_classes():
    model = build_model(spec(model_type="deit", architectures=["DeiTForImageClassificationWithTeacher"], num_labels=4))
    image = np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype("float32")
    output = model({"pixel_values": image})
    hidden = np.asarray(output.last_hidden_state)
    assert hidden.shape == (2, 2 + 9, 12)
    kernels = [np.asarray(part.kernel) for part in (model.head.output_projection, model.head.second_projection)]
    both = [hidden[:, i] @ kernel for i, kernel in enumerate(kernels)]
    np.testing.assert_allclose(output.logits, (both[0] + both[1]) / 2, atol=1e-5)
