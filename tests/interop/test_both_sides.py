"""An encoder's checkpoint as both sides of an encoder-decoder."""

import json
from pathlib import Path

import numpy as np
import pytest

from regard.errors import CheckpointError
from regard.interop.both_sides import load_both_sides
from regard.interop.checkpoints import load_model, save_model
from regard.interop.described import described
from regard.interop.opening import open_checkpoint
from regard.specs import TokenIds

CASES = Path(__file__).parent.parent / "parity" / "cases"
IDS = TokenIds(eos=2, decoder_start=1)


@pytest.mark.parametrize("name", ["bert-bare", "bert-masked-lm", "roberta-masked-lm", "xlm-roberta-sequence-class"])
def test_both_sides_begin_with_the_encoders_weights(name):
    encoder = load_model(CASES / name)
    model = load_both_sides(described(open_checkpoint(CASES / name)), "float32", IDS)
    known = {variable.path: np.asarray(variable.value) for variable in encoder.variables}
    if encoder.spec.output.kind != "masked_language":  # a pooler or a classifier
        known = {path: value for path, value in known.items() if not path.startswith("head/")}
    ours = {variable.path: np.asarray(variable.value) for variable in model.variables}
    begun = set()
    for path, value in known.items():
        for own in (path, path.replace("encoder/", "decoder/", 1)) if path.startswith("encoder/") else (path,):
            if own in ours:
                np.testing.assert_array_equal(ours[own], value, own)
                begun.add(own)
    anew = {path for path in ours if path not in begun and "seed" not in path}
    assert all("/cross_attention" in path or path.startswith("head/") for path in anew)
    assert any("/cross_attention/query/kernel" in path for path in anew)
    assert any(path.startswith("head/") for path in anew) is not name.endswith("masked-lm")
    assert model.spec.tokens == TokenIds(pad=encoder.spec.tokens.pad, eos=2, decoder_start=1)
    batch = {"input_ids": np.array([[5, 6, 7]]), "attention_mask": np.ones((1, 3), int)}
    hidden = model({**batch, "decoder_input_ids": np.array([[1, 8]])}).encoder_last_hidden_state
    np.testing.assert_allclose(hidden, encoder(batch).last_hidden_state, rtol=1e-6, atol=1e-6)


def test_an_xlm_robertas_sides_stay_xlm_robertas(tmp_path):
    case = CASES / "xlm-roberta-sequence-class"
    save_model(load_both_sides(described(open_checkpoint(case)), "float32", IDS), tmp_path / "both")
    config = json.loads((tmp_path / "both" / "config.json").read_text())
    for side, name in (("encoder", "XLMRobertaModel"), ("decoder", "XLMRobertaForCausalLM")):
        assert (config[side]["model_type"], config[side]["architectures"]) == ("xlm-roberta", [name])
    assert load_model(tmp_path / "both").spec.family == "encoder-decoder"


def test_an_encoder_of_another_kind_is_refused_by_name():
    with pytest.raises(CheckpointError, match="is made of bert or roberta or xlm-roberta, but not of distilbert"):
        load_both_sides(described(open_checkpoint(CASES / "distilbert-bare")), "float32", IDS)
