"""Connectionist temporal classification against all paths, one by one, and against its portable form."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from regard.batch import IGNORED_LABEL
from regard.decoding.frames import collapsed
from regard.nn import training_kernels
from regard.nn.losses import ctc_losses, mean_ctc

LABELS = np.array([[0, 1, 2], [1, 1, -100], [2, -100, -100], [0, 0, 0]], np.int32)


def logits_of(frames, blank, seed=0):
    return np.random.default_rng(seed).normal(size=(len(LABELS), frames, 4)).astype(np.float32), blank


def by_paths(logits, labels, blank):
    """-log of the summed probabilities of every path that says the labels."""
    probabilities = np.exp(logits.astype(np.float64))
    probabilities /= probabilities.sum(-1, keepdims=True)
    paths = np.array(list(itertools.product(range(logits.shape[1]), repeat=len(logits))))
    wanted = [token for token in labels.tolist() if token != IGNORED_LABEL]
    saying = [text == wanted for text in collapsed(paths, blank)]
    return -np.log(probabilities[np.arange(len(logits)), paths[saying]].prod(-1).sum())


@pytest.mark.parametrize("blank", [3, 0])
def test_the_loss_is_that_of_all_paths_together_and_counts_tokens(blank):
    logits, _ = logits_of(6, blank)
    labels = LABELS if blank == 3 else np.where(LABELS == IGNORED_LABEL, LABELS, LABELS + 1)
    expected = [by_paths(*row, blank) for row in zip(logits, labels, strict=True)]
    total, count = ctc_losses(ops.convert_to_tensor(logits), ops.convert_to_tensor(labels), blank)
    assert float(total) == pytest.approx(sum(expected), rel=1e-5)
    assert float(count) == 9
    assert float(mean_ctc(ops.convert_to_tensor(logits), ops.convert_to_tensor(labels), blank)) == pytest.approx(
        sum(expected) / 9, rel=1e-5
    )


def test_the_kernel_and_its_gradient_equal_the_portable_form():
    values, blank = logits_of(9, 3)
    logits, labels = tf.constant(values), tf.constant(LABELS)
    real = labels != IGNORED_LABEL
    found = []
    for function in (training_kernels.ctc, training_kernels.portable_ctc):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            losses = function(logits, labels, real, blank)
            total = tf.reduce_sum(losses * tf.constant([1.0, 2.0, 3.0, 4.0]))
        found.append((losses.numpy(), tape.gradient(total, logits).numpy()))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-5)
    steps = np.zeros_like(values)
    steps[1, 4, 1] = 1e-2
    up, down = (training_kernels.ctc(logits + sign * steps, labels, real, blank).numpy()[1] for sign in (1, -1))
    assert 2 * (up - down) / 2e-2 == pytest.approx(found[0][1][1, 4, 1], rel=1e-2)


def test_a_batch_without_rows_has_no_loss_and_an_empty_gradient():
    """A replica's share of a batch of one row; TensorFlow's operation refuses it."""
    values, blank = logits_of(9, 3)
    logits, labels = tf.constant(values[:0]), tf.constant(LABELS[:0])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = training_kernels.ctc(logits, labels, labels != IGNORED_LABEL, blank)
        total = tf.reduce_sum(losses)
    assert losses.shape == (0,)
    assert tape.gradient(total, logits).shape == logits.shape


def test_what_stands_in_ignored_places_changes_nothing():
    values, blank = logits_of(6, 3)
    longer = np.pad(LABELS, ((0, 0), (0, 5)), constant_values=IGNORED_LABEL)
    losses = [float(ctc_losses(tf.constant(values), tf.constant(each), blank)[0]) for each in (LABELS, longer)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_bfloat16_logits_are_summed_in_float32():
    values, blank = logits_of(6, 3)
    logits = tf.cast(tf.constant(values), tf.bfloat16)
    exact = ctc_losses(tf.cast(logits, tf.float32), tf.constant(LABELS), blank)[0]
    assert float(ctc_losses(logits, tf.constant(LABELS), blank)[0]) == pytest.approx(float(exact), rel=1e-6)
