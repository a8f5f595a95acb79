"""Adam and AdamW as Keras has them, with the update of each variable in TensorFlow's one fused kernel.

Keras spells Adam as a dozen small operations a variable. The fused kernel computes the same formula (Kingma and Ba
2015, algorithm 1, in the order of its section 2) in one pass over memory, and one node a variable is also traced
faster; a test holds the two equal.
"""

from typing import Any

import keras
import tensorflow as tf

from regard.config import OptimizerConfig


class _FusedUpdate:
    """The `update_step` of a Keras Adam; gradients are dense float32 tensors."""

    def update_step(self: Any, gradient: tf.Tensor, variable: tf.Variable, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations.value + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(tf.constant(self.beta_1), step),
            beta2_power=tf.pow(tf.constant(self.beta_2), step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


class FusedAdam(_FusedUpdate, keras.optimizers.Adam):
    """Kingma and Ba 2015."""


class FusedAdamW(_FusedUpdate, keras.optimizers.AdamW):
    """Loshchilov and Hutter 2019: decay apart from the gradient."""


def build_optimizer(config: OptimizerConfig, variables: list[Any]) -> Any:
    """The optimizer of a run, with its state for `variables` (Keras variables, float32).

    Weights of rank 0 and 1, which are the norms' scales and all biases, never decay.
    """
    # The name is fixed: Keras would number it by process, and with it the names in a checkpoint.
    settings: dict[str, Any] = {
        "learning_rate": 0.0,
        "beta_1": config.beta_1,
        "beta_2": config.beta_2,
        "epsilon": config.epsilon,
        "name": "optimizer",
    }
    if config.name == "adam":
        optimizer = FusedAdam(**settings)
    else:
        optimizer = FusedAdamW(weight_decay=config.weight_decay, **settings)
        optimizer.exclude_from_weight_decay(var_list=[each for each in variables if len(each.shape) < 2])
    optimizer.build(variables)
    return optimizer
