"""T5, its version 1.1, mT5."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import regard
from regard.errors import CheckpointError, ConfigError
from regard.models.family import Config
from regard.models.forms import build_model
from regard.models.t5 import T5

SIZES = {
    "vocab_size": 23,
    "d_model": 12,
    "d_kv": 5,
    "d_ff": 19,
    "num_heads": 3,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 10,
}
SMALL = {"vocab_size": 32128, "d_model": 512, "d_kv": 64}
BATCH = {"input_ids": np.array([[3, 4, 5, 1]]), "decoder_input_ids": np.array([[0, 6, 7]])}


def spec_of(family="t5", sizes=SIZES, **changes):
    return T5.from_config(Config({"model_type": family, **sizes, **changes}))


class Stored(dict):
    """Tensors of a checkpoint."""

    def shape(self, name):
        return self[name].shape


@pytest.mark.parametrize(
    ("family", "sizes", "published"),
    [
        ("t5", {**SMALL, "d_ff": 2048, "num_heads": 8, "num_layers": 6}, 60_506_624),  # t5-small
        (
            "t5",  # t5-v1_1-small
            {**SMALL, "d_ff": 1024, "num_heads": 6, "num_layers": 8, "feed_forward_proj": "gated-gelu"}
            | {"tie_word_embeddings": False},
            76_961_152,
        ),
        (
            "mt5",  # mt5-small
            {**SMALL, "vocab_size": 250112, "d_ff": 1024, "num_heads": 6, "num_layers": 8}
            | {"tie_word_embeddings": False},
            300_176_768,
        ),
    ],
)
def test_published_models_have_their_published_sizes(family, sizes, published):
    rules = T5.rules(spec_of(family, sizes))
    assert sum(math.prod(rule.shape) for rule in rules) == published


def test_a_stack_is_of_rms_norms_and_relative_positions_without_biases_or_scaled_scores():
    spec = spec_of()
    for stack, depth in ((spec.encoder, 2), (spec.decoder, 3)):
        layer = stack.layer
        assert (stack.depth, stack.final_norm) == (depth, True)
        assert (stack.relative.buckets, stack.relative.max_distance) == (8, 10)
        assert (layer.norm, layer.norm_order, layer.norm_epsilon, layer.attention_scale) == ("rms", "pre", 1e-6, 1.0)
        assert (layer.heads, layer.head_width, layer.ffn_width) == (3, 5, 19)
        assert (layer.attention_bias, layer.feed_forward_bias) == ("none", False)
    assert spec.text.positions.kind == "none"
    assert vars(spec.tokens) == {"pad": 0, "eos": 1, "bos": None, "decoder_start": 0}
    assert spec_of(num_decoder_layers=None).decoder.depth == 2


@pytest.mark.parametrize(
    ("said", "activation", "gated"),
    [
        ({}, "relu", False),
        ({"feed_forward_proj": "gelu"}, "gelu", False),
        ({"feed_forward_proj": "gated-gelu"}, "gelu_tanh", True),
        ({"feed_forward_proj": "gated-silu"}, "silu", True),
        ({"feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu", "is_gated_act": True}, "gelu", True),
        ({"feed_forward_proj": "relu", "dense_act_fn": "silu", "is_gated_act": True}, "silu", True),
        ({"feed_forward_proj": "gated-gelu", "dense_act_fn": "relu", "is_gated_act": False}, "relu", False),
        ({"is_gated_act": True}, "relu", True),
    ],
)
def test_the_feed_forward_is_parsed_as_transformers_does(said, activation, gated):
    spec = spec_of(**said)
    assert (spec.encoder.layer.activation, spec.encoder.layer.gated) == (activation, gated)
    assert T5.from_config(Config(T5.config(spec))) == spec
    up = "gate_up" if gated else "up"
    assert f"decoder/layer_0/feed_forward/{up}/kernel" in {rule.path for rule in T5.rules(spec)}


@pytest.mark.parametrize(
    ("family", "said", "tied", "scaled"),
    [
        ("t5", {}, True, True),
        ("t5", {"tie_word_embeddings": False}, False, False),
        ("t5", {"scale_decoder_outputs": False}, True, False),
        ("t5", {"tie_word_embeddings": True, "scale_decoder_outputs": False}, True, False),
        ("t5", {"tie_word_embeddings": False, "scale_decoder_outputs": True}, False, True),
        ("mt5", {}, True, False),
        ("mt5", {"tie_word_embeddings": False, "scale_decoder_outputs": True}, False, False),
    ],
)
def test_whether_the_output_is_scaled_is_told_apart_from_whether_it_is_tied(family, said, tied, scaled):
    spec = spec_of(family, **said)
    assert (spec.output.tied, spec.output.scale) == (tied, 12**-0.5 if scaled else 1.0)
    assert T5.from_config(Config(json.loads(json.dumps(T5.config(spec))))) == spec


def test_the_tensors_decide_whether_there_is_one_table():
    table = np.arange(23.0 * 12).reshape(23, 12)
    for spec in (spec_of(), spec_of(tie_word_embeddings=False)):
        assert T5.adapt(spec, Stored({"shared.weight": table})).output.tied
        assert T5.adapt(spec, Stored({"shared.weight": table, "lm_head.weight": table.copy()})).output.tied
        assert not T5.adapt(spec, Stored({"shared.weight": table, "lm_head.weight": table + 1})).output.tied
    assert T5.adapt(spec_of(scale_decoder_outputs=False), Stored({"shared.weight": table})).output.scale == 1.0


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"architectures": ["T5ForSequenceClassification"]}, "T5ForSequenceClassification is not supported"),
        ({"architectures": ["T5ForTokenClassification"]}, "of this family are T5Model, T5EncoderModel"),
        ({"feed_forward_proj": "swish-gelu"}, "feed_forward_proj must be ACTIVATION or gated-ACTIVATION"),
        ({"feed_forward_proj": "gated-gelu-new"}, "but is 'gated-gelu-new'"),
        ({"feed_forward_proj": "gated-sigmoidal"}, "unknown dense_act_fn 'sigmoidal'"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(changes, complaint):
    with pytest.raises(CheckpointError, match=complaint):
        spec_of(**changes)


def test_a_decoder_alone_has_no_layout():
    spec = spec_of()
    layer = replace(spec.decoder.layer, cross_attention=False)
    with pytest.raises(ConfigError, match="t5 has an encoder, but this model is a decoder"):
        T5.config(replace(spec, encoder=None, decoder=replace(spec.decoder, layer=layer)))


def filled(spec):
    model = build_model(spec)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if "seed" not in variable.path:
            variable.assign(0.5 * rng.normal(size=variable.shape))
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {"architectures": ["T5ForConditionalGeneration"]},
        {"architectures": ["T5Model"]},
        {"architectures": ["T5EncoderModel"], "num_decoder_layers": None},
        {"tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"},
    ],
)
def test_saved_and_loaded_it_is_the_same_to_the_bit(changes, tmp_path):
    spec = spec_of(**changes)
    model = filled(spec)
    regard.save_model(model, tmp_path / "one")
    again = regard.load_model(tmp_path / "one")
    assert again.spec == spec
    assert spec.form == ("encoder" if changes.get("architectures") == ["T5EncoderModel"] else "encoder-decoder")
    regard.save_model(again, tmp_path / "two")
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    np.testing.assert_array_equal(model(BATCH).last_hidden_state, again(BATCH).last_hidden_state)


def test_copies_of_the_table_and_the_stray_bias_of_old_files_are_read_past(tmp_path):
    model = filled(spec_of())
    regard.save_model(model, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    tensors = load_file(weights)
    table = tensors["shared.weight"]
    stray = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    copies = dict.fromkeys(("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"), table)
    save_file({**tensors, **copies, stray: np.zeros((8, 3), "float32")}, weights)
    np.testing.assert_array_equal(model(BATCH).logits, regard.load_model(tmp_path / "model")(BATCH).logits)
    del tensors["shared.weight"]  # a writer that keeps one name of several may keep another one
    for side in ("encoder", "decoder"):
        save_file({**tensors, f"{side}.embed_tokens.weight": table}, weights)
        np.testing.assert_array_equal(model(BATCH).logits, regard.load_model(tmp_path / "model")(BATCH).logits)


def test_each_generated_step_sees_the_distances_that_the_whole_text_has():
    model = filled(spec_of(tie_word_embeddings=False))
    for variable in model.variables:
        if variable.path.endswith("relative_bias/table"):
            variable.assign(8 * variable.value)
    source = {"input_ids": np.array([[3, 4, 5, 6, 7, 1], [8, 9, 1, 0, 0, 0]])}
    source["attention_mask"] = (source["input_ids"] != 0).astype("int32")
    found = model.generate(source, max_new_tokens=14, min_new_tokens=14, bad_words_ids=None)
    read = np.concatenate([np.zeros((2, 1), int), found.sequences[:, 0, :-1]], axis=1)
    logits = np.array(model({**source, "decoder_input_ids": read}).logits)
    logits[..., 1] = -np.inf  # eos, which min_new_tokens forbids
    np.testing.assert_array_equal(logits.argmax(-1), found.sequences[:, 0])
    assert len(np.unique(found.sequences)) > 5  # it does not say one thing for ever
