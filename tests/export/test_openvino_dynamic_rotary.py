"""Rotary positions that stretch with the text: what is read ahead, or was read before, turns as it would alone."""

import numpy as np
import pytest

pytest.importorskip("openvino")
from regard.export.openvino_model import load_openvino
from regard.interop.checkpoints import save_model
from regard.models.catalog import FAMILIES
from regard.models.family import Config
from regard.models.forms import build_model

TRAINED = 24  # places
OPTIONS = {"eos_token_id": (), "max_new_tokens": 16, "return_scores": True}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """`engine()`: one that holds nothing yet."""
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 24}
    config = {"model_type": "llama", "vocab_size": 30, "max_position_embeddings": TRAINED, **sizes}
    config |= {"architectures": ["LlamaForCausalLM"], "rope_scaling": {"type": "dynamic", "factor": 4.0}}
    model, rng = build_model(FAMILIES["llama"].from_config(Config(config))), np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(np.asarray(variable) + rng.normal(0, 0.3, variable.shape))
    directory = tmp_path_factory.mktemp("dynamic") / "model"
    save_model(model, directory)
    return lambda: load_openvino(directory)


def test_guesses_beyond_the_trained_length_change_nothing(engine):
    model = engine()
    ids = np.tile([[3, 9, 4, 7, 11], [5, 6, 5, 6, 8]], 4)
    plain = model.generate({"input_ids": ids}, **OPTIONS)
    found = model.generate({"input_ids": ids}, **OPTIONS, prompt_lookup_num_tokens=5)
    np.testing.assert_array_equal(found.sequences, plain.sequences)
    np.testing.assert_allclose(found.scores, plain.scores, atol=1e-5)


def test_a_beginning_that_was_read_in_a_shorter_text_is_read_anew(engine):
    text = np.random.default_rng(1).integers(3, 30, 2 * TRAINED)[None]
    model = engine()
    model.generate({"input_ids": text[:, : TRAINED - 4]}, **OPTIONS | {"max_new_tokens": 1})
    found, anew = (each.generate({"input_ids": text}, **OPTIONS) for each in (model, engine()))
    np.testing.assert_array_equal(found.sequences, anew.sequences)
    np.testing.assert_allclose(found.scores, anew.scores, atol=1e-5)
