"""An image encoder and a text decoder: what their configs say together, and that nothing is lost on the way out."""

import json

import numpy as np
import pytest

from regard.errors import CheckpointError
from regard.interop.checkpoints import load_model, save_model, weights_of
from regard.models.catalog import FAMILIES
from regard.models.family import Config
from regard.models.forms import build_model
from regard.specs import HeadSpec, TokenIds

FAMILY = FAMILIES["vision-encoder-decoder"]
ENCODER = {
    "model_type": "vit",
    "hidden_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "intermediate_size": 19,
    "image_size": 8,
    "patch_size": 4,
}
DECODER = {
    "model_type": "gpt2",
    "vocab_size": 29,
    "n_positions": 16,
    "n_embd": 15,
    "n_layer": 2,
    "n_head": 3,
    "add_cross_attention": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def config(encoder=(), decoder=(), **values):
    return Config(
        {
            "model_type": "vision-encoder-decoder",
            "is_encoder_decoder": True,
            "encoder": {**ENCODER, **dict(encoder)},
            "decoder": {**DECODER, **dict(decoder)},
            **values,
        }
    )


def spec(encoder=(), decoder=(), **values):
    return FAMILY.from_config(config(encoder, decoder, **values))


def names(chosen):
    return {name for rule in FAMILY.rules(chosen) for name in rule.names}


@pytest.mark.parametrize(
    "chosen",
    [
        spec(),
        spec({"model_type": "deit", "pooler_output_size": 6, "pooler_act": "gelu"}, {"n_inner": 17}),
        spec({"hidden_size": 15}, {"tie_word_embeddings": False}, decoder_start_token_id=5, pad_token_id=0),
        spec({"image_size": [8, 12]}, {"scale_attn_by_inverse_layer_idx": True, "eos_token_id": [2, 3]}),
    ],
)
def test_a_config_written_and_read_gives_the_same_spec(chosen):
    assert FAMILY.from_config(Config(json.loads(json.dumps(FAMILY.config(chosen))))) == chosen


def test_the_memory_is_projected_where_the_widths_differ():
    assert "enc_to_dec_proj.weight" in names(spec())
    assert "enc_to_dec_proj.weight" not in names(spec({"hidden_size": 15}))


def test_special_tokens_stand_at_the_top_or_in_the_decoders_config():
    assert spec().tokens == TokenIds(eos=2, decoder_start=1)  # where no start is named, bos is it
    inside = {"pad_token_id": 3, "decoder_start_token_id": 4}
    assert spec(decoder=inside).tokens == TokenIds(pad=3, eos=2, decoder_start=4)
    above = {"pad_token_id": 0, "eos_token_id": 7, "decoder_start_token_id": 8}
    assert spec(decoder=inside, **above).tokens == TokenIds(pad=0, eos=7, decoder_start=8)


def test_parts_of_other_families_are_refused_by_name():
    with pytest.raises(CheckpointError, match="encoder of model_type 'swin' is not supported; known are vit and deit"):
        spec({"model_type": "swin"})
    with pytest.raises(CheckpointError, match="decoder of model_type 'bert' is not supported; known are gpt2"):
        spec(decoder={"model_type": "bert"})
    with pytest.raises(CheckpointError, match="encoder of model_type None"):
        FAMILY.from_config(Config({"model_type": "vision-encoder-decoder"}))


@pytest.mark.parametrize("with_pooler", [True, False])
def test_every_tensor_and_unknown_key_comes_out_as_it_went_in(tmp_path, with_pooler):
    """The encoder's pooler, too, which nothing reads, where the file has one."""
    chosen = spec({"pooler_output_size": 6}, pad_token_id=0)
    chosen = chosen if with_pooler else FAMILY.adapt(chosen, {})
    assert (chosen.encoder_pooler == HeadSpec("hidden", dense="tanh", width=6)) is with_pooler
    model = build_model(chosen)
    rng = np.random.default_rng(4)
    for variable in model.variables:
        variable.assign(rng.normal(size=variable.shape))
    save_model(model, tmp_path / "first")
    path = tmp_path / "first" / "config.json"
    values = json.loads(path.read_text())
    values["encoder"] |= {"encoder_stride": 4}
    values["decoder"] |= {"summary_type": "cls_index"}
    path.write_text(json.dumps({**values, "origin": "a test"}))
    loaded = load_model(tmp_path / "first")
    save_model(loaded, tmp_path / "second")
    assert json.loads((tmp_path / "second" / "config.json").read_text()) == json.loads(path.read_text())
    before, after = weights_of(model), weights_of(load_model(tmp_path / "second"))
    assert list(before) == list(after)
    assert ("encoder.pooler.dense.weight" in before) is with_pooler
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_the_start_may_stand_in_generation_config_alone(tmp_path):
    save_model(build_model(spec(decoder_start_token_id=5)), tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    values = json.loads(path.read_text())
    del values["decoder_start_token_id"]
    path.write_text(json.dumps(values))
    assert load_model(tmp_path / "model").spec.tokens.decoder_start == 5


def test_the_kept_pooler_is_not_trained():
    model = build_model(spec())
    assert not any(variable.path.startswith("encoder_pooler") for variable in model.trainable_variables)
    assert any(variable.path == "encoder_pooler/dense/kernel" for variable in model.variables)


def test_generation_reads_the_image():
    model = build_model(spec(pad_token_id=0, decoder_start_token_id=1))
    pixels = np.random.default_rng(2).normal(size=(3, 8, 8, 3)).astype("float32")
    ids = np.ones((3, 1), np.int32)
    found = model.generate({"pixel_values": pixels}, max_new_tokens=4, eos_token_id=None)
    for _ in range(4):
        logits = np.asarray(model({"pixel_values": pixels, "decoder_input_ids": ids}).logits)
        ids = np.concatenate([ids, logits[:, -1].argmax(-1)[:, None].astype(np.int32)], axis=1)
    np.testing.assert_array_equal(found.sequences[:, 0], ids[:, 1:])
