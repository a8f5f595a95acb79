from collections.abc import Callable
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.config import OptimizerConfig
from regard.nn.losses import cross_entropy
from regard.training.optimizer import build_optimizer
from regard.training.step import NO_LABELS, TrainStep

KEYS = ("input_ids", "attention_mask", "labels")
Batch = dict[str, np.ndarray]


def step_of(model: Any, optimizer: Any = None, **options: Any) -> TrainStep:
    optimizer = optimizer or build_optimizer(OptimizerConfig(), model.trainable_variables)
    return TrainStep(model, optimizer, keys=KEYS, **options)


def weights(model: Any) -> list[np.ndarray]:
    return [weight.numpy() for weight in model.trainable_variables]


def everything(step: TrainStep) -> list[np.ndarray]:
    variables = [*step.model.trainable_variables, *step.optimizer.variables, *step.variables.values()]
    return [np.array(variable.numpy()) for variable in variables]


def assert_same(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=4, deadline=None)
@given(cuts=st.lists(st.integers(1, 7), min_size=1, max_size=3, unique=True), seed=st.integers(0, 99))
def test_accumulating_micro_batches_equals_one_batch_of_their_rows(
    toy: Callable[..., Any], random_batch: Callable[..., Batch], cuts: list[int], seed: int
) -> None:
    batch = random_batch(rows=8, seed=seed)
    bounds = [0, *sorted(cuts), 8]
    parts = [{key: rows[a:b] for key, rows in batch.items()} for a, b in pairwise(bounds)]
    whole, split = toy(), toy()
    one = step_of(whole, keras.optimizers.SGD(0.0), label_smoothing=0.1, clip_norm=0.05)
    many = step_of(split, keras.optimizers.SGD(0.0), label_smoothing=0.1, clip_norm=0.05, accumulation=len(parts))
    for _ in range(2):
        assert one([batch], 0.5)
        assert many(parts, 0.5)
    for a, b in zip(weights(whole), weights(split), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    first, second = one.read(), many.read()
    assert first.loss == pytest.approx(second.loss, rel=1e-6)
    assert first.gradient_norm == pytest.approx(second.gradient_norm, rel=1e-5)


def test_the_gradient_is_that_of_the_mean_over_real_labels(
    toy: Callable[..., Any], random_batch: Callable[..., Batch]
) -> None:
    model, batch = toy(), random_batch()
    before = weights(model)
    with tf.GradientTape() as tape:
        total, count = cross_entropy(model(batch, training=True).logits, batch["labels"], 0.1)
        loss = total / count
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_variables])
    step_of(model, keras.optimizers.SGD(0.0), label_smoothing=0.1)([batch], 0.1)
    for start, gradient, end in zip(before, gradients, weights(model), strict=True):
        np.testing.assert_allclose(end, start - 0.1 * tf.convert_to_tensor(gradient).numpy(), rtol=1e-5, atol=1e-7)


def test_clipping_bounds_the_global_norm_and_keeps_the_direction(
    toy: Callable[..., Any], random_batch: Callable[..., Batch]
) -> None:
    free, clipped = toy(), toy()
    start = weights(free)
    loose = step_of(free, keras.optimizers.SGD(0.0))
    loose([random_batch()], 1.0)
    step_of(clipped, keras.optimizers.SGD(0.0), clip_norm=0.01)([random_batch()], 1.0)
    freely = np.concatenate([(a - b).ravel() for a, b in zip(weights(free), start, strict=True)])
    bounded = np.concatenate([(a - b).ravel() for a, b in zip(weights(clipped), start, strict=True)])
    norm = np.linalg.norm(freely)
    assert norm > 0.02
    assert loose.read().gradient_norm == pytest.approx(norm, rel=1e-5)
    np.testing.assert_allclose(bounded, freely * 0.01 / norm, rtol=1e-3, atol=1e-7)


def test_a_gradient_below_the_bound_is_not_scaled(toy: Callable[..., Any], random_batch: Callable[..., Batch]) -> None:
    free, clipped = toy(), toy()
    step_of(free)([random_batch()], 0.1)
    step_of(clipped, clip_norm=1000.0)([random_batch()], 0.1)
    assert_same(weights(free), weights(clipped))


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_step_that_is_not_finite_touches_nothing(
    toy: Callable[..., Any], random_batch: Callable[..., Batch], accumulation: int
) -> None:
    model = toy()
    step = step_of(model, accumulation=accumulation)
    good = [random_batch(seed=seed) for seed in range(accumulation)]
    assert step(good, 0.1)
    healthy = model.scale.numpy()
    model.scale.assign(np.full_like(healthy, np.nan))
    before = everything(step)
    assert not step(good, 0.1)
    assert_same(everything(step), before)
    model.scale.assign(healthy)
    assert step(good, 0.1)
    assert all(np.isfinite(array).all() for array in everything(step))


def test_a_batch_without_labels_is_skipped(toy: Callable[..., Any], random_batch: Callable[..., Batch]) -> None:
    step = step_of(toy())
    before = everything(step)
    assert step([random_batch() | {"labels": np.full((4, 5), -100, np.int32)}], 0.1) == NO_LABELS
    assert_same(everything(step), before)
    assert step.read().loss is None


def test_dropout_is_on_and_draws_new_noise_each_step(
    toy: Callable[..., Any], random_batch: Callable[..., Batch]
) -> None:
    step, batch = step_of(toy(dropout=0.5)), random_batch()
    losses = []
    for _ in range(2):
        step([batch], 0.0)
        losses.append(step.read().loss)
    without = step_of(toy(dropout=0.0))
    without([batch], 0.0)
    assert len({*losses, without.read().loss}) == 3


def test_one_trace_serves_every_batch_shape_and_rate(
    toy: Callable[..., Any], random_batch: Callable[..., Batch]
) -> None:
    model = toy()
    step = step_of(model)
    for number, (rows, length) in enumerate([(4, 5), (1, 1), (7, 3), (2, 16)]):
        step([random_batch(rows, length)], 0.01 * number)
    assert model.traces == 1


def test_the_mean_loss_is_read_over_all_steps_since_the_last_reading(
    toy: Callable[..., Any], random_batch: Callable[..., Batch]
) -> None:
    model = toy()
    step = step_of(model, label_smoothing=0.0)
    batches = [random_batch(rows=rows, seed=rows) for rows in (2, 6)]
    sums = [[float(value) for value in cross_entropy(model(each).logits, each["labels"])] for each in batches]
    for each in batches:
        step([each], 0.0)
    assert step.read().loss == pytest.approx((sums[0][0] + sums[1][0]) / (sums[0][1] + sums[1][1]), rel=1e-6)
    assert step.read().loss is None


def test_weights_stay_float32_under_mixed_bfloat16(toy: Callable[..., Any], random_batch: Callable[..., Batch]) -> None:
    model = toy(dtype="mixed_bfloat16")
    assert step_of(model)([random_batch()], 0.1)
    assert {array.dtype for array in weights(model)} == {np.dtype("float32")}
