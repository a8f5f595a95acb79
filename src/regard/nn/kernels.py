"""What `nn` needs TensorFlow for, each kernel beside its portable form, and a test holds the two equal.

Those of training alone stand in `training_kernels`.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import tensorflow as tf
from keras import ops

from regard.nn.output import Tensor


def compiled(function: Callable[..., Any], *example: Any, known: Collection[str] = ()) -> Callable[..., Any]:
    """One graph of `function` for all sizes: `example` gives its arguments' structure, dtypes and ranks. Of what a dict
    among them has under a name in `known`, only the first axis may vary: the graph knows the others."""

    def shaped(is_known: bool, array: Any) -> tf.TensorSpec:
        array = tf.convert_to_tensor(array)
        if array.shape.rank == 0:
            return tf.TensorSpec([], array.dtype)
        others = array.shape[1:] if is_known else [None] * (array.shape.rank - 1)
        return tf.TensorSpec([None, *others], array.dtype)

    def signature(argument: Any, is_known: bool = False) -> Any:
        if isinstance(argument, dict):
            return {name: signature(value, name in known) for name, value in argument.items()}
        return tf.nest.map_structure(partial(shaped, is_known), argument)

    graph: Callable[..., Any] = tf.function(
        function, input_signature=[signature(argument) for argument in example], autograph=False
    )
    return graph


def compiled_after(function: Callable[..., Any], before: Any, *example: Any) -> Callable[..., Any]:
    """One graph of `function` for whatever the compiled `before` returns, and arrays of any size, or scalars, as in
    `example`."""
    found = before.get_concrete_function().structured_outputs
    state = tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), found)
    given = [tf.convert_to_tensor(value) for value in example]
    others = [tf.TensorSpec([None] * value.shape.rank, value.dtype) for value in given]
    graph: Callable[..., Any] = tf.function(function, input_signature=[state, *others], autograph=False)
    return graph


def in_graph() -> bool:
    """Whether what is computed now becomes a graph."""
    inside: bool = tf.inside_function()
    return inside


def shared(function: Callable[..., Any]) -> Any:
    """`function` of structures of tensors, which the graph that is being made holds and optimises once, to call it.

    Laid into the graph at each call, it would be optimised as often: 30 layers then take seven seconds more at the
    first call, and no less time at each later one (SmolLM2; GPT-2 with batches of 1, 8 and 16).
    """
    attributes = {"_noinline": True}
    once: Any = tf.function(function, autograph=False, experimental_attributes=attributes)
    once._omit_frequent_tracing_warning = True  # each graph has its own, so small stacks would be warned of
    return once


def portable_shared(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def sizes(x: Tensor) -> tuple[Any, ...]:
    """The shape: numbers where it is known, else scalars of one operation, where Keras has one for each axis: these
    were a tenth of a training step's graph."""
    if x.shape.is_fully_defined():
        return tuple(x.shape.as_list())
    counted = tf.unstack(tf.shape(x))
    return tuple(found if known is None else known for found, known in zip(counted, x.shape.as_list(), strict=True))


portable_sizes = ops.shape


def affine(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """x W + b: (R, in), (in, out), (out,) -> (R, out). `bias_add` lets oneDNN fuse the sum into the product, and its
    gradient is one reduction where a broadcast sum's needs its shapes computed first."""
    product = tf.matmul(x, kernel)
    return product if bias is None else tf.nn.bias_add(product, bias)


def portable_affine(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    product = ops.matmul(x, kernel)
    return product if bias is None else product + bias


def lookup(table: Tensor, ids: Tensor) -> Tensor:
    """table[ids]: (V, D), (...) -> (..., D), for ids from 0 on.

    Of the variable itself TensorFlow gathers rows by an operation of its own, after which each read of the whole
    variable, as the output layer's, copies it: 113 MB at each token of SmolLM2.
    """
    return tf.gather(tf.convert_to_tensor(table), ids)


def portable_lookup(table: Tensor, ids: Tensor) -> Tensor:
    return ops.take(table, ids, axis=0)


def times_transposed(x: Tensor, table: Tensor) -> Tensor:
    """x E^T: (R, D), (V, D) -> (R, V). The gradient of E comes as E lies; of a product with a transposed E, it would be
    turned round once more: 154 MB at each step of GPT-2."""
    return tf.matmul(x, table, transpose_b=True)


def portable_times_transposed(x: Tensor, table: Tensor) -> Tensor:
    return ops.matmul(x, ops.transpose(table))


def softmax(scores: Tensor) -> Tensor:
    """Over the last axis. Keras's own warns wherever that axis has one place, as attention to one token has."""
    return tf.nn.softmax(scores)


def portable_softmax(scores: Tensor) -> Tensor:
    return ops.softmax(scores, axis=-1)


def write_slot(buffer: Tensor, slot: Tensor, values: Tensor) -> Tensor:
    """buffer[:, slot] = values, in place: (R, S, ...), scalar, (R, ...) -> (R, S, ...).

    TensorFlow's scatter reuses a buffer that nothing else holds, which a loop variable is, so a step costs the same
    whatever the capacity; `ops.slice_update` copies the buffer in a graph.
    """
    rows = tf.range(tf.shape(buffer)[0])
    indices = tf.stack([rows, tf.fill(tf.shape(rows), tf.cast(slot, rows.dtype))], axis=1)
    return tf.tensor_scatter_nd_update(buffer, indices, values)


def portable_write_slot(buffer: Tensor, slot: Tensor, values: Tensor) -> Tensor:
    start = (0, slot) + (0,) * (len(buffer.shape) - 2)
    return ops.slice_update(buffer, start, ops.expand_dims(values, 1))


def write_slots(buffer: Tensor, slots: Tensor, values: Tensor) -> Tensor:
    """buffer[:, slots] = values, in place: (R, S, ...), (T,), (R, T, ...) -> (R, S, ...).

    The buffer itself is written to, whoever else holds it: between two graphs somebody always does, and then the
    scatter of `write_slot` copies all of it. Nobody may want to read what it held.
    """
    rows, length, *rest = ops.shape(buffer)
    lines, new = tf.reshape(buffer, (-1, *rest)), tf.reshape(values, (-1, *rest))
    places = tf.reshape(tf.range(rows)[:, None] * length + slots[None, :], [-1])
    return tf.reshape(tf.raw_ops.InplaceUpdate(x=lines, i=places, v=new), (rows, length, *rest))


def portable_write_slots(buffer: Tensor, slots: Tensor, values: Tensor) -> Tensor:
    start = (0, slots[0]) + (0,) * (len(buffer.shape) - 2)  # they stand side by side
    return ops.slice_update(buffer, start, values)
