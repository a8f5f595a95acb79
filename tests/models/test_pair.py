"""Texts and images side by side."""

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from regard.errors import InputError
from regard.interop.checkpoints import load_model, save_model
from regard.models.catalog import FAMILIES
from regard.models.family import Config
from regard.models.forms import build_model

EOS = 28
TEXTS = {
    "vocab_size": 29,
    "hidden_size": 12,
    "intermediate_size": 19,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 9,
    "eos_token_id": EOS,
}
IMAGES = {
    "hidden_size": 15,
    "intermediate_size": 21,
    "num_hidden_layers": 1,
    "num_attention_heads": 5,
    "image_size": 8,
    "patch_size": 4,
}
PIXELS = np.random.default_rng(1).normal(size=(3, 8, 8, 3)).astype("float32")
IDS = np.array([[7, 9, 5, EOS, EOS], [7, EOS, 11, 12, EOS]], np.int32)


def built(**texts):
    config = {"model_type": "clip", "projection_dim": 7, "text_config": {**TEXTS, **texts}, "vision_config": IMAGES}
    return build_model(FAMILIES["clip"].from_config(Config(config)))


@pytest.fixture
def model():
    return built()


def test_logits_are_scaled_cosines_of_vectors_of_length_one(model):
    output = model({"input_ids": IDS, "pixel_values": PIXELS})
    texts, images = np.asarray(output.text_embeds), np.asarray(output.image_embeds)
    for vectors in (texts, images):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(output.logits_per_text, texts @ images.T / 0.07, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(output.logits_per_image, np.asarray(output.logits_per_text).T)


def test_the_loss_is_there_where_texts_and_images_are_as_many(model):
    assert model({"input_ids": IDS, "pixel_values": PIXELS}).loss is None
    output = model({"input_ids": IDS, "pixel_values": PIXELS[:2]})
    logits = np.asarray(output.logits_per_text, np.float64)
    by_text, by_image = (np.log(np.exp(rows).sum(-1)) - np.diagonal(rows) for rows in (logits, logits.T))
    np.testing.assert_allclose(output.loss, (by_text.mean() + by_image.mean()) / 2, rtol=1e-5)


def test_one_side_alone_gets_its_vectors(model):
    both = model({"input_ids": IDS, "pixel_values": PIXELS})
    texts = model({"input_ids": IDS}, return_attention=True)
    np.testing.assert_allclose(texts.text_embeds, both.text_embeds, atol=1e-6)
    assert texts.image_embeds is texts.logits_per_text is texts.loss is None
    assert [tuple(layer.shape) for layer in texts.attentions] == [(2, 3, 5, 5)] * 2
    images = model({"pixel_values": PIXELS})
    np.testing.assert_allclose(images.image_embeds, both.image_embeds, atol=1e-6)
    assert tuple(images.last_hidden_state.shape) == (3, 5, 15)
    assert images.text_embeds is images.attentions is None


def test_a_batch_of_neither_side_is_refused(model):
    with pytest.raises(InputError, match="needs input_ids or pixel_values"):
        model({"attention_mask": IDS})
    with pytest.raises(InputError, match=r"pixel_values must be \(B, 8, 8, 3\), but is \(3, 4, 4, 3\)"):
        model({"pixel_values": PIXELS[:, :4, :4]})
    with pytest.raises(InputError, match="input_ids must be ids below vocab_size"):
        model({"input_ids": IDS + 1})


def test_a_text_ends_at_its_first_eos_wherever_its_padding_stands(model):
    """Padding is eos, too, as CLIP's tokenizer has it."""
    alone = np.asarray(model({"input_ids": IDS[1:, :2]}).text_embeds)
    right = {"input_ids": IDS, "attention_mask": np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], np.int32)}
    left = {"input_ids": np.array([[EOS, EOS, 7, EOS]]), "attention_mask": np.array([[0, 0, 1, 1]])}
    np.testing.assert_allclose(model(right).text_embeds[1:], alone, atol=1e-5)
    np.testing.assert_allclose(model(left).text_embeds, alone, atol=1e-5)
    np.testing.assert_allclose(model({"input_ids": IDS}).text_embeds[1:], alone, atol=1e-5)


def test_by_the_old_rule_a_text_ends_at_its_highest_id():
    model = built(eos_token_id=2)
    cut = np.asarray(model({"input_ids": np.array([[7, 27]])}).text_embeds)
    longer = np.asarray(model({"input_ids": np.array([[7, 27, 2, 1]])}).text_embeds)
    np.testing.assert_allclose(longer, cut, atol=1e-5)
    left = {"input_ids": np.array([[28, 7, 27]]), "attention_mask": np.array([[0, 1, 1]])}
    np.testing.assert_allclose(model(left).text_embeds, cut, atol=1e-5)


def test_later_words_cannot_change_the_vector_of_a_text_that_has_ended(model):
    changed = np.where(np.arange(5) > 1, 3, IDS[1:])
    np.testing.assert_allclose(
        model({"input_ids": changed}).text_embeds, model({"input_ids": IDS[1:]}).text_embeds, atol=1e-6
    )


def test_a_saved_pair_is_loaded_as_it_was(model, tmp_path):
    """Its scale is a scalar in the file, as Transformers writes it."""
    model.similarity.logit_scale.assign(1.25)
    save_model(model, tmp_path / "model")
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert stored["logit_scale"].shape == ()
    assert float(stored["logit_scale"]) == 1.25
    loaded, batch = load_model(tmp_path / "model"), {"input_ids": IDS, "pixel_values": PIXELS}
    assert loaded.spec == model.spec
    np.testing.assert_array_equal(loaded(batch).logits_per_text, model(batch).logits_per_text)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "bfloat16"])
def test_cosines_are_exact_in_mixed_precision(model, tmp_path, dtype):
    """The vectors are rounded on their way, but not what is made of them."""
    save_model(model, tmp_path / "model")
    output = load_model(tmp_path / "model", dtype=dtype)({"input_ids": IDS, "pixel_values": PIXELS})
    texts, images = np.asarray(output.text_embeds), np.asarray(output.image_embeds)
    assert texts.dtype == output.logits_per_text.dtype == "float32"
    scale = np.float32(model.similarity.logit_scale.value)
    kept = scale if dtype == "mixed_bfloat16" else float(keras.ops.cast(keras.ops.cast(scale, dtype), "float32"))
    np.testing.assert_allclose(output.logits_per_text, texts @ images.T * np.exp(kept), atol=1e-4)
    exact = model({"input_ids": IDS, "pixel_values": PIXELS}).logits_per_text
    np.testing.assert_allclose(output.logits_per_text, exact, atol=1)


def test_training_moves_the_scale_of_the_cosines(model):
    model = built()
    model.compile(optimizer=keras.optimizers.SGD(1e-4), jit_compile=False)
    before = float(model.similarity.logit_scale.value)
    history = model.fit({"input_ids": IDS, "pixel_values": PIXELS[:2]}, batch_size=2, epochs=2, verbose=0)
    assert history.history["loss"][1] < history.history["loss"][0]
    assert float(model.similarity.logit_scale.value) != before
