import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from regard.models.forms import build_model
from regard.models.presets import Vocabulary, preset_spec
from regard.nn import kernels, training_kernels
from regard.nn.layers import ACTIVATIONS, IN_ONE_PASS


def random(*shape, dtype="float32", seed=0):
    return ops.convert_to_tensor(np.random.default_rng(seed).normal(size=shape), dtype=dtype)


def gradients(function, *tensors):
    """Of a sum that weighs each number of the outcome differently, with that outcome."""
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        y = function(*tensors)
        total = tf.reduce_sum(y * tf.cast(random(*y.shape, dtype="float64", seed=9), y.dtype))
    return [np.asarray(ops.cast(each, "float64")) for each in (y, *tape.gradient(total, tensors))]


def assert_alike(ours, portable, *tensors, tolerance=1e-12):
    for one, other in zip(gradients(ours, *tensors), gradients(portable, *tensors), strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance * max(1.0, np.abs(other).max(initial=0)))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_and_its_gradient_equal_the_portable_form(smoothing):
    logits = random(7, 11, dtype="float64") * 5
    labels = ops.convert_to_tensor(np.arange(7) * 3 % 11, dtype="int32")
    ours = gradients(lambda x: training_kernels.cross_entropy(x, labels, smoothing), logits)
    plain = gradients(lambda x: training_kernels.portable_cross_entropy(x, labels, smoothing), logits)
    np.testing.assert_allclose(ours[0], plain[0], rtol=1e-12)
    np.testing.assert_allclose(ours[1], plain[1], atol=1e-12)


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 7])
def test_cross_entropy_of_more_rows_than_are_computed_at_once_equals_the_portable_form(rows, monkeypatch):
    monkeypatch.setattr(training_kernels, "_NUMBERS_AT_ONCE", 25)  # two rows of 11
    logits = random(rows, 11, dtype="float64") * 5
    labels = ops.convert_to_tensor(np.arange(rows) * 3 % 11, dtype="int32")
    for graph in (lambda function: function, lambda function: tf.function(function, autograph=False)):
        ours = gradients(graph(lambda x: training_kernels.cross_entropy(x, labels, 0.1)), logits)
        plain = gradients(lambda x: training_kernels.portable_cross_entropy(x, labels, 0.1), logits)
        for one, other in zip(ours, plain, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-12)


def test_cross_entropy_of_bfloat16_logits_is_computed_in_float32():
    logits = random(4, 9, dtype="bfloat16") * 30
    labels = ops.convert_to_tensor([1, 2, 3, 4], dtype="int32")
    losses = training_kernels.cross_entropy(logits, labels, 0.1)
    assert keras.backend.standardize_dtype(losses.dtype) == "float32"
    exact = training_kernels.portable_cross_entropy(ops.cast(logits, "float32"), labels, 0.1)
    np.testing.assert_allclose(losses, exact, rtol=1e-5)


def test_cross_entropy_stays_finite_for_extreme_logits():
    logits = ops.convert_to_tensor([[1e4, -1e4, 0.0]], dtype="float32")
    losses, slopes = gradients(lambda x: training_kernels.cross_entropy(x, np.array([1], "int32"), 0.0), logits)
    assert np.allclose(losses, 2e4)
    assert np.isfinite(slopes).all()


def seeds(of):
    return keras.random.SeedGenerator(of)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("dropout", [training_kernels.dropout, training_kernels.portable_dropout])
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
    drawn = np.asarray(training_kernels.dropout(x, 0.5, seeds(3)))
    again = seeds(3)
    in_graph = tf.function(lambda x: training_kernels.dropout(x, 0.5, again))
    assert np.array_equal(drawn, in_graph(x))
    assert not np.array_equal(drawn, in_graph(x))
    other = np.asarray(training_kernels.dropout(x, 0.5, seeds(4)))
    assert 0.4 < ((drawn == 0) == (other == 0)).mean() < 0.6


@given(st.lists(st.integers(0, 5), min_size=0, max_size=3), st.sampled_from([1e-9, 0.3, 1 - 1e-9]))
def test_dropout_keeps_shapes_of_any_size_and_rates_of_any_share(shape, rate):
    assert training_kernels.dropout(tf.ones(shape), rate, seeds(3)).shape == tuple(shape)
    assert np.isfinite(training_kernels.dropout(tf.ones(shape), rate, seeds(3))).all()


def threefry(key, counter, rounds=13):
    """Of Salmon et al. 2011, in whole numbers: their figure 3, a word at a time."""
    keys = [*key, key[0] ^ key[1] ^ 0x1BD11BDA]
    one, other = ((word + own) % 2**32 for word, own in zip(counter, key, strict=True))
    for turn in range(rounds):
        one = (one + other) % 2**32
        bits = (13, 15, 26, 6, 17, 29, 16, 24)[turn % 8]
        other = (other << bits | other >> 32 - bits) % 2**32 ^ one
        if turn % 4 == 3:
            number = turn // 4 + 1
            one = (one + keys[number % 3]) % 2**32
            other = (other + keys[(number + 1) % 3] + number) % 2**32
    return one, other


@pytest.mark.parametrize(
    ("key", "counter", "words"),
    [  # the known answers that come with the authors' Random123
        ((0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
        ((2**32 - 1, 2**32 - 1), (2**32 - 1, 2**32 - 1), (0xFD36D048, 0x2D17272C)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xBA3E4725, 0xF27D669E)),
    ],
)
def test_the_random_bits_oracle_gives_the_published_answers(key, counter, words):
    assert threefry(key, counter) == words


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=2, max_size=2), st.integers(1, 40))
def test_dropout_drops_what_the_halves_of_threefrys_words_say(seed, size):
    class Seeds:
        def next(self):
            return tf.constant(seed, tf.int32)

    drawn = int(training_kernels._few_sizes(tf.constant(size)))
    words = np.array([threefry([part % 2**32 for part in seed], (number, 0)) for number in range(drawn // 4)]).T.ravel()
    halves = np.concatenate([words % 2**16, words // 2**16])[:size]
    y = np.asarray(training_kernels.dropout(tf.ones([size]), 0.25, Seeds()))
    np.testing.assert_allclose(y, np.where(halves < 2**14, 0, 1 / 0.75), rtol=1e-6)


def test_dropout_of_a_seed_beyond_32_bits_is_that_of_its_last_32():
    class Seeds:
        def __init__(self, seed):
            self.seed = seed

        def next(self):
            return self.seed

    x, words = tf.ones([64]), [3_000_000_000, 5]
    wide = training_kernels.dropout(x, 0.5, Seeds(tf.constant(words, tf.int64)))
    narrow = training_kernels.dropout(x, 0.5, Seeds(tf.constant([words[0] - 2**32, words[1]], tf.int32)))
    assert np.array_equal(wide, narrow)


def test_sizes_of_drawings_are_few_never_too_small_and_at_most_a_quarter_too_large():
    asked = np.concatenate([np.arange(1, 3000), 2 ** np.arange(12, 31) - 1, 2 ** np.arange(12, 30) + 1])
    found = np.array([int(training_kernels._few_sizes(tf.constant(int(size)))) for size in asked])
    assert (found >= asked).all()
    assert (found % 4 == 0).all()
    assert (found[asked >= 16] <= asked[asked >= 16] * 1.25 + 1).all()
    assert len(set(found[asked <= 4096])) <= 4 * 12


@pytest.mark.parametrize("rows", [0, 1, 5])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float16", 2e-3), ("bfloat16", 2e-2)])
def test_affine_and_its_gradients_equal_the_portable_form(rows, dtype, tolerance):
    x, kernel, bias = random(rows, 3, dtype=dtype), random(3, 4, seed=1, dtype=dtype), random(4, seed=2, dtype=dtype)
    assert_alike(training_kernels.affine, kernels.portable_affine, x, kernel, bias, tolerance=tolerance)


@pytest.mark.parametrize("shape", [(7, 6), (2, 3, 6), (2, 1, 3, 6), (0, 6)])
@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_normalised_and_its_gradients_equal_the_portable_form(kind, shape):
    weights = [random(6, seed=seed, dtype="float64") for seed in ((1, 2) if kind == "layer" else (1,))]
    x = 3 * random(*shape, dtype="float64") + 2

    def of(kernel):
        return lambda x, scale, bias=None: kernel(x, scale, bias, 1e-3)

    assert_alike(of(training_kernels.normalised), of(training_kernels.portable_normalised), x, *weights)


def test_normalised_bfloat16_is_computed_in_float32_in_a_graph_of_open_shapes_too():
    x, scale, bias = 50 + random(5, 64, dtype="bfloat16"), random(64, seed=1), random(64, seed=2)
    spec = tf.TensorSpec([None, 64], tf.bfloat16)

    def both(kernel):
        def of(x):
            with tf.GradientTape() as tape:
                tape.watch([x, scale])
                y = kernel(x, scale, bias, 1e-5)
            return y, *tape.gradient(y, [x, scale], output_gradients=tf.ones_like(y) * x)

        return tf.function(of, input_signature=[spec], autograph=False)(x)

    for one, other in zip(both(training_kernels.normalised), both(training_kernels.portable_normalised), strict=True):
        assert one.dtype == other.dtype
        one, other = (np.asarray(ops.cast(each, "float32")) for each in (one, other))
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-2 * np.abs(other).max())


def test_a_models_graph_has_gradients_of_its_own_in_training_alone():
    model = build_model(preset_spec("gpt2-tiny", Vocabulary(11, 10, 0), width=8, heads=2, depth=3, dropout=0.3))
    batch = {"input_ids": np.ones((2, 5), np.int32), "attention_mask": np.ones((2, 5), np.int32)}

    def own(training):
        graph = (
            tf.function(lambda: model(batch, training=training).logits, autograph=False).get_concrete_function().graph
        )
        return sum(operation.type == "IdentityN" for operation in graph.get_operations())

    assert own(False) == 0
    of_a_layer = 2 + 4 + 1 + 3  # norms, products, GELU, dropouts
    assert own(True) == 3 * of_a_layer + 1 + 1 + 2  # the last norm, the embeddings' dropout, the padding row twice


def test_a_held_row_equals_the_portable_form_whoever_reads_the_table():
    table, ids = random(7, 3, dtype="float64"), np.array([[0, 6, 2], [2, 2, 1]], "int32")
    for row in (0, 2, 6):

        def looked_up(held, row=row):
            return lambda table: kernels.lookup(held(table, row), ids)

        def multiplied(held, row=row):
            return lambda table: held(table, row) @ tf.ones([3, 2], tf.float64)

        for use in (looked_up, multiplied):
            assert_alike(use(training_kernels.held), use(training_kernels.portable_held), table)
            assert not gradients(use(training_kernels.held), table)[1][row].any()


@pytest.mark.parametrize("name", sorted(IN_ONE_PASS))
@pytest.mark.parametrize("shape", [(7, 11), (4, 4), (0, 3), (2, 3, 5)])
def test_an_activation_in_one_pass_equals_the_portable_form_and_so_does_its_gradient(name, shape):
    function, x = ACTIVATIONS[name], 4 * random(*shape, dtype="float64")
    ours = gradients(lambda x: tf.reshape(training_kernels.elementwise(function, x), [-1]), x)
    plain = gradients(lambda x: tf.reshape(training_kernels.portable_elementwise(function, x), [-1]), x)
    for one, other in zip(ours, plain, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


def test_an_activation_of_bfloat16_is_rounded_once():
    x = random(1000, dtype="bfloat16")
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = training_kernels.elementwise(ACTIVATIONS["gelu_tanh"], x)
    exact = ACTIVATIONS["gelu_tanh"](ops.cast(x, "float64"))
    np.testing.assert_allclose(ops.cast(y, "float64"), exact, rtol=2**-8, atol=1e-6)
    assert y.dtype == tape.gradient(y, x).dtype == x.dtype


def test_a_recomputed_function_equals_the_plain_one_and_so_does_its_gradient():
    x, y = tf.constant([0.5, -1.0]), tf.constant([2.0, 3.0])

    def function(x, absent, rest):
        assert absent is None
        return tf.sin(x) * rest[0]

    found = []
    for form in (training_kernels.recomputed, training_kernels.portable_recomputed):
        with tf.GradientTape() as tape:
            tape.watch([x, y])
            value = form(function, [], x, None, (y,))
        found.append([value, *tape.gradient(value, [x, y])])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
