"""A tiny network with the call signature that training relies on, and batches for it."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from regard.nn.output import Output

VOCAB = 11


class Toy(keras.Model):
    """Predicts each label from the token at its place: a table, dropout, a norm-like scale, the table again."""

    def __init__(self, dropout: float, seed: int, dtype: str) -> None:
        super().__init__(name="toy", dtype=dtype, autocast=False)
        keras.utils.set_random_seed(seed)
        self.table = self.add_weight(name="table", shape=(VOCAB, 6), initializer="random_normal")
        self.scale = self.add_weight(name="scale", shape=(6,), initializer="ones")
        self.kernel = self.add_weight(name="kernel", shape=(6, 6), initializer="glorot_uniform")
        self.dropout = keras.layers.Dropout(dropout)
        self.built = True
        self.traces = 0

    def call(self, batch: dict[str, Any], training: bool = False) -> Output:
        self.traces += 1
        hidden = ops.take(self.table, batch["input_ids"], axis=0)
        hidden = self.dropout(ops.tanh(ops.matmul(hidden, self.kernel) * self.scale), training=training)
        hidden = hidden * ops.cast(batch["attention_mask"], hidden.dtype)[..., None]
        return Output(logits=ops.cast(ops.matmul(hidden, ops.transpose(self.table)), "float32"))


@pytest.fixture(scope="session")
def toy() -> Callable[..., Toy]:
    return lambda dropout=0.0, seed=0, dtype="float32": Toy(dropout, seed, dtype)


@pytest.fixture(scope="session")
def random_batch() -> Callable[..., dict[str, np.ndarray]]:
    def make(rows: int = 4, length: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, VOCAB, (rows, length)).astype(np.int32)
        labels[rng.random((rows, length)) < 0.3] = -100
        labels[0, 0] = 1
        return {
            "input_ids": rng.integers(0, VOCAB, (rows, length)).astype(np.int32),
            "attention_mask": np.ones((rows, length), np.int32),
            "labels": labels,
        }

    return make
