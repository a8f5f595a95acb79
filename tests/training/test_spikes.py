from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from regard.config import OptimizerConfig
from regard.training.optimizer import build_optimizer
from regard.training.spikes import WINDOW, SpikeGuard
from regard.training.step import APPLIED, NOT_FINITE, SPIKE, TrainStep


def followed(losses: np.ndarray, deviations: float = 4.0) -> SpikeGuard:
    guard = SpikeGuard(deviations)
    for loss in losses:
        guard.follow(tf.constant(loss, tf.float32))
    return guard


def test_the_first_losses_give_their_plain_mean_and_variance() -> None:
    losses = np.random.default_rng(0).normal(5, 2, WINDOW).astype(np.float32)
    guard = followed(losses)
    assert float(guard.mean) == pytest.approx(losses.mean(dtype=np.float64), rel=1e-9)
    assert float(guard.variance) == pytest.approx(losses.var(dtype=np.float64), rel=1e-9)


def test_later_losses_weigh_more_the_newer_they_are() -> None:
    losses = np.random.default_rng(1).normal(5, 2, 400).astype(np.float32)
    losses[200:] -= 3
    weights = np.array([(1 - 1 / WINDOW) ** (len(losses) - 1 - i) / WINDOW for i in range(len(losses))])
    weights[:WINDOW] = weights[WINDOW] * (1 - 1 / WINDOW)
    guard = followed(losses)
    mean = np.average(losses, weights=weights)
    assert float(guard.mean) == pytest.approx(mean, rel=1e-6)
    assert float(guard.variance) == pytest.approx(np.average((losses - mean) ** 2, weights=weights), rel=1e-6)


def test_a_loss_beyond_the_deviations_is_a_spike_and_one_within_or_below_is_not() -> None:
    losses = np.random.default_rng(2).normal(5, 2, WINDOW).astype(np.float32)
    guard = followed(losses, deviations=3.0)
    bound = losses.mean() + 3 * losses.std()
    assert bool(guard.beyond(tf.constant(bound + 0.01)))
    assert not bool(guard.beyond(tf.constant(bound - 0.01)))
    assert not bool(guard.beyond(tf.constant(-100.0)))


def test_nothing_is_a_spike_before_the_window_is_full() -> None:
    guard = followed(np.ones(WINDOW - 1, np.float32))
    assert not bool(guard.beyond(tf.constant(100.0)))
    guard.follow(tf.constant(1.0))
    assert bool(guard.beyond(tf.constant(100.0)))


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_step_with_a_spike_touches_nothing_and_one_that_is_not_finite_is_no_spike(
    toy: Callable[..., Any], random_batch: Callable[..., Any], accumulation: int
) -> None:
    model = toy()
    optimizer = build_optimizer(OptimizerConfig(), model.trainable_variables)
    keys = ("input_ids", "attention_mask", "labels")
    step = TrainStep(model, optimizer, keys=keys, accumulation=accumulation, spike_deviations=4.0)
    batches = [random_batch(seed=seed) for seed in range(accumulation)]
    assert int(step(batches, 0.0)) == APPLIED
    seen, loss = float(step.spikes.seen), float(step.spikes.mean)
    assert (seen, loss) == (1.0, pytest.approx(step.read().loss, rel=1e-6))
    step.spikes.seen.assign(WINDOW)

    def everything() -> list[bytes]:
        variables = [*model.trainable_variables, *optimizer.variables, *step.variables.values()]
        return [np.asarray(variable.numpy()).tobytes() for variable in variables]

    step.spikes.mean.assign(loss - 0.1)
    before = everything()
    assert int(step(batches, 0.1)) == SPIKE
    assert everything() == before
    healthy = model.scale.numpy()
    model.scale.assign(np.full_like(healthy, np.nan))
    assert int(step(batches, 0.1)) == NOT_FINITE
    model.scale.assign(healthy)
    assert everything() == before
    step.spikes.mean.assign(loss + 0.1)
    assert int(step(batches, 0.1)) == APPLIED
    assert {"spike_mean", "spike_variance", "spike_seen"} <= step.variables.keys()


def test_without_the_guard_a_step_has_none_of_its_state(toy: Callable[..., Any]) -> None:
    model = toy()
    step = TrainStep(model, build_optimizer(OptimizerConfig(), model.trainable_variables), keys=("input_ids", "labels"))
    assert not [name for name in step.variables if name.startswith("spike")]
