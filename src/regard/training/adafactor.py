"""Adafactor (Shazeer and Stern 2018): second moments of a matrix kept as one number a row and one a column."""

from typing import Any

import keras
import tensorflow as tf

_DECAY_EXPONENT = 0.8  # section 7.2
_SMALLEST_SQUARE = 1e-30  # epsilon_1
_SMALLEST_SCALE = 1e-3  # epsilon_2: biases begin at zero, and must move
_LARGEST_UPDATE = 1.0  # d of section 6: root mean square of an update


class AdafactorRule(keras.optimizers.Optimizer):
    """Algorithms 4 and 5; the learning rate is rho, which the weight's own scale multiplies (section 8).

    Keras's keeps the whole second moment beside its factors, never exceeds 1 / sqrt(step), and gives the factors of all
    variables one name. A fused kernel is one matrix here.
    """

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        self.factors = [self._factors(variable) for variable in variables]

    def _factors(self, variable: Any) -> list[Any]:
        name = variable.path.replace("/", "_")
        if len(variable.shape) < 2:
            return [self.add_variable(variable.shape, name=f"{name}_velocity")]
        *outer, rows, columns = variable.shape
        return [
            self.add_variable((*outer, rows), name=f"{name}_row_velocity"),
            self.add_variable((*outer, columns), name=f"{name}_column_velocity"),
        ]

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: Any) -> None:
        step = tf.cast(self.iterations.value + 1, tf.float32)
        share = tf.pow(step, -_DECAY_EXPONENT)  # of what is new: all of it at first
        factors = [factor.value for factor in self.factors[self._get_variable_index(variable)]]
        squares = tf.square(gradient) + _SMALLEST_SQUARE
        axes = [None] if len(factors) == 1 else [-1, -2]
        for factor, axis in zip(factors, axes, strict=True):
            new = squares if axis is None else tf.reduce_mean(squares, axis=axis)
            factor.assign_sub((factor - new) * share)
        update = gradient * _inverse_roots(*factors)
        update = update / tf.maximum(1.0, _root_mean_square(update) / _LARGEST_UPDATE)
        scale = tf.maximum(_SMALLEST_SCALE, _root_mean_square(variable))
        variable.assign_sub(update * (scale * learning_rate))


def _inverse_roots(*factors: tf.Tensor) -> tf.Tensor:
    """1 / sqrt(V), of the whole V, or of R C / mean(R) without making that."""
    if len(factors) == 1:
        return tf.math.rsqrt(factors[0])
    rows, columns = factors
    rows = rows / tf.reduce_mean(rows, axis=-1, keepdims=True)
    return tf.math.rsqrt(rows)[..., None] * tf.math.rsqrt(columns)[..., None, :]


def _root_mean_square(values: Any) -> tf.Tensor:
    return tf.sqrt(tf.reduce_mean(tf.square(values)))
