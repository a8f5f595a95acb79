"""The one file of `nn` that needs TensorFlow: each kernel beside its portable form, and a test holds the two equal."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from regard.nn.output import Tensor
from regard.nn.precision import at_least_float32

_SIXTEEN_BITS = 1 << 16


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


def dropout(x: Tensor, rate: float, seeds: keras.random.SeedGenerator) -> Tensor:
    """x, of which each number is 0 with the probability `rate`, and divided by 1 - rate otherwise: Srivastava et al.
    2014, scaled in training. The shape and dtype of x; the same numbers for the same state of `seeds`, which moves on.

    Sixteen random bits a number, where a uniform float takes 32 and more work: so the rate is that of the nearest
    65,536th, and the scale follows it. The mask is kept in bytes, and multiplied by, which took a sixth of the time of
    Keras's selection in bfloat16 (2,048 rows of 1,024, forward and back: 3.4 against 20 ms).
    """
    dropped = min(max(round(rate * _SIXTEEN_BITS), 1), _SIXTEEN_BITS - 1)
    scale = tf.cast(_SIXTEEN_BITS / (_SIXTEEN_BITS - dropped), x.dtype)
    kept = _drawn(tf.cast(seeds.next(), tf.int32), tf.shape(x), tf.constant(dropped, tf.uint16))
    kept.set_shape(x.shape)

    @tf.custom_gradient
    def of(x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        def masked(value: Tensor) -> Tensor:
            return value * (tf.cast(kept, value.dtype) * scale)

        def gradient(upstream: Tensor) -> Tensor:
            # Without this, the forward pass's mask of x's dtype would be kept for it instead of the bytes.
            with tf.control_dependencies([upstream]):
                return masked(upstream)

        return masked(x), gradient

    result: Tensor = of(x)
    return result


_SEED, _SHAPE, _BOUND = tf.TensorSpec([2], tf.int32), tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.uint16)


@tf.function(input_signature=[_SEED, _SHAPE, _BOUND], autograph=False)  # traced once, and not in each of 62 places
def _drawn(seed: Tensor, shape: Tensor, bound: Tensor) -> Tensor:
    """Booleans of a shape, each true where sixteen random bits come to at least the bound."""
    size = tf.reduce_prod(shape)
    pairs = tf.random.stateless_uniform(
        [(size + 1) // 2], seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    )
    bits = tf.reshape(tf.bitcast(pairs, tf.uint16), [-1])[:size]
    return tf.reshape(bits >= bound, shape)


def portable_dropout(x: Tensor, rate: float, seeds: keras.random.SeedGenerator) -> Tensor:
    return keras.random.dropout(x, rate, seed=seeds)


def softmax(scores: Tensor) -> Tensor:
    """Over the last axis. Keras's own warns wherever that axis has one place, as attention to one token has."""
    return tf.nn.softmax(scores)


def portable_softmax(scores: Tensor) -> Tensor:
    return ops.softmax(scores, axis=-1)


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Cross-entropy of each row against 1 - e on its label plus e / V everywhere: (R, V), (R,) -> (R,), in nats.

    XLA makes one pass over the logits forward and one backward, in float32 inside whatever they are stored in: half the
    time of the portable form, whose every operation writes another (R, V) tensor, and whose gradient scatters.
    """

    @tf.custom_gradient
    def of(logits: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        losses, normalizers = _cross_entropy_forward(logits, labels, label_smoothing)

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


@tf.function(jit_compile=True, autograph=False)
def _cross_entropy_forward(logits: Tensor, labels: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    logits = at_least_float32(logits)
    highest = tf.reduce_max(logits, axis=-1)
    normalizers = highest + tf.math.log(tf.reduce_sum(tf.exp(logits - highest[:, None]), axis=-1))
    expected = tf.reduce_sum(logits * _smoothed_targets(logits, labels, label_smoothing), axis=-1)
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
    places = tf.where(real)
    shape = tf.shape(labels, out_type=tf.int64)
    sparse = tf.SparseTensor(places, tf.gather_nd(labels, places), shape)
    lengths = tf.fill(tf.shape(logits)[:1], tf.shape(logits)[1])
    return tf.nn.ctc_loss(sparse, at_least_float32(logits), None, lengths, logits_time_major=False, blank_index=blank)


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
    states = [variable.value.read_value() for variable in noise]
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
