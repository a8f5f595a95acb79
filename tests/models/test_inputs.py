"""A batch at hand that a model cannot read, or would read as something else, is refused by name."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from regard.errors import InputError
from regard.models.catalog import family, spec
from regard.models.family import Config
from regard.models.forms import build_model
from regard.models.inputs import check_batch

SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12, "vocab_size": 20}
BERT = {"model_type": "bert", "max_position_embeddings": 6, **SIZES}
ROBERTA = {"model_type": "roberta", "max_position_embeddings": 8, "type_vocab_size": 1, "pad_token_id": 1, **SIZES}
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **SIZES}


def spec_of(config, architecture=None, **changes):
    said = {**config, **({"architectures": [architecture]} if architecture else {}), **changes}
    return family(said["model_type"]).from_config(Config(said))


def of(config, **changes):
    keras.utils.set_random_seed(0)
    return build_model(spec_of(config, **changes))


@pytest.fixture(scope="module")
def bert():
    return of(BERT)


@pytest.fixture(scope="module")
def translator():
    sizes = {"width": 8, "heads": 2, "ffn_width": 12, "encoder_depth": 1, "decoder_depth": 1, "max_positions": 6}
    return build_model(spec("tiny", vocab_size=20, pad_id=19, eos_id=0, **sizes))


IDS = [[3, 4, 5], [6, 7, 8]]


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ({"input_ids": [[3] * 7]}, r"input_ids must be at most max_positions \(6\) long, but are 7"),
        ({"input_ids": IDS, "position_ids": [[0, 1, 6]] * 2}, r"position_ids must be .* max_positions \(6\).* hold 6"),
        ({"input_ids": IDS, "position_ids": [[0, 1, -1]] * 2}, "position_ids .* hold -1"),
        ({"input_ids": IDS, "position_ids": [[0.0, 1.0, 2.0]] * 2}, "position_ids must be whole numbers"),
        ({"input_ids": IDS, "position_ids": [[0, 1, 2]]}, r"position_ids must have the shape of input_ids \(2, 3\)"),
        ({"input_ids": IDS, "token_type_ids": [[0, 1, 2]] * 2}, r"token_type_ids must be .*token_types \(2\).* hold 2"),
        ({"input_ids": IDS, "token_type_ids": [[0, 1, -1]] * 2}, "token_type_ids must be .* hold -1"),
        ({"input_ids": IDS, "attention_mask": [[1, 1, 1]]}, r"attention_mask must have the shape .*\(2, 3\).*\(1, 3\)"),
        ({"input_ids": IDS, "attention_mask": [[1, 1]] * 2}, r"attention_mask must have the shape .*\(2, 2\)"),
        ({"input_ids": IDS, "attention_mask": [[0, 0, -10000]] * 2}, "attention_mask must be 1 for a real token"),
        ({"input_ids": [[3, 4], [5]]}, "input_ids must have rows of one length"),
        ({"input_ids": IDS, "attention_mask": [[1, 1, 1], [1]]}, "attention_mask must have rows of one length"),
        ({"input_ids": [["a", "b"]]}, "input_ids must be numbers"),
        ({"attention_mask": [[1, 1]]}, "this model reads input_ids, but the batch has attention_mask"),
        ({}, "this model reads input_ids, but the batch has nothing"),
    ],
)
def test_a_text_that_does_not_fit_the_model_is_refused(bert, batch, said):
    with pytest.raises(InputError, match=said) as raised:
        bert(batch)
    assert "\n" not in str(raised.value)


def test_padding_and_segments_do_not_count_as_places(bert):
    ids, mask = [[3] * 8], [[1] * 6 + [0] * 2]
    assert np.isfinite(bert({"input_ids": ids, "attention_mask": mask}).last_hidden_state).all()
    packed = {"input_ids": ids, "segment_ids": [[0] * 4 + [1] * 4]}
    assert np.isfinite(bert(packed).last_hidden_state).all()
    with pytest.raises(InputError, match=r"input_ids must be at most max_positions \(6\) long, but are 7"):
        bert({"input_ids": ids, "segment_ids": [[0] * 7 + [1]]})


def test_a_boolean_mask_is_a_mask(bert):
    masks = (np.array([[1, 1, 0]] * 2, dtype) for dtype in ("bool", "float32", "int64"))
    first, *others = [bert({"input_ids": IDS, "attention_mask": mask}).last_hidden_state for mask in masks]
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_the_table_of_robertas_places_begins_after_its_padding():
    model = of(ROBERTA)
    assert np.isfinite(model({"input_ids": [[3] * 6], "position_ids": [[0, 1, 2, 3, 4, 5]]}).last_hidden_state).all()
    with pytest.raises(InputError, match="long, but are 7"):
        model({"input_ids": [[3] * 7]})
    with pytest.raises(InputError, match=r"token_type_ids .*\(1\)"):
        model({"input_ids": [[3]], "token_type_ids": [[1]]})


def test_rotary_positions_have_no_table_to_leave():
    model = of(LLAMA, max_position_embeddings=4)
    assert model({"input_ids": [[3] * 9]}).logits.shape == (1, 9, 20)
    with pytest.raises(InputError, match=r"position_ids .* hold -1"):
        model({"input_ids": [[3]], "position_ids": [[-1]]})


def test_tensors_which_may_stand_in_a_graph_are_taken_as_they_are(bert):
    whole = bert({"input_ids": IDS, "attention_mask": [[1, 1, 1]] * 2}).last_hidden_state
    in_graph = tf.function(lambda ids: bert({"input_ids": ids, "attention_mask": [[1, 1, 1]] * 2}).last_hidden_state)
    np.testing.assert_allclose(in_graph(tf.constant(IDS)), whole, atol=1e-6)


@pytest.mark.parametrize(
    ("architecture", "labels", "said"),
    [
        ("BertForMaskedLM", [[3, 4, 20]] * 2, r"labels must be .*vocab_size \(20\), or -100, but hold 20"),
        ("BertForMaskedLM", [[3, 4, -1]] * 2, "labels must be .* hold -1"),
        ("BertForMaskedLM", [[3, 4, 5]], r"labels must have the shape of input_ids \(2, 3\), not \(1, 3\)"),
        ("BertForMaskedLM", [[3.0, 4.0, 5.0]] * 2, "labels must be whole numbers"),
        ("BertForTokenClassification", [[0, 1, 2]] * 2, r"labels must be .*labels \(2\), or -100, but hold 2"),
        ("BertForTokenClassification", [0, 1], r"labels must have the shape of input_ids \(2, 3\), not \(2,\)"),
        ("BertForSequenceClassification", [0, 2], r"labels must be .*labels \(2\), or -100, but hold 2"),
        ("BertForSequenceClassification", [0, -2], "labels must be .* hold -2"),
        ("BertForSequenceClassification", [0], r"labels must have a row for each of input_ids \(2\), but has 1"),
        ("BertForSequenceClassification", [[0, 1]] * 2, r"labels must be \(B,\)"),
        ("BertForSequenceClassification", [[0.0, 1.5]] * 2, "labels must be from 0 to 1"),
        ("BertForSequenceClassification", [[0.0]] * 2, r"labels must be \(B, 2\)"),
    ],
)
def test_labels_that_the_loss_cannot_take_are_refused(architecture, labels, said):
    with pytest.raises(InputError, match=said):
        check_batch({"input_ids": IDS, "labels": labels}, spec_of(BERT, architecture))


@pytest.mark.parametrize(
    ("architecture", "changes", "labels"),
    [
        ("BertForMaskedLM", {}, [[3, -100, 19]] * 2),
        ("BertForTokenClassification", {}, [[0, 1, -100]] * 2),
        ("BertForSequenceClassification", {}, [1, -100]),
        ("BertForSequenceClassification", {}, [[1], [0]]),
        ("BertForSequenceClassification", {}, [[0.0, 1.0]] * 2),
        ("BertForSequenceClassification", {"num_labels": 1}, [0.5, -3.0]),
        ("BertForSequenceClassification", {"num_labels": 1}, [[0.5], [-3.0]]),
        ("BertForSequenceClassification", {"problem_type": "multi_label_classification"}, [[0, 1]] * 2),
        ("BertForSequenceClassification", {"problem_type": "regression"}, [[7.0, -1.0]] * 2),
        ("BertModel", {}, [[99, 99]]),  # nothing reads them
    ],
)
def test_labels_that_fit_the_head_are_taken(architecture, changes, labels):
    check_batch({"input_ids": IDS, "labels": labels}, spec_of(BERT, architecture, **changes))


def test_spans_are_whole_numbers_one_for_each_row():
    reader = spec_of(BERT, "BertForQuestionAnswering")
    for starts, said in (([0], "row for each"), ([[0], [1]], r"whole numbers \(B,\)"), ([0.5, 1.0], "whole numbers")):
        with pytest.raises(InputError, match=f"start_positions must .*{said}"):
            check_batch({"input_ids": IDS, "start_positions": starts, "end_positions": [1, 2]}, reader)
    check_batch({"input_ids": IDS, "start_positions": [0, 3], "end_positions": [1, 3]}, reader)  # one has no answer


def test_a_language_models_labels_are_the_texts_own():
    check_batch({"input_ids": IDS, "labels": [[3, 4, -100]] * 2}, spec_of(LLAMA))
    with pytest.raises(InputError, match=r"labels must be .* hold 20"):
        check_batch({"input_ids": IDS, "labels": [[3, 4, 20]] * 2}, spec_of(LLAMA))


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ({"decoder_input_ids": [[3]]}, r"decoder_input_ids must have a row for each of input_ids \(2\), but has 1"),
        ({"decoder_input_ids": [[3] * 7] * 2}, r"decoder_input_ids must be at most max_positions \(6\) long"),
        ({"decoder_input_ids": [[20]] * 2}, "decoder_input_ids must be ids below"),
        ({"labels": [[3, 4]]}, r"labels must have a row for each of input_ids \(2\), but has 1"),
        ({"labels": [[3] * 7] * 2}, r"labels must be at most max_positions \(6\) long, but are 7"),
        ({"labels": [3, 4]}, "labels must have the shape"),
        ({"labels": [[3, 20]] * 2}, "labels must be .* hold 20"),
        ({"labels": [[3, -1]] * 2}, "labels must be .* hold -1"),
        ({"labels": [[3, 4]] * 2, "decoder_attention_mask": [[1]] * 2}, "decoder_attention_mask must have the shape"),
        ({"labels": [[3, 4]] * 2, "decoder_input_ids": [[3]] * 2}, "labels must have the shape of decoder_input_ids"),
        ({"labels": [[3, 4]] * 2, "input_ids": [[3] * 7] * 2}, "input_ids must be at most max_positions"),
    ],
)
def test_a_target_that_does_not_fit_its_source_is_refused(translator, batch, said):
    with pytest.raises(InputError, match=said):
        translator({"input_ids": IDS, **batch})


def test_a_target_that_fits_is_taken(translator):
    assert np.isfinite(translator({"input_ids": IDS, "labels": [[3, 4, -100, 0]] * 2}).loss)
