"""The kernels of training alone, as `kernels` has those of all uses.

Apart, for TensorFlow keeps something of each graph with a gradient of its own as long as the process lives.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from regard.nn import kernels
from regard.nn.output import Tensor
from regard.nn.precision import at_least_float32

_SIXTEEN_BITS = 1 << 16
_NUMBERS_AT_ONCE = 1 << 24  # of logits: 64 MiB in float32
_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)  # of Threefry-2x32


def dropout(x: Tensor, rate: float, seeds: keras.random.SeedGenerator) -> Tensor:
    """x, of which each number is 0 with the probability `rate`, and divided by 1 - rate otherwise: Srivastava et al.
    2014, scaled in training. The shape and dtype of x; the same numbers for the same state of `seeds`, which moves on.

    Sixteen random bits a number, where a uniform float takes 32: so the rate is that of the nearest 65,536th, and the
    scale follows it. What x is multiplied by is kept for the gradient.
    """
    dropped = min(max(round(rate * _SIXTEEN_BITS), 1), _SIXTEEN_BITS - 1)
    scale = tf.cast(_SIXTEEN_BITS / (_SIXTEEN_BITS - dropped), x.dtype)
    size = tf.size(x)
    seed, drawn = tf.cast(seeds.next(), tf.int32), _few_sizes(size)
    kept = tf.reshape(_factors(seed, drawn, tf.constant(dropped, tf.uint32), scale)[:size], tf.shape(x))
    kept.set_shape(x.shape)

    @tf.custom_gradient
    def of(x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        return x * kept, lambda upstream: upstream * kept

    result: Tensor = of(x)
    return result


def _few_sizes(size: Tensor) -> Tensor:
    """The size, or the next of four between two powers of two, from 16 on: XLA compiles for each once."""
    with tf.device("CPU:0"):  # where a shape is: a GPU would have to be waited for
        steps = tf.constant([1 << bits for bits in range(2, 29)])
        step = tf.reduce_max(tf.where(4 * steps <= size, steps, steps[0]))
        return (size + step - 1) // step * step


@tf.function(jit_compile=True, autograph=False)
def _factors(seed: Tensor, size: Tensor, dropped: Tensor, scale: Tensor) -> Tensor:
    """(size,) of the scale's dtype: 0 where sixteen random bits are below `dropped`, else the scale. size: a multiple
    of four.

    Threefry-2x32 with 13 rounds (Salmon et al. 2011, section 3.3; the fewest that passed all of their tests): sums,
    rotations and exclusive ors of a counter, by XLA in one pass. TensorFlow's own generators take twice as long.
    """
    words = tf.concat(_threefry(tf.bitcast(seed, tf.uint32), tf.bitcast(tf.range(size // 4), tf.uint32)), 0)
    halves = tf.concat([words & _word(_SIXTEEN_BITS - 1), tf.bitwise.right_shift(words, _word(16))], 0)
    return tf.where(halves < dropped, tf.zeros([], scale.dtype), scale)


def _threefry(key: Tensor, counters: Tensor) -> tuple[Tensor, Tensor]:
    """The two words of each counter, whose other half is 0."""
    first, second = tf.unstack(key)
    keys = (first, second, first ^ second ^ _word(0x1BD11BDA))
    one, other = counters + first, tf.fill(tf.shape(counters), second)
    for turn in range(13):
        one += other
        other = _rotated(other, _ROTATIONS[turn % 8]) ^ one
        if turn % 4 == 3:
            number = turn // 4 + 1
            one += keys[number % 3]
            other += keys[(number + 1) % 3] + _word(number)
    return one, other


def _word(number: int) -> Tensor:
    return tf.constant(number, tf.uint32)


def _rotated(words: Tensor, bits: int) -> Tensor:
    return tf.bitwise.left_shift(words, _word(bits)) | tf.bitwise.right_shift(words, _word(32 - bits))


def portable_dropout(x: Tensor, rate: float, seeds: keras.random.SeedGenerator) -> Tensor:
    return keras.random.dropout(x, rate, seed=seeds)


def affine(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """As `kernels.affine`, with a gradient of the bias that reads less."""
    if bias is None:
        return kernels.affine(x, kernel, bias)

    @tf.custom_gradient
    def of(x: Tensor, kernel: Tensor, bias: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]:
        def gradient(upstream: Tensor) -> tuple[Tensor, ...]:
            # The sum over the rows as a product: oneDNN's, which reads bfloat16 faster, and adds it up in float32.
            ones = tf.ones([1, tf.shape(upstream)[0]], upstream.dtype)
            return (
                tf.matmul(upstream, kernel, transpose_b=True),
                tf.matmul(x, upstream, transpose_a=True),
                tf.matmul(ones, upstream)[0],
            )

        return kernels.affine(x, kernel, bias), gradient

    result: Tensor = of(x, tf.convert_to_tensor(kernel), tf.convert_to_tensor(bias))
    return result


def normalised(x: Tensor, scale: Tensor, bias: Tensor | None, epsilon: float) -> Tensor:
    """(x - E[x]) / sqrt(Var[x] + epsilon) * scale + bias over the last axis: (..., D), (D,), (D,) -> (..., D) of x's
    dtype, computed at least in float32. Without a bias nothing is centred: x / sqrt(E[x^2] + epsilon) * scale.

    Its gradient is written out: of the forward pass it keeps x, a mean and a deviation a row, where a derived one keeps
    several float32 copies of x, and its sums over rows and over columns are products; where there is a GPU, which
    rounds the factors of float32 products, it is derived.
    """
    if tf.config.list_physical_devices("GPU"):
        return portable_normalised(x, scale, bias, epsilon)

    @tf.custom_gradient
    def of(x: Tensor, scale: Tensor, *bias: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]:
        def centred(exact: Tensor) -> Tensor:
            return exact - mean if bias else exact

        exact = at_least_float32(x)
        mean = tf.reduce_mean(exact, axis=-1, keepdims=True) if bias else None
        inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(centred(exact)), axis=-1, keepdims=True) + epsilon)
        normal = centred(exact) * inverse * scale
        width = scale.shape[0]

        def gradient(upstream: Tensor) -> tuple[Tensor, ...]:
            with tf.control_dependencies([upstream]):  # else the forward pass's copy in float32 would be kept for it
                again = centred(at_least_float32(x))
            slopes = at_least_float32(upstream)
            both, rows = slopes * again, tf.reshape(inverse, (-1, 1))
            by_scale = tf.matmul(rows, tf.reshape(both, (-1, width)), transpose_a=True)[0]
            # dx = (g - E[g] - n E[g n]) / sigma, with g = upstream * scale and n = (x - E[x]) / sigma
            means = scale[:, None] / width
            inner = slopes * scale
            if bias:
                inner -= _times_column(slopes, means)
            inner -= again * (_times_column(both, means) * tf.square(inverse))
            by_x = tf.cast(inner * inverse, x.dtype)
            if not bias:
                return by_x, by_scale
            by_bias = tf.matmul(tf.ones_like(rows), tf.reshape(slopes, (-1, width)), transpose_a=True)[0]
            return by_x, by_scale, by_bias

        return tf.cast(normal + bias[0] if bias else normal, x.dtype), gradient

    dtype = tf.float64 if x.dtype == tf.float64 else tf.float32
    weights = [scale] if bias is None else [scale, bias]
    result: Tensor = of(x, *(tf.cast(tf.convert_to_tensor(weight), dtype) for weight in weights))
    return result


def _times_column(x: Tensor, column: Tensor) -> Tensor:
    """(..., D), (D, 1) -> (..., 1)"""
    product = tf.matmul(tf.reshape(x, (-1, column.shape[0])), column)
    return tf.reshape(product, tf.concat([tf.shape(x)[:-1], [1]], 0))


def portable_normalised(x: Tensor, scale: Tensor, bias: Tensor | None, epsilon: float) -> Tensor:
    exact = at_least_float32(x)
    if bias is not None:
        exact = exact - ops.mean(exact, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(exact), axis=-1, keepdims=True)
    normal = exact * ops.rsqrt(variance + epsilon) * ops.cast(scale, exact.dtype)
    if bias is not None:
        normal = normal + ops.cast(bias, exact.dtype)
    return ops.cast(normal, x.dtype)


def held(table: Tensor, row: int) -> Tensor:
    """The table, one row of which no gradient reaches: (V, D) -> (V, D). That row of the gradient is set to zero where
    it lies; a selection between the table and its copy reads and writes all of both."""

    @tf.custom_gradient
    def of(table: Tensor) -> tuple[Tensor, Callable[[Any], Tensor]]:
        def gradient(upstream: Any) -> Tensor:
            zeros = tf.zeros([1, table.shape[-1]], table.dtype)
            return tf.tensor_scatter_nd_update(tf.convert_to_tensor(upstream), [[row]], zeros)

        return tf.identity(table), gradient

    result: Tensor = of(tf.convert_to_tensor(table))
    return result


def portable_held(table: Tensor, row: int) -> Tensor:
    here = ops.arange(table.shape[0])[:, None] == row
    return ops.where(here, ops.stop_gradient(table), table)


def elementwise(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """function(x), which computes each number by itself: x's shape and dtype, inside at least in float32.

    XLA makes one pass over memory forward and one backward, for which x alone is kept in a graph; operation by
    operation, GELU takes eight and twelve, and keeps seven tensors. A size that is not one of `_few_sizes` is filled up
    to the next first, which is one pass more for each tensor.
    """
    value, slope = _passes(function)
    size, shape = tf.size(x), tf.shape(x)
    room = _few_sizes(size) - size

    def flat(tensor: Tensor) -> Tensor:
        one = tf.reshape(tensor, [-1])
        return tf.cond(room > 0, lambda: tf.pad(one, [[0, room]]), lambda: one)

    def shaped(padded: Tensor) -> Tensor:
        whole = tf.reshape(padded[:size], shape)
        whole.set_shape(x.shape)
        return whole

    @tf.custom_gradient
    def of(x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        return shaped(value(flat(x))), lambda upstream: shaped(slope(flat(x), flat(upstream)))

    result: Tensor = of(x)
    return result


@cache
def _passes(function: Callable[[Tensor], Tensor]) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    def value(x: Tensor) -> Tensor:
        return tf.cast(function(at_least_float32(x)), x.dtype)

    def slope(x: Tensor, upstream: Tensor) -> Tensor:
        exact = at_least_float32(x)
        with tf.GradientTape() as tape:
            tape.watch(exact)
            y = function(exact)
        return tf.cast(tape.gradient(y, exact, output_gradients=at_least_float32(upstream)), x.dtype)

    return tuple(tf.function(each, jit_compile=True, autograph=False) for each in (value, slope))


def portable_elementwise(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return ops.cast(function(at_least_float32(x)), x.dtype)


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Cross-entropy of each row against 1 - e on its label plus e / V everywhere: (R, V), (R,) -> (R,), in nats.

    XLA reads the logits a few times forward and once backward, in float32 inside whatever they are stored in: half the
    time of the portable form, whose every operation writes another (R, V) tensor, and whose gradient scatters.
    """

    @tf.custom_gradient
    def of(logits: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        losses, normalizers = _cross_entropy_by_parts(logits, labels, label_smoothing)

        def gradient(upstream: Tensor) -> Tensor:
            return _cross_entropy_backward(logits, labels, label_smoothing, normalizers, upstream)

        return losses, gradient

    losses: Tensor = of(logits)
    return losses


def portable_cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    logits = at_least_float32(logits)
    chosen = ops.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    expected = (1 - label_smoothing) * chosen + label_smoothing * ops.mean(logits, axis=-1)
    return ops.logsumexp(logits, axis=-1) - expected


def _smoothed_targets(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    vocab_size = logits.shape[-1]
    hit = tf.cast(tf.range(vocab_size, dtype=labels.dtype)[None] == labels[:, None], logits.dtype)
    return hit * (1 - label_smoothing) + label_smoothing / vocab_size


def _cross_entropy_by_parts(logits: Tensor, labels: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Losses and normalizers, (R,) each, of some rows after the others, for XLA lays what it reads into memory in
    float32, twice: so a step of GPT-2 needs 110 MiB less."""
    most = max(_NUMBERS_AT_ONCE // logits.shape[-1], 1)
    rows, dtype = tf.shape(logits)[0], tf.float64 if logits.dtype == tf.float64 else tf.float32

    def part(number: Tensor, *found: tf.TensorArray) -> tuple[Any, ...]:
        here = slice(number * most, (number + 1) * most)
        computed = _cross_entropy_forward(logits[here], labels[here], label_smoothing)
        return number + 1, *(array.write(number, each) for array, each in zip(found, computed, strict=True))

    parts = tf.maximum((rows + most - 1) // most, 1)
    arrays = [tf.TensorArray(dtype, parts, infer_shape=False, element_shape=[None]) for _ in range(2)]
    _, *found = tf.while_loop(lambda number, *_: number < parts, part, (0, *arrays), parallel_iterations=1)
    losses, normalizers = (array.concat() for array in found)
    return losses, normalizers


@tf.function(jit_compile=True, autograph=False)
def _cross_entropy_forward(logits: Tensor, labels: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    logits = at_least_float32(logits)
    highest = tf.reduce_max(logits, axis=-1)
    normalizers = highest + tf.math.log(tf.reduce_sum(tf.exp(logits - highest[:, None]), axis=-1))
    expected = tf.gather(logits, labels, batch_dims=1)
    if label_smoothing:  # a third pass over the logits
        expected = (1 - label_smoothing) * expected + label_smoothing * tf.reduce_mean(logits, axis=-1)
    return normalizers - expected, normalizers


@tf.function(jit_compile=True, autograph=False)
def _cross_entropy_backward(
    logits: Tensor, labels: Tensor, label_smoothing: float, normalizers: Tensor, upstream: Tensor
) -> Tensor:
    exact = at_least_float32(logits)
    probabilities = tf.exp(exact - normalizers[:, None])
    slopes = (probabilities - _smoothed_targets(exact, labels, label_smoothing)) * upstream[:, None]
    return tf.cast(slopes, logits.dtype)


def ctc(logits: Tensor, labels: Tensor, real: Tensor, blank: int | None) -> Tensor:
    """-log p of each row's labels under its frames: (B, S, V), (B, T) int32, where they are real (B, T) -> (B,).

    TensorFlow has it twice. Of sparse labels it is one C++ operation, the forward and the backward variables together:
    18 times as fast on 2 cores as that of dense ones, which is a loop of small operations (32 rows of 200 frames).
    """
    places, rows = tf.where(real), tf.shape(logits)[0]
    # The operation refuses a batch without rows, which a replica may have: it gets one, of one label, then.
    spare = tf.cast(rows == 0, tf.int32)
    exact = tf.pad(at_least_float32(logits), [[0, spare], [0, 0], [0, 0]])
    filled = tf.concat([places, tf.zeros([spare, 2], tf.int64)], 0)
    values = tf.concat([tf.gather_nd(labels, places), tf.fill([spare], tf.cast(blank == 0, labels.dtype))], 0)
    shape = tf.maximum(tf.shape(labels, out_type=tf.int64), tf.cast(tf.stack([spare, 1]), tf.int64))
    sparse = tf.SparseTensor(filled, values, shape)
    lengths = tf.fill([rows + spare], tf.shape(logits)[1])
    return tf.nn.ctc_loss(sparse, exact, None, lengths, logits_time_major=False, blank_index=blank)[:rows]


def portable_ctc(logits: Tensor, labels: Tensor, real: Tensor, blank: int | None) -> Tensor:
    lengths = ops.sum(ops.cast(real, "int32"), axis=1)
    frames = ops.full_like(lengths, logits.shape[1])
    return ops.ctc_loss(ops.where(real, labels, 0), at_least_float32(logits), lengths, frames, mask_index=blank)


def recomputed(function: Callable[..., Tensor], noise: Sequence[Any], *arguments: Any) -> Tensor:
    """function(*arguments) of which no intermediate value is kept for the gradient: they are computed again when it is
    asked for. `arguments` are tensors, structures of them, or None.

    noise: the variables that the function draws random numbers from and moves on. They are put back before the second
    computation, which draws the same and leaves them as the first one did.
    """
    states = [tf.convert_to_tensor(variable.value) for variable in noise]
    places = tf.nest.flatten(arguments)
    given = [place for place in places if place is not None]

    def again(*tensors: Tensor) -> Tensor:
        for variable, state in zip(noise, states, strict=True):
            variable.assign(state)
        left = iter(tensors)
        filled = [None if place is None else next(left) for place in places]
        return function(*tf.nest.pack_sequence_as(arguments, filled))

    result: Tensor = tf.recompute_grad(again)(*given)
    return result


def portable_recomputed(function: Callable[..., Tensor], noise: Sequence[Any], *arguments: Any) -> Tensor:
    return function(*arguments)
