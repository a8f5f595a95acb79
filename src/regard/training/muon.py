"""Muon (Jordan et al. 2024): momentum whose singular values are all made one, for the kernels inside the layers."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras
import tensorflow as tf

from regard.nn.linear import Linear
from regard.training.fused_adam import adam_step
from regard.training.layer_decay import is_in_a_layer

Kernels = Mapping[str, tuple[int, ...]]  # path of a (in, out) kernel -> the output widths of its parts, side by side

_QUINTIC = (3.4445, -4.7750, 2.0315)  # steepest at zero; ends between 0.7 and 1.2 rather than at 1
_ITERATIONS = 5
_TINY = 1e-7
_UPDATE_SCALE = 0.2  # Liu et al. 2025, section 2.2: the size of AdamW's updates, so that one rate serves both


class MuonRule(keras.optimizers.Optimizer):
    """Nesterov momentum, made orthogonal, for `kernels`; Adam for all else: embeddings, heads, norms, biases.

    Each part of a fused kernel is a matrix by itself, which Keras's Muon cannot know; and Keras's takes it for every
    matrix whose path does not say "embedding", a head's or a position table too.
    """

    def __init__(
        self,
        kernels: Kernels,
        *,
        momentum: float,
        beta_1: float,
        beta_2: float,
        epsilon: float,
        products: str = "float32",
        **settings: Any,
    ) -> None:
        """momentum: of the kernels. beta_1, beta_2, epsilon: Adam's. products: the dtype of the matrix products."""
        super().__init__(**settings)
        self.kernels, self.products = MappingProxyType(dict(kernels)), products
        self.momentum, self.beta_1, self.beta_2, self.epsilon = momentum, beta_1, beta_2, epsilon

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        self.momentums = self.add_optimizer_variables(variables, "momentum")
        self.velocities = [
            None if each.path in self.kernels else self.add_variable_from_reference(each, "velocity")
            for each in variables
        ]

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        momentum, velocity = self.momentums[index], self.velocities[index]
        if velocity is not None:
            adam_step(self, gradient, variable, momentum, velocity, learning_rate)
            return
        momentum.value.assign(momentum.value * self.momentum + gradient)
        ahead = gradient + momentum.value * self.momentum
        parts = tf.split(ahead, self.kernels[self._trainable_variables[index].path], axis=1)
        updates = [orthogonal(part, self.products) * update_scale(part.shape) for part in parts]
        variable.assign_sub(tf.concat(updates, axis=1) * learning_rate)


def orthogonal(matrix: tf.Tensor, products: str = "float32") -> tf.Tensor:
    """About U V^T of the matrix's singular value decomposition, by Newton and Schulz: float32, of its shape."""
    a, b, c = _QUINTIC
    wide = matrix.shape[0] <= matrix.shape[1]
    x = tf.cast(matrix / (tf.norm(matrix) + _TINY), products)
    for _ in range(_ITERATIONS):
        gram = tf.matmul(x, x, transpose_a=not wide, transpose_b=wide)  # of the shorter side
        polynomial = b * gram + c * tf.matmul(gram, gram)
        x = a * x + (tf.matmul(polynomial, x) if wide else tf.matmul(x, polynomial))
    return tf.cast(x, tf.float32)


def update_scale(shape: Any) -> float:
    """0.2 sqrt(longer side): the entries of an orthogonal matrix then have a root mean square of 0.2."""
    return _UPDATE_SCALE * math.sqrt(max(shape))


def kernel_parts(model: Any) -> Kernels:
    """The kernels inside the layers of a model's stacks."""
    linear = [layer for layer in model._flatten_layers() if isinstance(layer, Linear)]
    return {layer.kernel.path: layer.out_widths for layer in linear if is_in_a_layer(layer.kernel.path)}
