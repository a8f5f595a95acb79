"""Dropout: each number of a tensor is dropped with one probability in training, and the others make up for it."""

import keras

from regard.nn import training_kernels
from regard.nn.output import Tensor


class Dropout(keras.layers.Dropout):
    """Keras's layer, with its seeds, over random bits that are cheap to draw."""

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or not self.rate:
            return inputs
        return training_kernels.dropout(inputs, self.rate, self.seed_generator)
