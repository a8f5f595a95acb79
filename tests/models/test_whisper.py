"""Whisper as data, and how it goes on from a prompt."""

import json
from math import prod

import numpy as np
import pytest
import tensorflow as tf

from regard.errors import CheckpointError, ConfigError, InputError
from regard.interop.checkpoints import load_model, save_model
from regard.models.catalog import FAMILIES
from regard.models.family import Config
from regard.models.forms import build_model
from regard.models.presets import Vocabulary, preset_spec
from regard.specs import AudioSpec, HeadSpec

WHISPER = FAMILIES["whisper"]
SMALL = {
    "model_type": "whisper",
    "architectures": ["WhisperForConditionalGeneration"],
    "vocab_size": 29,
    "num_mel_bins": 5,
    "d_model": 12,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 19,
    "decoder_ffn_dim": 23,
    "max_source_positions": 7,
    "max_target_positions": 20,
    "pad_token_id": 3,
    "eos_token_id": 2,
    "decoder_start_token_id": 4,
}


def spec(**values):
    return WHISPER.from_config(Config({**SMALL, **values}))


def shapes(chosen):
    return {name: shape for rule in WHISPER.rules(chosen) for name, shape in rule.stored_shapes().items()}


def test_tiny_en_has_the_published_size():
    """The published count leaves out the encoder's table of places, which is stored but never trained."""
    values = {"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"], "vocab_size": 51864}
    stored = shapes(WHISPER.from_config(Config(values)))
    places = stored["model.encoder.embed_positions.weight"]
    assert places == (1500, 384)
    assert sum(map(prod, stored.values())) - prod(places) == 37_184_256


def test_keys_have_no_bias_but_queries_and_values_do():
    stored = shapes(spec())
    for part in ("encoder.layers.0.self_attn", "decoder.layers.1.self_attn", "decoder.layers.1.encoder_attn"):
        there = [name for name in ("q_proj", "k_proj", "v_proj") if f"model.{part}.{name}.bias" in stored]
        assert there == ["q_proj", "v_proj"]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"architectures": ["WhisperModel"]},
        {"tie_word_embeddings": False, "activation_function": "gelu_new"},
        {"dropout": 0.25, "attention_dropout": 0.125, "activation_dropout": 0.5},
        {"eos_token_id": [2, 5]},
    ],
)
def test_a_config_written_and_read_gives_the_same_spec(values):
    chosen = spec(**values)
    assert WHISPER.from_config(Config(json.loads(json.dumps(WHISPER.config(chosen))))) == chosen


def test_the_scale_of_embeddings_is_kept_but_changes_nothing():
    """As in Transformers, which reads the key and scales nothing."""
    config = Config({**SMALL, "scale_embedding": True})
    assert not WHISPER.from_config(config).text.scale
    assert config.unread() == {"scale_embedding": True}


def test_two_output_tables_that_differ_are_two_whatever_the_config_says():
    table = np.arange(29 * 12, dtype=np.float32).reshape(29, 12)
    for own, tied in ((table, True), (table + 1, False)):
        tensors = Tensors({"proj_out.weight": own, "model.decoder.embed_tokens.weight": table})
        adapted = WHISPER.adapt(spec(), tensors)
        assert adapted.output == HeadSpec("language", tied=tied)
        assert ("proj_out.weight" in shapes(adapted)) is not tied


class Tensors(dict):
    def shape(self, name):
        return self[name].shape


def test_what_cannot_be_built_is_refused_by_name():
    with pytest.raises(CheckpointError, match="WhisperForAudioClassification is not supported"):
        spec(architectures=["WhisperForAudioClassification"])
    with pytest.raises(CheckpointError, match=r"the width \(12\) must be a multiple of the heads \(5\)"):
        spec(encoder_attention_heads=5)
    with pytest.raises(ConfigError, match="sinusoidal positions need an even width, but width is 15"):
        spec(d_model=15, decoder_attention_heads=3)


@pytest.fixture(scope="module")
def model():
    return build_model(spec())


def test_generation_goes_on_from_a_prompt_as_whole_passes_would(model):
    features = np.random.default_rng(3).normal(size=(2, 14, 5)).astype("float32")
    ids = np.array([[4, 11, 12], [4, 13, 14]], np.int32)
    options = {"max_new_tokens": 5, "eos_token_id": None, "begin_suppress_tokens": None}
    found = model.generate({"input_features": features, "decoder_input_ids": ids}, **options)
    for _ in range(5):
        logits = np.asarray(model({"input_features": features, "decoder_input_ids": ids}).logits)
        ids = np.concatenate([ids, logits[:, -1].argmax(-1)[:, None].astype(np.int32)], axis=1)
    np.testing.assert_array_equal(found.sequences[:, 0], ids[:, 3:])


def test_labels_are_shifted_right_from_the_start_token_and_ignored_ones_read_as_padding(model):
    features = np.random.default_rng(5).normal(size=(1, 14, 5)).astype("float32")
    labels = np.array([[11, -100, 12, 2]], np.int32)
    told = model({"input_features": features, "labels": labels})
    shifted = model({"input_features": features, "decoder_input_ids": np.array([[4, 11, 3, 12]], np.int32)})
    np.testing.assert_allclose(told.logits, shifted.logits, atol=1e-6)
    logits = np.asarray(told.logits, np.float64)[0]
    losses = np.log(np.exp(logits).sum(-1)) - logits[np.arange(4), np.maximum(labels[0], 0)]
    np.testing.assert_allclose(told.loss, losses[[0, 2, 3]].mean(), rtol=1e-5)


def test_suppressed_ids_beyond_the_vocabulary_are_no_obstacle(model, tmp_path):
    """Whisper's configuration has those of the full vocabulary for its default, whatever the vocabulary."""
    save_model(model, tmp_path / "model")
    path = tmp_path / "model" / "generation_config.json"
    values = {"begin_suppress_tokens": [220, 50256], "suppress_tokens": [7, 29, 28], "eos_token_id": 50256}
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    options = load_model(tmp_path / "model").generation_options
    assert (options.begin_suppress_tokens, options.suppress_tokens) == ((), (7, 28))
    assert options.eos_ids == ()


def test_the_encoder_reads_its_table_from_the_checkpoint():
    source = spec(max_source_positions=9).source
    assert isinstance(source, AudioSpec)
    assert (source.positions.kind, source.positions.max_positions) == ("stored", 9)
    assert shapes(spec())["model.encoder.embed_positions.weight"] == (7, 12)


def test_the_bias_of_keys_is_never_trained_for_no_checkpoint_holds_it():
    model = build_model(spec())
    biases = [v for v in model.trainable_variables if v.path.endswith(("query_key_value/bias", "key_value/bias"))]
    rng = np.random.default_rng(0)
    batch = {"input_features": rng.normal(size=(2, 14, 5)).astype("float32"), "labels": np.array([[5, 6, 2]] * 2)}
    with tf.GradientTape() as tape:
        loss = model(batch).loss
    gradients = tape.gradient(loss, [bias.value for bias in biases])
    assert len(biases) == 5
    for bias, gradient in zip(biases, gradients, strict=True):
        parts = np.asarray(gradient).reshape(-1, 12)
        keys = 1 if "query" in bias.path.rpartition("attention/")[2] else 0
        assert not parts[keys].any()
        assert all(part.any() for place, part in enumerate(parts) if place != keys)


def test_an_encoder_with_a_ctc_head_is_saved_in_its_own_layout_and_loaded_as_it_is(tmp_path):
    chosen = preset_spec(
        "whisper-mini", Vocabulary(29, pad=28, eos=0), "ctc", 29, width=12, heads=3, encoder_depth=1, source_positions=7
    )
    assert (chosen.form, chosen.embedding, chosen.vocab_size) == ("encoder", None, 29)
    model = build_model(chosen)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.spec == chosen
    features = {"input_features": np.random.default_rng(0).normal(size=(2, 14, 80)).astype("float32")}
    logits = model(features).logits
    assert logits.shape == (2, 7, 29)
    np.testing.assert_array_equal(loaded(features).logits, logits)
    names = {name for name in shapes(chosen) if "ctc" in name or "conv1" in name}
    assert names == {"ctc_head.weight", "ctc_head.bias", "model.encoder.conv1.weight", "model.encoder.conv1.bias"}


def test_without_a_decoder_fewer_frames_are_read_as_a_smaller_window_reads_them():
    sizes = {"width": 12, "heads": 3, "encoder_depth": 1}
    whole, smaller = (
        build_model(
            preset_spec("whisper-mini", Vocabulary(9, pad=8, eos=0), "ctc", 9, **sizes, source_positions=places)
        )
        for places in (7, 4)
    )
    for ours, theirs in zip(smaller.weights, whole.weights, strict=True):
        ours.assign(theirs[: ours.shape[0]])  # all are of one shape, but for the table of places
    features = np.random.default_rng(0).normal(size=(2, 8, 80)).astype("float32")
    logits = whole({"input_features": features}).logits
    assert logits.shape == (2, 4, 9)
    np.testing.assert_allclose(logits, smaller({"input_features": features}).logits, atol=1e-6)
    for frames in (7, 16):
        with pytest.raises(InputError, match=r"input_features must be \(B, 14, 80\)"):
            whole({"input_features": np.zeros((1, frames, 80), "float32")})


def test_a_ctc_head_needs_a_blank_among_its_labels():
    for pad in (None, 29):
        with pytest.raises(ConfigError, match=r"a ctc head needs an encoder alone, and tokens\.pad among its labels"):
            spec(architectures=["WhisperForCTC"], pad_token_id=pad)
