import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from regard.batch import IGNORED_LABEL
from regard.nn.losses import cross_entropy


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@given(st.floats(0, 0.9), st.integers(0, 2**16))
def test_the_loss_is_the_cross_entropy_against_the_smoothed_target(smoothing, seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(2, 3, 5)), rng.integers(0, 5, (2, 3))
    labels[0, 1] = IGNORED_LABEL
    total, count = cross_entropy(tf.constant(logits), labels, smoothing)
    expected = 0.0
    for b, t in np.argwhere(labels != IGNORED_LABEL):
        target = np.full(5, smoothing / 5)
        target[labels[b, t]] += 1 - smoothing
        expected -= (target * log_softmax(logits[b, t])).sum()
    assert np.isclose(float(total), expected, rtol=1e-9)
    assert float(count) == 5


def test_ignored_labels_carry_no_loss_and_no_gradient_even_where_the_logits_are_not_numbers():
    logits = np.zeros((1, 2, 4), "float32")
    logits[0, 1] = np.nan
    x = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total, count = cross_entropy(x, np.array([[2, IGNORED_LABEL]]))
    assert np.isclose(float(total), np.log(4))
    assert float(count) == 1
    assert np.isfinite(np.asarray(tape.gradient(total, x))[0, 0]).all()


def test_two_halves_add_up_to_the_whole():
    rng = np.random.default_rng(3)
    logits, labels = tf.constant(rng.normal(size=(4, 3, 6))), rng.integers(0, 6, (4, 3))
    whole = [float(x) for x in cross_entropy(logits, labels, 0.1)]
    halves = [[float(x) for x in cross_entropy(logits[rows], labels[rows], 0.1)] for rows in (slice(2), slice(2, 4))]
    np.testing.assert_allclose(np.sum(halves, axis=0), whole, rtol=1e-12)
