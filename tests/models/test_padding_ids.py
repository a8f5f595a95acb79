"""What the padding's id means where the mask does not say it: to positions, and to the end of a text."""

import math

import numpy as np
import pytest
from keras import ops

from regard.errors import ConfigError
from regard.models.catalog import FAMILIES
from regard.models.family import Config
from regard.models.forms import build_model
from regard.models.parts import Tokens
from regard.specs import PositionSpec
from regard.specs.tables import position_table, sinusoids

PAD = 1
ROBERTA = {"model_type": "roberta", "architectures": ["RobertaModel"], "vocab_size": 11, "hidden_size": 12}
ROBERTA |= {"num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 7, "max_position_embeddings": 9}
ROBERTA |= {"pad_token_id": PAD}
M2M = {"model_type": "m2m_100", "architectures": ["M2M100ForConditionalGeneration"], "vocab_size": 11, "d_model": 12}
M2M |= {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("layers", 1), ("ffn_dim", 7))}
M2M |= {"encoder_attention_heads": 3, "decoder_attention_heads": 3, "pad_token_id": PAD, "eos_token_id": 2}
GPT2 = {"model_type": "gpt2", "architectures": ["GPT2ForSequenceClassification"], "vocab_size": 11, "n_embd": 12}
GPT2 |= {"n_layer": 1, "n_head": 3, "n_positions": 9, "pad_token_id": 2, "eos_token_id": 2}


BERT = {**ROBERTA, "model_type": "bert", "architectures": ["BertForQuestionAnswering"], "max_position_embeddings": 6}


def spec_of(values):
    return FAMILIES[values["model_type"]].from_config(Config(values))


def places(spec, ids, **more):
    return np.asarray(Tokens.of({"input_ids": np.array(ids), **more}).placed(spec.text).places()).tolist()


@pytest.mark.parametrize("values", [ROBERTA, M2M])
def test_padding_is_not_counted_and_stands_before_the_first_place(values):
    """As Transformers' create_position_ids_from_input_ids, whose numbers are larger by the offset."""
    spec = spec_of(values)
    assert spec.text.positions.offset == PAD + 1
    assert places(spec, [[5, PAD, 6, 7, PAD]]) == [[0, -1, 1, 2, -1]]
    ones = np.ones((1, 5), np.int32)
    assert places(spec, [[5, PAD, 6, 7, PAD]], attention_mask=ones) == [[0, -1, 1, 2, -1]]
    assert places(spec, [[5, 6, 7]], attention_mask=np.array([[0, 1, 1]])) == [[-1, 0, 1]]
    assert places(spec, [[5, PAD, 6]], position_ids=np.array([[4, 5, 6]])) == [[4, 5, 6]]


def test_what_pads_a_text_on_its_right_goes_on_counting_to_the_end_of_the_table():
    spec = spec_of(BERT)
    assert places(spec, [[5, 6, 7, 8]], attention_mask=np.array([[0, 1, 1, 0]])) == [[0, 0, 1, 2]]
    ids, mask = np.full((1, 8), 5), np.array([[1, 1, 1, 1, 0, 0, 0, 0]])
    assert places(spec, ids, attention_mask=mask) == [[0, 1, 2, 3, 4, 5, 5, 5]]


def test_padding_shares_in_the_loss_of_a_span_as_it_does_in_transformers():
    model = build_model(spec_of(BERT))
    table = model.encoder.stem.positions.table
    table.assign(np.random.default_rng(3).normal(size=table.shape))
    batch = {"input_ids": np.array([[4, 5, 6, 1, 1]]), "attention_mask": np.array([[1, 1, 1, 0, 0]])}
    batch |= {"start_positions": np.array([1]), "end_positions": np.array([2])}
    told = model({**batch, "position_ids": np.arange(5)[None]})  # as Transformers numbers them
    np.testing.assert_allclose(model(batch).loss, told.loss, rtol=1e-6)


def test_a_text_padded_without_a_mask_keeps_its_places():
    model = build_model(spec_of(ROBERTA))
    table = model.encoder.stem.positions.table
    table.assign(np.random.default_rng(3).normal(size=table.shape))
    ids, rows = np.array([[PAD, PAD, 4, 5]]), ops.convert_to_tensor([[-1, -1, 0, 1]])
    counted = model({"input_ids": ids}).last_hidden_state
    told = model({"input_ids": ids, "position_ids": rows}).last_hidden_state
    np.testing.assert_allclose(counted, told, atol=1e-6)


def test_a_label_that_is_ignored_in_the_middle_takes_no_place():
    """The decoder reads it as padding: what comes after it stands a place earlier."""
    model = build_model(spec_of(M2M))
    source, labels = np.array([[5, 6, 2]]), np.array([[4, -100, 7, 2]])
    read, rows = np.array([[2, 4, PAD, 7]]), ops.convert_to_tensor([[0, 1, -1, 2]])
    told = {"input_ids": source, "decoder_input_ids": read, "decoder_position_ids": rows}
    holed = model({"input_ids": source, "labels": labels})
    np.testing.assert_allclose(holed.logits, model(told).logits, atol=1e-6)


def test_before_the_first_place_the_sinusoids_are_zero():
    table = position_table(PositionSpec(rates="tensor2tensor", offset=2, max_positions=3), 4)
    np.testing.assert_array_equal(table[:2], 0)
    np.testing.assert_allclose(table[2], [math.sin(2), math.sin(2e-4), math.cos(2), math.cos(2e-4)])


def test_padding_that_takes_no_place_needs_a_row():
    with pytest.raises(ConfigError, match="needs a row before the first place, but offset is 0"):
        PositionSpec(skips_padding=True)


def test_sinusoids_of_an_odd_width():
    """Marian's have a sine more, M2M-100's a zero at the end."""
    slow = 10000 ** (-2 / 3)
    np.testing.assert_allclose(sinusoids(2, 3, "halves")[1], [math.sin(1), math.sin(slow), math.cos(1)])
    np.testing.assert_allclose(sinusoids(2, 3, "interleaved")[1], [math.sin(1), math.cos(1), math.sin(slow)])
    row = sinusoids(2, 5, "halves", "tensor2tensor")[1]
    np.testing.assert_allclose(row, [math.sin(1), math.sin(1e-4), math.cos(1), math.cos(1e-4), 0])


@pytest.mark.parametrize(
    ("ids", "mask", "end"),
    [
        ([4, 5, 2], [1, 1, 1], 1),
        ([4, 5, 2], None, 1),
        ([4, 2, 5], [1, 1, 0], 0),
        ([2, 2, 4, 2], [0, 0, 1, 1], 2),
        ([2, 2], [0, 1], 1),
        ([2, 2], None, 0),
    ],
)
def test_a_text_ends_before_padding_that_no_mask_hides(ids, mask, end):
    """Where the padding is the end of text as well, a class is read from what stands before it, as in Transformers."""
    batch = {"input_ids": np.array([ids])} | ({} if mask is None else {"attention_mask": np.array([mask])})
    assert np.asarray(build_model(spec_of(GPT2)).end_of(Tokens.of(batch))).tolist() == [end]
