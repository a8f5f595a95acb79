"""What holds for every Transformer, whatever its weights."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from regard.errors import InputError
from regard.models.forms import build_model
from regard.nn.layers import TransformerLayer

ROUNDING = 5e-5  # of float32 logits: of a hundred draws one or two differ by 1.0e-5 to 1.4e-5
ORDERS = ["post", "pre"]
seeds = st.integers(0, 2**16)


def ids(rng, rows, length):
    return rng.integers(1, 22, (rows, length))


@pytest.fixture(scope="module")
def logits(run):
    return lambda model, **batch: np.asarray(run(model, **batch).logits)


@pytest.mark.parametrize("order", ORDERS)
@given(seed=seeds, cut=st.integers(1, 5))
def test_future_tokens_cannot_change_the_past(network, logits, order, seed, cut):
    rng = np.random.default_rng(seed)
    text, other = ids(rng, 2, 6), ids(rng, 2, 6)
    other[:, :cut] = text[:, :cut]
    model = network("decoder", order)
    np.testing.assert_array_equal(logits(model, input_ids=text)[:, :cut], logits(model, input_ids=other)[:, :cut])
    model, source = network("encoder-decoder", order), ids(rng, 2, 4)
    past = [logits(model, input_ids=source, decoder_input_ids=target)[:, :cut] for target in (text, other)]
    np.testing.assert_array_equal(*past)


@pytest.mark.parametrize("order", ORDERS)
@given(seed=seeds)
def test_what_stands_in_padding_changes_nothing(network, logits, order, seed):
    rng = np.random.default_rng(seed)
    source, target = ids(rng, 2, 6), ids(rng, 2, 3)
    mask = np.array([[1, 1, 1, 1, 0, 0], [1] * 6])
    other = np.where(mask, source, ids(rng, 2, 6))
    model = network("encoder-decoder", order)
    answers = [logits(model, input_ids=x, attention_mask=mask, decoder_input_ids=target) for x in (source, other)]
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("order", ORDERS)
@given(seed=seeds, left=st.integers(0, 3), right=st.integers(0, 3))
def test_padding_left_or_right_changes_no_logits_of_real_tokens(network, logits, order, seed, left, right):
    rng = np.random.default_rng(seed)
    text, target = ids(rng, 1, 4), ids(rng, 1, 3)
    padded = np.pad(text, ((0, 0), (left, right)), constant_values=22)
    mask = np.pad(np.ones_like(text), ((0, 0), (left, right)))
    model = network("decoder", order)
    real = logits(model, input_ids=padded, attention_mask=mask)[:, left : left + 4]
    np.testing.assert_allclose(real, logits(model, input_ids=text), atol=ROUNDING)
    model = network("encoder-decoder", order)
    real = logits(model, input_ids=padded, attention_mask=mask, decoder_input_ids=target)
    np.testing.assert_allclose(real, logits(model, input_ids=text, decoder_input_ids=target), atol=ROUNDING)


@pytest.mark.parametrize("order", ORDERS)
@given(seed=seeds)
def test_a_row_is_the_same_alone_in_a_batch_and_in_another_order(network, logits, order, seed):
    rng = np.random.default_rng(seed)
    source, target = ids(rng, 3, 5), ids(rng, 3, 4)
    model = network("encoder-decoder", order)
    together = logits(model, input_ids=source, decoder_input_ids=target)
    turned = logits(model, input_ids=source[::-1], decoder_input_ids=target[::-1])
    np.testing.assert_allclose(turned[::-1], together, atol=ROUNDING)
    for row in range(3):
        alone = logits(model, input_ids=source[[row]], decoder_input_ids=target[[row]])
        np.testing.assert_allclose(alone[0], together[row], atol=ROUNDING)


@pytest.mark.parametrize("order", ORDERS)
@given(seed=seeds, lengths=st.tuples(st.integers(1, 4), st.integers(1, 4)))
def test_packed_texts_are_what_they_are_alone(network, logits, order, seed, lengths):
    """One row of two segments: tokens attend within their own, positions restart, cross-attention keeps to its own."""
    rng = np.random.default_rng(seed)
    sources, targets = ([ids(rng, 1, n) for n in lengths] for _ in range(2))
    segments = np.repeat([1, 2], lengths)[None]
    model = network("decoder", order)
    packed = logits(model, input_ids=np.concatenate(sources, 1), segment_ids=segments)
    alone = np.concatenate([logits(model, input_ids=text) for text in sources], 1)
    np.testing.assert_allclose(packed, alone, atol=ROUNDING)
    model = network("encoder-decoder", order)
    packed = logits(
        model,
        input_ids=np.concatenate(sources, 1),
        segment_ids=segments,
        decoder_input_ids=np.concatenate(targets, 1),
        decoder_segment_ids=segments,
    )
    alone = [logits(model, input_ids=s, decoder_input_ids=t) for s, t in zip(sources, targets, strict=True)]
    np.testing.assert_allclose(packed, np.concatenate(alone, 1), atol=ROUNDING)


@given(seed=seeds)
def test_an_encoder_told_equal_positions_does_not_know_the_order(network, run, seed):
    rng = np.random.default_rng(seed)
    text, order = ids(rng, 1, 6), rng.permutation(6)
    model, nowhere = network("encoder"), np.zeros((1, 6), int)
    plain = np.asarray(run(model, input_ids=text, position_ids=nowhere).last_hidden_state)
    turned = np.asarray(run(model, input_ids=text[:, order], position_ids=nowhere).last_hidden_state)
    np.testing.assert_allclose(turned, plain[:, order], atol=ROUNDING)
    told = np.asarray(run(model, input_ids=text[:, ::-1]).last_hidden_state)[:, ::-1]
    assert np.abs(told - np.asarray(run(model, input_ids=text).last_hidden_state)).max() > 1e-3


@pytest.mark.parametrize("form", ["encoder", "decoder", "encoder-decoder"])
def test_attention_comes_when_asked_for_one_a_layer_and_sums_to_one(network, form):
    batch = {"input_ids": ids(np.random.default_rng(0), 2, 5)}
    if form == "encoder-decoder":
        batch["decoder_input_ids"] = batch["input_ids"][:, :4]
    output = network(form)(batch, return_attention=True)
    assert len(output.attentions) == {"encoder": 2}.get(form, 3)
    assert (output.cross_attentions is None) == (form != "encoder-decoder")
    for weights in (*output.attentions, *(output.cross_attentions or ()), *(output.encoder_attentions or ())):
        np.testing.assert_allclose(np.asarray(weights).sum(-1), 1, rtol=1e-5)
    assert network(form)(batch).attentions is None


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("form", ["encoder", "decoder", "encoder-decoder"])
def test_a_graph_goes_through_one_layer_of_a_stack_and_gives_what_all_of_them_give(network, form, order, monkeypatch):
    model, batch = network(form, order), {"input_ids": ids(np.random.default_rng(1), 2, 5).astype("int32")}
    if form == "encoder-decoder":
        batch["decoder_input_ids"] = batch["input_ids"][:, :4]
    each = model(batch, return_attention=True)
    layers, own = [], TransformerLayer.call
    monkeypatch.setattr(TransformerLayer, "call", lambda self, *a, **b: layers.append(self) or own(self, *a, **b))
    graph = tf.function(lambda batch: model(batch, return_attention=True), autograph=False)(batch)
    assert len(layers) == (2 if form == "encoder-decoder" else 1)
    found, wanted = ([part for part in tf.nest.flatten(output) if part is not None] for output in (graph, each))
    for shared, alone in zip(found, wanted, strict=True):
        np.testing.assert_allclose(shared, alone, atol=ROUNDING)


@pytest.mark.parametrize("form", ["decoder", "encoder-decoder"])
def test_a_graph_has_the_gradients_of_every_layers_weights_without_dropout_too(network, form):
    model, text = network(form), ids(np.random.default_rng(1), 2, 5).astype("int32")
    weights = [variable.value for variable in model.trainable_variables]

    def slopes():
        with tf.GradientTape() as tape:
            loss = model({"input_ids": text, "labels": text}).loss
        return [tf.convert_to_tensor(slope) for slope in tape.gradient(loss, weights)]

    for shared, alone in zip(tf.function(slopes, autograph=False)(), slopes(), strict=True):
        np.testing.assert_allclose(shared, alone, atol=ROUNDING)


def test_a_row_of_padding_alone_gives_finite_numbers(network):
    batch = {"input_ids": np.full((1, 3), 22), "attention_mask": np.zeros((1, 3)), "labels": np.array([[1, 2]])}
    assert np.isfinite(np.asarray(network("encoder-decoder")(batch).logits)).all()


def test_labels_are_shifted_right_and_their_loss_is_the_mean_over_real_tokens(network, logits):
    rng = np.random.default_rng(1)
    model, source, labels = network("encoder-decoder"), ids(rng, 2, 5), ids(rng, 2, 4)
    labels[1, 2:] = -100
    output = model({"input_ids": source, "labels": labels})
    shifted = np.concatenate([[[22], [22]], np.where(labels == -100, 22, labels)[:, :-1]], 1)
    explicit = logits(model, input_ids=source, decoder_input_ids=shifted)
    np.testing.assert_allclose(output.logits, explicit, atol=ROUNDING)
    log_probabilities = explicit - np.log(np.exp(explicit).sum(-1, keepdims=True))
    real = [-log_probabilities[b, t, labels[b, t]] for b, t in np.argwhere(labels != -100)]
    np.testing.assert_allclose(float(output.loss), np.mean(real), rtol=1e-5)


def test_lists_do_for_arrays_and_none_for_an_absent_key(network):
    model, batch = network("encoder-decoder"), {"input_ids": [[3, 4]], "labels": [[5, 0]]}
    plain = model({key: np.array(value, "int32") for key, value in batch.items()}).logits
    np.testing.assert_array_equal(model({**batch, "attention_mask": None}).logits, plain)


def test_the_decoder_begins_with_its_own_start_token(network, logits):
    spec = network("encoder-decoder").spec
    model = build_model(replace(spec, tokens=replace(spec.tokens, decoder_start=5)))
    source, labels = ids(np.random.default_rng(3), 1, 4), np.array([[7, 8]])
    explicit = logits(model, input_ids=source, decoder_input_ids=[[5, 7]])
    np.testing.assert_allclose(logits(model, input_ids=source, labels=labels), explicit, atol=1e-6)


def test_ids_outside_the_vocabulary_are_refused_where_they_can_be_seen(network):
    for batch in ({"input_ids": [[23]], "labels": [[1]]}, {"input_ids": [[1]], "decoder_input_ids": [[-100]]}):
        with pytest.raises(InputError, match=r"ids below vocab_size \(23\), but hold (23|-100)"):
            network("encoder-decoder")(batch)


def test_a_batch_without_a_real_label_has_a_loss_of_zero(network):
    assert float(network("encoder-decoder")({"input_ids": [[1]], "labels": [[-100]]}).loss) == 0


def test_a_language_model_predicts_the_next_token_of_its_own_input(network):
    text = ids(np.random.default_rng(2), 2, 5)
    output = network("decoder")({"input_ids": text, "labels": text})
    scores = np.asarray(output.logits)
    log_probabilities = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    real = [-log_probabilities[b, t, text[b, t + 1]] for b in range(2) for t in range(4)]
    np.testing.assert_allclose(float(output.loss), np.mean(real), rtol=1e-5)


def test_an_encoder_decoder_without_a_target_says_what_it_needs(network):
    with pytest.raises(InputError, match="decoder_input_ids or labels"):
        network("encoder-decoder")({"input_ids": np.ones((1, 2), int)})


@pytest.mark.parametrize("form", ["decoder", "encoder-decoder"])
@pytest.mark.parametrize("order", ORDERS)
def test_numeric_gradients_equal_automatic_ones_in_float64(network, run, form, order):
    """Each variable along a random direction."""
    model, rng = network(form, order, "float64"), np.random.default_rng(5)
    batch = {"input_ids": ids(rng, 2, 5), "labels": ids(rng, 2, 5)}
    batch["attention_mask"] = np.array([[1] * 5, [1, 1, 1, 0, 0]])
    with tf.GradientTape() as tape:
        loss = model(batch).loss
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    step = 1e-5
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        value, direction = np.asarray(variable.value).copy(), rng.normal(size=variable.shape)
        losses = []
        for sign in (1, -1):
            variable.assign(value + sign * step * direction)
            losses.append(float(run(model, **batch).loss))
        variable.assign(value)
        numeric = (losses[0] - losses[1]) / (2 * step)
        automatic = (np.asarray(tf.convert_to_tensor(gradient)) * direction).sum()
        np.testing.assert_allclose(automatic, numeric, atol=1e-8, rtol=1e-6, err_msg=variable.path)


def test_the_padding_row_gets_no_gradient_in_training(network):
    model, rng = network("encoder-decoder"), np.random.default_rng(6)
    batch = {"input_ids": ids(rng, 2, 5), "labels": ids(rng, 2, 5)}
    batch["input_ids"][0, 0] = 22
    with tf.GradientTape() as tape:
        loss = model(batch, training=True).loss
    slope = np.asarray(tf.convert_to_tensor(tape.gradient(loss, model.encoder.embedding.table.value)))
    assert (slope[22] == 0).all()
    assert (np.abs(slope[1:22]).sum(1) > 0).all()


@pytest.mark.parametrize("kind", ["dropout", "attention_dropout", "activation_dropout", "embedding"])
def test_each_dropout_acts_in_training_alone(network, kind):
    spec = network("encoder-decoder").spec
    if kind == "embedding":
        model = build_model(replace(spec, embedding=replace(spec.embedding, dropout=0.5)))
    else:
        layer = replace(spec.decoder.layer, **{kind: 0.5})
        model = build_model(replace(spec, decoder=replace(spec.decoder, layer=layer)))
    batch = {"input_ids": ids(np.random.default_rng(8), 1, 4), "labels": ids(np.random.default_rng(9), 1, 4)}
    np.testing.assert_array_equal(model(batch).logits, model(batch).logits)
    first, second = (np.asarray(model(batch, training=True).logits) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
