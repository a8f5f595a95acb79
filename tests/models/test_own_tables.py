"""A file may hold a table that predicts beside the embedding's, whatever its config says of tying them; and BERT's kin
have a bias of two names."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import regard
from regard.models.catalog import FAMILIES
from regard.models.family import Config
from regard.models.forms import build_model

WIDTH, VOCABULARY = 12, 11
BERT = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 7}
BERT |= {"max_position_embeddings": 9, "pad_token_id": 0}
LLAMA = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 7}
GPT2 = {"n_embd": WIDTH, "n_layer": 1, "n_head": 3, "n_positions": 9}
DISTILBERT = {"dim": WIDTH, "n_layers": 1, "n_heads": 3, "hidden_dim": 7, "max_position_embeddings": 9}
FILES = {  # the class, its sizes, the table that predicts, the embedding's
    "bert": ("BertForMaskedLM", BERT, "cls.predictions.decoder", "bert.embeddings.word_embeddings"),
    "roberta": ("RobertaForMaskedLM", BERT, "lm_head.decoder", "roberta.embeddings.word_embeddings"),
    "distilbert": ("DistilBertForMaskedLM", DISTILBERT, "vocab_projector", "distilbert.embeddings.word_embeddings"),
    "gpt2": ("GPT2LMHeadModel", GPT2, "lm_head", "transformer.wte"),
    "llama": ("LlamaForCausalLM", LLAMA, "lm_head", "model.embed_tokens"),
}
BATCH = {"input_ids": np.array([[3, 4, 5, 2]])}


@pytest.fixture(params=FILES)
def family(request):
    return request.param


def spec_of(family, **changes):
    name, sizes, *_ = FILES[family]
    said = {"model_type": family, "architectures": [name], "vocab_size": VOCABULARY, **sizes, **changes}
    return FAMILIES[family].from_config(Config(said))


def edited(place, **tensors):
    """The file with other tensors; None takes one away."""
    held = load_file(place / "model.safetensors") | tensors
    held = {name: value for name, value in held.items() if value is not None}
    save_file(held, place / "model.safetensors", metadata={"format": "pt"})


def logits(model):
    return np.asarray(model(BATCH).logits)


def test_a_table_that_differs_from_the_embeddings_predicts_whatever_the_config_says(family, tmp_path):
    *_, own, embedding = FILES[family]
    model = build_model(spec_of(family, tie_word_embeddings=True))
    regard.save_model(model, tmp_path / "tied")
    table = load_file(tmp_path / "tied" / "model.safetensors")[f"{embedding}.weight"]
    edited(tmp_path / "tied", **{f"{own}.weight": table})
    assert regard.load_model(tmp_path / "tied").spec == model.spec
    edited(tmp_path / "tied", **{f"{own}.weight": 2 * table})
    loaded = regard.load_model(tmp_path / "tied")
    np.testing.assert_allclose(logits(loaded), 2 * logits(model), rtol=1e-4, atol=1e-6)
    regard.save_model(loaded, tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["tie_word_embeddings"] is False
    np.testing.assert_array_equal(logits(regard.load_model(tmp_path / "again")), logits(loaded))


@pytest.mark.parametrize(("family", "head"), [("bert", "cls.predictions"), ("roberta", "lm_head")])
def test_an_untied_decoder_reads_its_own_bias_and_both_are_written(family, head, tmp_path):
    model, own, other = build_model(spec_of(family, tie_word_embeddings=False)), f"{head}.decoder.bias", f"{head}.bias"
    regard.save_model(model, tmp_path / "model")
    written = load_file(tmp_path / "model" / "model.safetensors")
    np.testing.assert_array_equal(written[own], written[other])
    ones, before = np.ones(VOCABULARY, np.float32), logits(model)
    edited(tmp_path / "model", **{own: 3 * ones, other: 5 * ones})
    np.testing.assert_allclose(logits(regard.load_model(tmp_path / "model")), before + 3, atol=1e-5)
    edited(tmp_path / "model", **{own: None})
    np.testing.assert_allclose(logits(regard.load_model(tmp_path / "model")), before + 5, atol=1e-5)


@pytest.mark.parametrize(("family", "head"), [("bert", "cls.predictions"), ("roberta", "lm_head")])
def test_a_tied_decoder_has_one_bias(family, head, tmp_path):
    regard.save_model(build_model(spec_of(family)), tmp_path / "model")
    assert f"{head}.bias" in load_file(tmp_path / "model" / "model.safetensors")
    assert f"{head}.decoder.bias" not in load_file(tmp_path / "model" / "model.safetensors")
