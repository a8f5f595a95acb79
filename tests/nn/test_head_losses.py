"""The loss of each head as (sum, count): its mean is the model's own loss, and parts add up to the whole."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from regard.models.forms import build_model
from regard.models.presets import Vocabulary, preset_spec
from regard.nn.losses import head_losses, span_loss

VOCABULARY = Vocabulary(40, pad=39, eos=0, bos=0)
SMALL = {"width": 8, "heads": 2, "ffn_width": 8, "dropout": 0.0}
ROWS, LENGTH = 5, 7


def batch_of(labels):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 38, (ROWS, LENGTH)).astype(np.int32)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), **labels(rng)}


def tokens(rng):
    labels = rng.integers(0, 3, (ROWS, LENGTH)).astype(np.int32)
    labels[rng.random(labels.shape) < 0.4] = -100
    return {"labels": labels}


def places(rng):
    return {f"{end}_positions": rng.integers(0, LENGTH, ROWS).astype(np.int32) for end in ("start", "end")}


CASES = {
    "gpt2-tiny language": ("language", {}, tokens),
    "bert-tiny masked_language": ("masked_language", {}, tokens),
    "t5-tiny language": ("language", {}, tokens),
    "bert-tiny single_label": ("sequence_class", {"labels": 3}, lambda rng: {"labels": rng.integers(0, 3, ROWS)}),
    "gpt2-tiny single_label": ("sequence_class", {"labels": 3}, lambda rng: {"labels": rng.integers(0, 3, ROWS)}),
    "bert-tiny multi_label": (
        "sequence_class",
        {"labels": 3},
        lambda rng: {"labels": rng.integers(0, 2, (ROWS, 3)).astype(np.float32)},
    ),
    "bert-tiny regression": ("sequence_class", {"labels": 1}, lambda rng: {"labels": rng.random(ROWS, np.float32)}),
    "bert-tiny token_class": ("token_class", {"labels": 3}, tokens),
    "bert-tiny span": ("span", {}, places),
}


@pytest.mark.parametrize("case", list(CASES))
def test_the_mean_is_the_model_s_own_loss_and_micro_batches_add_up(case):
    preset, problem = case.split()
    head, options, labels = CASES[case]
    depth = {"encoder_depth": 1, "decoder_depth": 1} if preset.startswith("t5") else {"depth": 1}
    spec = preset_spec(preset, VOCABULARY, head, **options, **SMALL, **depth)
    if head == "sequence_class":
        spec = replace(spec, head=replace(spec.output, problem=problem))
    model, batch = build_model(spec), batch_of(labels)
    whole = model(batch)
    total, count = head_losses(whole, batch, spec)
    assert float(total / count) == pytest.approx(float(whole.loss), rel=1e-5)
    parts = [{key: value[rows] for key, value in batch.items()} for rows in (slice(2), slice(2, ROWS))]
    sums = [head_losses(model(part), part, spec) for part in parts]
    assert sum(float(each) for each, _ in sums) == pytest.approx(float(total), rel=1e-5)
    assert sum(float(each) for _, each in sums) == float(count)


def test_label_smoothing_reaches_the_loss_of_each_head_that_has_it():
    spec = preset_spec("bert-tiny", VOCABULARY, "token_class", labels=3, **SMALL, depth=1)
    model, batch = build_model(spec), batch_of(tokens)
    plain, smoothed = (head_losses(model(batch), batch, spec, smoothing)[0] for smoothing in (0.0, 0.3))
    assert float(plain) != pytest.approx(float(smoothed), rel=1e-3)


def test_the_loss_of_spans_is_known_in_a_graph_of_any_length_and_ignores_places_outside():
    logits = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    graph = tf.function(
        span_loss, input_signature=[tf.TensorSpec([None, None])] * 2 + [tf.TensorSpec([None], "int32")] * 2
    )
    found = graph(logits, logits, np.array([1, 6, -1], np.int32), np.array([2, 3, 99], np.int32))
    losses = np.log(np.exp(logits).sum(1))[:, None] - logits
    assert float(found) == pytest.approx((losses[0, 1] + (losses[0, 2] + losses[1, 3]) / 2) / 2, rel=1e-5)


@pytest.mark.parametrize("preset", ["bert-tiny", "gpt2-tiny"])
@pytest.mark.parametrize("rows", [2, 30])
def test_a_head_is_asked_for_the_labelled_tokens_alone_and_loss_and_gradients_are_the_same(rows, preset):
    spec = preset_spec(preset, VOCABULARY, **SMALL, attention_dropout=0.0, depth=1)
    model, rng = build_model(spec), np.random.default_rng(1)
    ids = rng.integers(0, 38, (rows, LENGTH)).astype(np.int32)
    labels = np.where(rng.random(ids.shape) < 0.2, ids, np.int32(-100))
    labels[:, 0] = -100  # nothing is read before it, so a language model does not count it
    batch, asked = {"input_ids": ids, "attention_mask": np.ones_like(ids), "labels": labels}, []

    def logits_of(hidden):
        asked.append(tuple(hidden.shape))
        return model.logits(hidden, training=True)

    found = []
    for given in (None, logits_of):
        with tf.GradientTape() as tape:
            total, count = head_losses(model(batch, training=True), batch, spec, 0.1, logits_of=given)
        gradients = tape.gradient(total, [variable.value for variable in model.trainable_variables])
        found.append((total, count, *map(tf.convert_to_tensor, gradients)))
    for whole, hidden_alone in zip(*found, strict=True):
        np.testing.assert_allclose(hidden_alone, whole, rtol=1e-4, atol=1e-5)
    assert found[0][1] == (labels >= 0).sum() < 64
    assert asked == [(1, min(64, ids.size), 8)]
