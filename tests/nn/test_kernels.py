import keras
import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from regard.nn import kernels


def random(*shape, dtype="float32", seed=0):
    return ops.convert_to_tensor(np.random.default_rng(seed).normal(size=shape), dtype=dtype)


def value_and_gradient(function, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
        total = tf.reduce_sum(y * tf.cast(tf.range(1, y.shape[0] + 1), y.dtype))
    return np.asarray(y), np.asarray(tape.gradient(total, x))


def test_a_shared_function_equals_the_portable_form_and_stands_in_a_graph_once():
    traced = []

    def squared(x):
        traced.append(x)
        return {"square": x * x, "none": None}

    def thrice(share, x):
        of = share(squared)
        for _ in range(3):
            x = of(x)["square"]
        return x

    ours = tf.function(lambda x: thrice(kernels.shared, x))
    shared = value_and_gradient(ours, random(4))
    assert len(traced) == 1
    plain = value_and_gradient(lambda x: thrice(kernels.portable_shared, x), random(4))
    np.testing.assert_allclose(shared, plain, rtol=1e-6)


def test_affine_equals_the_portable_form():
    x, kernel, bias = random(5, 3), random(3, 4, seed=1), random(4, seed=2)
    np.testing.assert_allclose(kernels.affine(x, kernel, bias), kernels.portable_affine(x, kernel, bias), atol=1e-6)


def test_a_product_with_a_transposed_table_equals_the_portable_form():
    x, table = random(5, 3, dtype="float64"), random(7, 3, seed=1, dtype="float64")
    for kernel in (kernels.times_transposed, kernels.portable_times_transposed):
        np.testing.assert_allclose(kernel(x, table), np.asarray(x) @ np.asarray(table).T, rtol=1e-12)
    ours = value_and_gradient(lambda table: tf.reshape(kernels.times_transposed(x, table), [-1]), table)
    plain = value_and_gradient(lambda table: tf.reshape(kernels.portable_times_transposed(x, table), [-1]), table)
    np.testing.assert_allclose(ours[1], plain[1], rtol=1e-12)


def test_lookup_equals_the_portable_form_and_reads_a_variable_as_all_else_does():
    table, ids = random(7, 3), np.array([[0, 6], [2, 2]], "int32")
    np.testing.assert_array_equal(kernels.lookup(table, ids), kernels.portable_lookup(table, ids))
    variable = keras.Variable(table)
    graph = tf.function(lambda: kernels.lookup(variable.value, ids)).get_concrete_function().graph
    kinds = [operation.type for operation in graph.get_operations()]
    assert "GatherV2" in kinds
    assert "ResourceGather" not in kinds  # it would have each ReadVariableOp copy the table from then on


def test_softmax_equals_the_portable_form():
    np.testing.assert_allclose(kernels.softmax(random(3, 5)), kernels.portable_softmax(random(3, 5)), rtol=1e-6)


@given(st.integers(0, 3))
def test_writing_a_slot_changes_that_slot_alone(slot):
    buffer, values = random(6, 4, 2, 3), random(6, 2, 3, seed=1)
    written = np.asarray(kernels.write_slot(buffer, slot, values))
    np.testing.assert_array_equal(written, kernels.portable_write_slot(buffer, slot, values))
    expected = np.array(buffer)
    expected[:, slot] = values
    np.testing.assert_array_equal(written, expected)


@given(st.integers(0, 2), st.integers(1, 3))
def test_writing_slots_changes_those_alone_and_in_the_buffer_itself(first, count):
    count = min(count, 4 - first)
    slots = ops.arange(first, first + count, dtype="int32")
    buffer, values = random(6, 4, 1, 3), random(6, count, 1, 3, seed=1)
    expected = np.array(buffer)
    expected[:, first : first + count] = values
    np.testing.assert_array_equal(kernels.portable_write_slots(buffer, slots, values), expected)
    np.testing.assert_array_equal(kernels.write_slots(buffer, slots, values), expected)
    np.testing.assert_array_equal(buffer, expected)


def test_one_graph_serves_all_sizes():
    traces = []

    def double(x):
        traces.append(x.shape)
        return x * 2

    graph = kernels.compiled(double, np.zeros((2, 3), "float32"))
    for size in (1, 4, 7):
        np.testing.assert_array_equal(graph(np.ones((size, size), "float32")), np.full((size, size), 2))
    assert len(traces) == 1


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(0, 15))
def test_sizes_equal_the_portable_form_with_one_operation_for_what_is_not_known(shape, known):
    x = tf.zeros(shape)
    assert kernels.sizes(x) == tuple(shape) == tuple(kernels.portable_sizes(x))
    spec = tf.TensorSpec([size if known >> axis & 1 else None for axis, size in enumerate(shape)], tf.float32)
    graph = tf.function(kernels.sizes, input_signature=[spec], autograph=False).get_concrete_function()
    assert [int(size) for size in graph(x)] == shape
    assert sum(node.op == "Unpack" for node in graph.graph.as_graph_def().node) == (None in spec.shape.as_list())
