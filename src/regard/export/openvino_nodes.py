"""The few operations of OpenVINO that a Transformer is made of, and its weights as they are stored."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import openvino as ov
from openvino import opset13 as op

Node = Any
Stored = Literal["float32", "bfloat16", "int8"]
Weights = Callable[[str], np.ndarray | None]  # a variable's path, as in the Keras model, -> its value, or None

STORED: tuple[Stored, ...] = ("float32", "bfloat16", "int8")
_LEAST = 1e-12  # keeps a row of zeros from a division by zero

ACTIVATIONS: dict[str, Callable[[Node], Node]] = {
    "relu": op.relu,
    "gelu": lambda x: op.gelu(x, "ERF"),
    "gelu_tanh": lambda x: op.gelu(x, "TANH"),
    "quick_gelu": lambda x: op.swish(x, numbers(1.702)),
    "silu": op.swish,
    "tanh": op.tanh,
    "gelu_10": lambda x: op.clamp(op.gelu(x, "ERF"), -10.0, 10.0),
    "mish": op.mish,
    "leaky_relu": lambda x: op.prelu(x, numbers(0.01)),
    "sigmoid": op.sigmoid,
    "linear": lambda x: x,
    "relu2": lambda x: op.power(op.relu(x), numbers(2)),
    "relu6": lambda x: op.clamp(x, 0.0, 6.0),
}


def integers(*values: int) -> Node:
    """A shape, or axes."""
    return op.constant(np.array(values, np.int64))


def axis(value: int) -> Node:
    """A scalar, where an operation takes one axis alone."""
    return op.constant(np.int64(value))


def whole(value: int) -> Node:
    """A scalar among int32 ids and places."""
    return op.constant(np.int32(value))


def numbers(value: Any) -> Node:
    return op.constant(np.asarray(value, np.float32))


def split(x: Node, parts: int) -> list[Node]:
    """Equal parts of the last axis."""
    return list(op.split(x, axis(-1), parts).outputs())


def split_by(x: Node, *widths: int) -> list[Node]:
    """Parts of the last axis."""
    return list(op.variadic_split(x, axis(-1), integers(*widths)).outputs())


def sizes(x: Node, *axes: int) -> Node:
    """The sizes of some axes, as a vector."""
    return op.gather(op.shape_of(x), integers(*axes), integers(0))


def named(node: Node, name: str) -> Node:
    node.get_output_tensor(0).set_names({name})
    return node


class Matrix(NamedTuple):
    """A weight (out, in) as it is stored, and what each of its rows is multiplied by (out, 1); None: by nothing."""

    numbers: Node
    scale: Node | None = None

    def whole(self) -> Node:
        """All of it, in float32: for products, which widen it on the way."""
        return self._widened(self.numbers, self.scale)

    def rows(self, ids: Node) -> Node:
        """Some of its rows, (...) -> (..., in) float32. They are taken as stored and then widened: the other way round
        the runtime has a kernel of its own, which took a millisecond for one row."""
        scale = None if self.scale is None else op.gather(self.scale, ids, integers(0))
        return self._widened(op.gather(self.numbers, ids, integers(0)), scale)

    @staticmethod
    def _widened(stored: Node, scale: Node | None) -> Node:
        if stored.get_element_type() != ov.Type.f32:
            stored = op.convert(stored, np.float32)
        return stored if scale is None else op.multiply(stored, scale)


def stored_matrix(value: np.ndarray, stored: Stored) -> Matrix:
    """(out, in) float32 numbers as the runtime keeps them, and reads them in its products.

    bfloat16: rounded to nearest; int8: each row by its own scale, the largest number of the row to 127. The runtime
    widens them inside the product, which is what makes them fast.
    """
    value = np.ascontiguousarray(value, np.float32)
    if stored == "int8":
        scale = np.maximum(np.abs(value).max(axis=1, keepdims=True), _LEAST) / 127
        return Matrix(op.constant(np.rint(value / scale).astype(np.int8)), numbers(scale))
    if stored == "bfloat16":
        return Matrix(op.constant(rounded_to_bfloat16(value), dtype=ov.Type.bf16))
    return Matrix(op.constant(value))


def rounded_to_bfloat16(value: np.ndarray) -> np.ndarray:
    """The nearest numbers of 8 significant bits, ties to even: float32 -> float32. (OpenVINO itself cuts the rest.)"""
    bits = value.view(np.uint32)
    rounded: np.ndarray = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)
