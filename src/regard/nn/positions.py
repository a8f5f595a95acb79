"""Where a token stands, and the sinusoids that tell the network (Vaswani et al. 2017, section 3.5)."""

from typing import Any

import keras
import numpy as np
from keras import ops

from regard.nn.layer import Layer
from regard.nn.output import Tensor
from regard.specs import PositionSpec
from regard.specs.tables import position_table


class PositionTable(Layer):
    """A vector for each position: computed once, or stored in the checkpoint."""

    def __init__(self, spec: PositionSpec, width: int, start: np.ndarray | None = None, **kwargs: Any) -> None:
        """start: (offset + max_positions, D), what learned positions begin with; None: small random numbers."""
        super().__init__(**kwargs)
        self.spec, self.width, self.start = spec, width, start
        self.rows = spec.max_positions + spec.offset
        self.computed = None
        if spec.kind in ("sinusoidal", "stored"):
            self.computed = position_table(spec, width)

    def build(self) -> None:
        if self.spec.kind == "sinusoidal":
            return
        known = self.computed if self.start is None else self.start
        learned = self.spec.kind == "learned"
        initial = keras.initializers.RandomNormal(stddev=0.02) if known is None else lambda *_, **__: known
        self.table = self.add_weight(
            name="table", shape=(self.rows, self.width), initializer=initial, trainable=learned, autocast=False
        )

    def call(self, places: Tensor) -> Tensor:
        """(B, T) int32 -> (B, T, D)."""
        if self.spec.kind == "sinusoidal":
            table = ops.convert_to_tensor(self.computed, dtype=self.compute_dtype)
        else:
            table = self.table.value
        return ops.cast(ops.take(table, places + self.spec.offset, axis=0), self.compute_dtype)


def count_positions(real: Tensor, segments: Tensor | None = None) -> Tensor:
    """A real token's place among the real tokens of its segment, from 0; padding repeats a neighbour's.

    real: (B, S), segments: (B, S) or None -> (B, S) int32.
    """
    real = ops.cast(ops.cast(real, "bool"), "int32")
    if segments is None:
        return ops.maximum(ops.cumsum(real, axis=1) - 1, 0)
    place = ops.arange(ops.shape(real)[1])
    same_and_not_later = ops.logical_and(
        segments[:, :, None] == segments[:, None, :], (place[:, None] >= place[None, :])[None]
    )
    counts = ops.sum(ops.cast(same_and_not_later, "int32") * real[:, None, :], axis=2)  # (B,S,S) -> (B,S)
    return ops.maximum(counts - 1, 0)
