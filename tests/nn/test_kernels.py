import keras
import numpy as np
import pytest
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


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_and_its_gradient_equal_the_portable_form(smoothing):
    logits = random(7, 11, dtype="float64") * 5
    labels = ops.convert_to_tensor(np.arange(7) * 3 % 11, dtype="int32")
    ours = value_and_gradient(lambda x: kernels.cross_entropy(x, labels, smoothing), logits)
    plain = value_and_gradient(lambda x: kernels.portable_cross_entropy(x, labels, smoothing), logits)
    np.testing.assert_allclose(ours[0], plain[0], rtol=1e-12)
    np.testing.assert_allclose(ours[1], plain[1], atol=1e-12)


def test_cross_entropy_of_bfloat16_logits_is_computed_in_float32():
    logits = random(4, 9, dtype="bfloat16") * 30
    labels = ops.convert_to_tensor([1, 2, 3, 4], dtype="int32")
    losses = kernels.cross_entropy(logits, labels, 0.1)
    assert keras.backend.standardize_dtype(losses.dtype) == "float32"
    exact = kernels.portable_cross_entropy(ops.cast(logits, "float32"), labels, 0.1)
    np.testing.assert_allclose(losses, exact, rtol=1e-5)


def test_cross_entropy_stays_finite_for_extreme_logits():
    logits = ops.convert_to_tensor([[1e4, -1e4, 0.0]], dtype="float32")
    losses, slopes = value_and_gradient(lambda x: kernels.cross_entropy(x, np.array([1], "int32"), 0.0), logits)
    assert np.allclose(losses, 2e4)
    assert np.isfinite(slopes).all()


def seeds(of):
    return keras.random.SeedGenerator(of)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("dropout", [kernels.dropout, kernels.portable_dropout])
def test_dropout_drops_its_share_and_scales_the_rest_and_the_gradient_alike(dropout, dtype):
    x, rate = ops.ones((101, 333), dtype=dtype), 0.1
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = dropout(x, rate, seeds(3))
    slopes = ops.convert_to_numpy(ops.cast(tape.gradient(y, x), "float32"))
    y = ops.convert_to_numpy(ops.cast(y, "float32"))
    assert np.array_equal(y, slopes)
    np.testing.assert_allclose(y[y != 0], 1 / 0.9, rtol=4e-3 if dtype == "bfloat16" else 2e-5)
    for axis in (0, 1):  # neither rows nor columns go together; five standard deviations
        shares, count = (y == 0).mean(axis=axis), y.shape[axis]
        assert abs(shares.mean() - rate) < 5 * (rate * 0.9 / y.size) ** 0.5
        assert shares.std() == pytest.approx((rate * 0.9 / count) ** 0.5, rel=0.25)


def test_dropout_is_that_of_its_seed_in_a_graph_too_and_another_seed_drops_others():
    x = random(8, 64)
    drawn = np.asarray(kernels.dropout(x, 0.5, seeds(3)))
    again = seeds(3)
    in_graph = tf.function(lambda x: kernels.dropout(x, 0.5, again))
    assert np.array_equal(drawn, in_graph(x))
    assert not np.array_equal(drawn, in_graph(x))
    other = np.asarray(kernels.dropout(x, 0.5, seeds(4)))
    assert 0.4 < ((drawn == 0) == (other == 0)).mean() < 0.6


@given(st.lists(st.integers(0, 5), min_size=0, max_size=3), st.sampled_from([1e-9, 0.3, 1 - 1e-9]))
def test_dropout_keeps_shapes_of_any_size_and_rates_of_any_share(shape, rate):
    assert kernels.dropout(tf.ones(shape), rate, seeds(3)).shape == tuple(shape)
    assert np.isfinite(kernels.dropout(tf.ones(shape), rate, seeds(3))).all()


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


def test_a_recomputed_function_equals_the_plain_one_and_so_does_its_gradient():
    x, y = tf.constant([0.5, -1.0]), tf.constant([2.0, 3.0])

    def function(x, absent, rest):
        assert absent is None
        return tf.sin(x) * rest[0]

    found = []
    for form in (kernels.recomputed, kernels.portable_recomputed):
        with tf.GradientTape() as tape:
            tape.watch([x, y])
            value = form(function, [], x, None, (y,))
        found.append([value, *tape.gradient(value, [x, y])])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(0, 15))
def test_sizes_equal_the_portable_form_with_one_operation_for_what_is_not_known(shape, known):
    x = tf.zeros(shape)
    assert kernels.sizes(x) == tuple(shape) == tuple(kernels.portable_sizes(x))
    spec = tf.TensorSpec([size if known >> axis & 1 else None for axis, size in enumerate(shape)], tf.float32)
    graph = tf.function(kernels.sizes, input_signature=[spec], autograph=False).get_concrete_function()
    assert [int(size) for size in graph(x)] == shape
    assert sum(node.op == "Unpack" for node in graph.graph.as_graph_def().node) == (None in spec.shape.as_list())
