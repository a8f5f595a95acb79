"""A BERT that reads and a BERT that writes: what their configs say together, and that all of it goes out again."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from regard.errors import CheckpointError
from regard.interop.checkpoints import load_model, save_model, weights_of
from regard.models.catalog import FAMILIES
from regard.models.family import Config
from regard.models.forms import build_model
from regard.specs import HeadSpec, TokenIds

FAMILY = FAMILIES["encoder-decoder"]
BERT = {
    "model_type": "bert",
    "vocab_size": 29,
    "hidden_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "intermediate_size": 19,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
}
ROBERTA = {**BERT, "model_type": "roberta", "type_vocab_size": 1, "pad_token_id": 1}
IDS = {"decoder_start_token_id": 4, "eos_token_id": 5, "pad_token_id": 0}


def spec(both=BERT, encoder=(), decoder=(), **values):
    sides = {"encoder": {**both, **dict(encoder)}, "decoder": {**both, **dict(decoder), "is_decoder": True}}
    return FAMILY.from_config(
        Config({"model_type": "encoder-decoder", "is_encoder_decoder": True, **sides, **IDS, **values})
    )


@pytest.mark.parametrize(
    "chosen",
    [
        spec(),
        spec(encoder={"num_hidden_layers": 2, "vocab_size": 31}, decoder={"tie_word_embeddings": False}),
        spec(decoder={"hidden_act": "relu", "num_attention_heads": 2, "attention_probs_dropout_prob": 0.3}),
        spec(ROBERTA, pad_token_id=1, decoder_start_token_id=0),
    ],
)
def test_a_config_written_and_read_gives_the_same_spec(chosen):
    assert FAMILY.from_config(Config(json.loads(json.dumps(FAMILY.config(chosen))))) == chosen


def test_the_sides_read_through_tables_of_their_own_and_the_decoders_predicts():
    chosen = spec(encoder={"vocab_size": 31})
    assert not chosen.shared_embedding
    assert (chosen.source_vocab_size, chosen.text.vocab_size) == (31, 29)
    assert chosen.tokens == TokenIds(pad=0, eos=5, decoder_start=4)
    names = {name for rule in FAMILY.rules(chosen) for name in rule.names}
    assert {"encoder.embeddings.word_embeddings.weight", "decoder.bert.embeddings.word_embeddings.weight"} < names
    assert "decoder.bert.encoder.layer.0.crossattention.self.query.weight" in names
    assert "encoder.encoder.layer.0.crossattention.self.query.weight" not in names
    assert chosen.output == HeadSpec("language", dense="gelu", bias=True, norm_epsilon=1e-12)
    assert spec(decoder={"hidden_act": "relu"}).output.dense == "relu"
    of_roberta = spec({**ROBERTA, "hidden_act": "relu"}, pad_token_id=1)
    assert of_roberta.output.dense == "gelu"  # whatever its layers have


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"encoder": {"model_type": "gpt2"}}, "encoder of model_type 'gpt2' is not supported; known are bert and"),
        ({"decoder": {"model_type": None}}, "decoder of model_type None is not supported"),
        ({"decoder": {"hidden_size": 15}}, "width must be the same in encoder and decoder, but differ"),
        ({"decoder": {"type_vocab_size": 3, "max_position_embeddings": 9}}, "positions, token_types must be the same"),
        ({"both": ROBERTA, "pad_token_id": 0}, r"pad_token_id must be the encoder's \(1\), but is 0"),
    ],
)
def test_sides_that_do_not_go_together_are_refused_by_name(asked, complaint):
    with pytest.raises(CheckpointError, match=complaint):
        spec(**asked)


@pytest.mark.parametrize("with_pooler", [True, False])
def test_every_tensor_and_unknown_key_comes_out_as_it_went_in(tmp_path, with_pooler):
    """The encoder's pooler, too, which nothing reads, where the file has one."""
    chosen = spec() if with_pooler else FAMILY.adapt(spec(), {})
    assert (chosen.encoder_pooler is not None) is with_pooler
    model = build_model(chosen)
    rng = np.random.default_rng(4)
    for variable in model.variables:
        variable.assign(rng.normal(size=variable.shape))
    save_model(model, tmp_path / "first")
    path = tmp_path / "first" / "config.json"
    values = json.loads(path.read_text())
    values["encoder"] |= {"position_embedding_type": "absolute", "bos_token_id": 7, "architectures": ["BertFor"]}
    values["decoder"] |= {"use_cache": True, "eos_token_id": 9, "classifier_dropout": 0.5}
    path.write_text(json.dumps({**values, "origin": "a test"}))
    loaded = load_model(tmp_path / "first")
    save_model(loaded, tmp_path / "second")
    written = json.loads((tmp_path / "second" / "config.json").read_text())
    assert written == {**values, "origin": "a test"}
    before, after = weights_of(model), weights_of(loaded)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_places_are_counted_past_robertas_padding_where_no_config_names_it():
    silent = {key: value for key, value in ROBERTA.items() if key != "pad_token_id"}
    chosen = spec(silent, pad_token_id=None)
    assert (chosen.tokens.pad, chosen.text.pad_id, chosen.text.positions.offset) == (1, 1, 2)


def test_an_xlm_roberta_stays_one_for_its_tokenizer_is_another():
    read = Config({"model_type": "encoder-decoder", **IDS, "pad_token_id": 1})
    read |= {side: {**ROBERTA, "model_type": "xlm-roberta"} for side in ("encoder", "decoder")}
    assert FAMILY.from_config(read) == spec(ROBERTA, pad_token_id=1)
    assert read.unread()["encoder"]["model_type"] == "xlm-roberta"


def test_a_pooler_of_the_decoder_and_a_tie_that_no_release_keeps_are_read_past(tmp_path):
    model = build_model(spec())
    save_model(model, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors |= {f"decoder.bert.pooler.dense.{part}": np.ones(12, np.float32) for part in ("weight", "bias")}
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    values = json.loads((tmp_path / "config.json").read_text())
    old = {**values, "model_type": "encoder_decoder", "tie_encoder_decoder": True}
    (tmp_path / "config.json").write_text(json.dumps(old))
    loaded = load_model(tmp_path)
    assert loaded.spec == model.spec
    before, after = weights_of(model), weights_of(loaded)
    assert all(np.array_equal(before[name], after[name]) for name in before)
