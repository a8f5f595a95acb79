from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from regard.config import OptimizerConfig
from regard.training.optimizer import build_optimizer

SETTINGS = {"beta_1": 0.9, "beta_2": 0.98, "epsilon": 1e-9}


def updated(optimizer: Any, model: Any, steps: int = 5) -> list[np.ndarray]:
    """The weights after some steps with random gradients, the update inside a graph as training has it."""
    rng = np.random.default_rng(0)

    @tf.function
    def apply(gradients: list[tf.Tensor], rate: tf.Tensor) -> None:
        optimizer.learning_rate.assign(rate)
        optimizer.apply(gradients, model.trainable_variables)

    for step in range(steps):
        gradients = [tf.constant(rng.normal(size=weight.shape), tf.float32) for weight in model.trainable_variables]
        apply(gradients, tf.constant(0.01 * (step + 1)))
    return [weight.numpy() for weight in model.trainable_variables]


def test_the_fused_adam_equals_keras_s_own(toy: Callable[..., Any]) -> None:
    ours, theirs = toy(), toy()
    fused = updated(build_optimizer(OptimizerConfig(), ours.trainable_variables), ours)
    plain = updated(keras.optimizers.Adam(0.0, **SETTINGS), theirs)
    for one, other in zip(fused, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=1e-7)


def test_the_fused_adamw_equals_keras_s_own(toy: Callable[..., Any]) -> None:
    ours, theirs = toy(), toy()
    config = OptimizerConfig(name="adamw", weight_decay=0.3)
    plain_optimizer = keras.optimizers.AdamW(0.0, weight_decay=0.3, **SETTINGS)
    plain_optimizer.exclude_from_weight_decay(var_list=[theirs.scale])
    fused = updated(build_optimizer(config, ours.trainable_variables), ours)
    plain = updated(plain_optimizer, theirs)
    for one, other in zip(fused, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=1e-7)


def test_kernels_decay_but_norms_and_biases_never_do(toy: Callable[..., Any]) -> None:
    model = toy()
    optimizer = build_optimizer(OptimizerConfig(name="adamw", weight_decay=0.5), model.trainable_variables)
    before = {weight.name: weight.numpy() for weight in model.trainable_variables}
    optimizer.learning_rate.assign(0.1)
    optimizer.apply([tf.zeros(weight.shape) for weight in model.trainable_variables], model.trainable_variables)
    np.testing.assert_array_equal(model.scale.numpy(), before["scale"])
    np.testing.assert_allclose(model.kernel.numpy(), before["kernel"] * 0.95, rtol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_the_names_of_the_optimizer_s_variables_do_not_depend_on_the_process(
    toy: Callable[..., Any], name: str
) -> None:
    models = [toy(), toy()]
    config = OptimizerConfig.model_validate({"name": name})
    first, second = (build_optimizer(config, model.trainable_variables).variables for model in models)
    names = [variable.path for variable in first]
    assert names == [variable.path for variable in second]
    assert len(set(names)) == len(names)
