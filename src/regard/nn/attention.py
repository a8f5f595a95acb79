"""Attention as section 3.2 of Vaswani et al. 2017 has it: scaled dot products, many heads."""

from typing import Any, NamedTuple

from keras import ops

from regard.nn import kernels
from regard.nn.cache import LayerCache
from regard.nn.dropout import Dropout
from regard.nn.layer import Layer
from regard.nn.linear import Linear
from regard.nn.norm import Norm
from regard.nn.output import Tensor
from regard.nn.precision import at_least_float32
from regard.nn.rotary import Rotation, rotate
from regard.specs import LayerSpec

LOWEST_SCORE = -2e38  # vanishes in the softmax, and stays finite in a row of nothing else


class KeysAndValues(NamedTuple):
    """What queries attend to: keys and values, (B, K, S, H) each."""

    keys: Tensor
    values: Tensor


class Reach(NamedTuple):
    """What the places of queries and keys decide: which key a query may attend to, and how their distance counts."""

    allowed: Tensor | None = None  # broadcasts to (B, N, T, S)
    bias: Tensor | None = None  # on the scores, broadcasts to (B, N, T, S)
    rotation: Rotation | None = None  # of the queries, and of the keys that come with them


class Attended(NamedTuple):
    """Attention's answer: `hidden` (B, T, D), `weights` (B, N, T, S), and the cache with this step written."""

    hidden: Tensor
    weights: Tensor
    cache: LayerCache | None = None


def attention_weights(query: Tensor, keys: Tensor, reach: Reach, scale: float | None = None) -> Tensor:
    """softmax(Q K^T / sqrt(H)): equation 1 without the values, at least in float32. (B,N,T,H), (B,K,S,H) -> (B,N,T,S).

    scale: instead of 1 / sqrt(H). A query that may attend to nothing gets equal weights, which are finite.
    """
    scaled = query * (query.shape[-1] ** -0.5 if scale is None else scale)
    scores = at_least_float32(ops.matmul(group(scaled, keys), ops.swapaxes(keys, -1, -2)))  # "BNTH,BNSH->BNTS"
    scores = apart(scores, query)
    if reach.bias is not None:
        scores = scores + ops.cast(reach.bias, scores.dtype)
    if reach.allowed is not None:
        scores = ops.where(reach.allowed, scores, LOWEST_SCORE)
    return kernels.softmax(scores)


def group(queries: Tensor, keys: Tensor) -> Tensor:
    """Heads that read the same keys, one after another: (B, N, T, ...) -> (B, K, N/K*T, ...). No key is copied."""
    kv_heads = keys.shape[1]
    if kv_heads == queries.shape[1]:
        return queries
    batch, heads, length, *rest = kernels.sizes(queries)
    return ops.reshape(queries, (batch, kv_heads, heads // kv_heads * length, *rest))


def apart(grouped: Tensor, queries: Tensor) -> Tensor:
    """What `group` put together, each head by itself again: (B, K, N/K*T, ...) -> (B, N, T, ...)."""
    if grouped.shape[1] == queries.shape[1]:
        return grouped
    batch, heads, length, _ = kernels.sizes(queries)
    return ops.reshape(grouped, (batch, heads, length, kernels.sizes(grouped)[-1]))


def split_heads(hidden: Tensor, heads: int) -> Tensor:
    batch, length, width = kernels.sizes(hidden)
    return ops.transpose(ops.reshape(hidden, (batch, length, heads, width // heads)), (0, 2, 1, 3))  # -> (B,N,T,H)


def merge_heads(context: Tensor) -> Tensor:
    batch, heads, length, head_width = kernels.sizes(context)
    return ops.reshape(ops.transpose(context, (0, 2, 1, 3)), (batch, length, heads * head_width))  # -> (B,T,N*H)


class MultiHeadAttention(Layer):
    """Concat(head_1, ..., head_N) W_O: what self- and cross-attention share (section 3.2.2)."""

    def __init__(self, spec: LayerSpec, index: int = 0, **kwargs: Any) -> None:
        """index: the layer's number, from 0."""
        super().__init__(**kwargs)
        self.spec = spec
        self.inner_width, self.kv_width = spec.heads * spec.head_width, spec.keys_heads * spec.head_width
        scale = spec.head_width**-0.5 if spec.attention_scale is None else spec.attention_scale
        self.scale = scale / (index + 1) if spec.scale_by_layer else scale
        self.input_bias = spec.attention_bias in ("all", "input")
        self.dropout = Dropout(spec.attention_dropout, dtype=self.dtype_policy, name="dropout")
        self.output_projection = Linear(
            self.inner_width,
            spec.width,
            bias=spec.attention_bias in ("all", "output"),
            dtype=self.dtype_policy,
            name="output",
        )

    def attend(self, query: Tensor, memory: KeysAndValues, reach: Reach, training: bool) -> Attended:
        weights = attention_weights(query, memory.keys, reach, self.scale)
        dropped = self.dropout(ops.cast(weights, query.dtype), training=training)
        context = ops.matmul(group(dropped, memory.values), memory.values)  # "BNTS,BNSH->BNTH"
        return Attended(self.output_projection(merge_heads(apart(context, query))), weights)


class SelfAttention(MultiHeadAttention):
    """Queries, keys and values from the same hidden states, through one fused kernel (section 3.2.3)."""

    def __init__(self, spec: LayerSpec, index: int = 0, **kwargs: Any) -> None:
        super().__init__(spec, index, **kwargs)
        own = {"dtype": self.dtype_policy}
        widths = (self.inner_width, self.kv_width, self.kv_width)
        biases = (self.input_bias, self.input_bias and spec.key_bias, self.input_bias)
        self.query_key_value = Linear(spec.width, *widths, bias=biases, name="query_key_value", **own)
        if spec.query_key_norm:
            self.query_norm = Norm(spec.head_width, spec.norm_epsilon, "rms", name="query_norm", **own)
            self.key_norm = Norm(spec.head_width, spec.norm_epsilon, "rms", name="key_norm", **own)

    def build(self) -> None:
        self.query_key_value.build()
        if self.spec.query_key_norm:
            self.query_norm.build()
            self.key_norm.build()
        self.output_projection.build()

    def call(
        self,
        hidden: Tensor,
        reach: Reach = Reach(),
        cache: LayerCache | None = None,
        slot: Tensor | None = None,
        training: bool = False,
    ) -> Attended:
        """hidden: (B, T, D). With a cache, T are the beams' newest tokens, and the cache's slots are attended to."""
        query, keys, values = self.project(hidden, reach.rotation)
        if cache is None:
            return self.attend(query, KeysAndValues(keys, values), reach, training)
        cache = cache.write(slot, keys, values)
        attended = self.attend(query, KeysAndValues(*cache.read(self.spec.keys_heads)), reach, training)
        return attended._replace(cache=cache)

    def project(self, hidden: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, D) -> queries (B, N, T, H), keys and values (B, K, T, H)."""
        inner, joint = self.inner_width, self.query_key_value(hidden)
        query, keys, values = ops.split(joint, (inner, inner + self.kv_width), axis=-1)
        query, keys = split_heads(query, self.spec.heads), split_heads(keys, self.spec.keys_heads)
        if self.spec.query_key_norm:
            query, keys = self.query_norm(query), self.key_norm(keys)
        if rotation is not None:
            query, keys = rotate(query, rotation), rotate(keys, rotation)
        return query, keys, split_heads(values, self.spec.keys_heads)

    def keys_and_values(self, hidden: Tensor, rotation: Rotation | None = None) -> KeysAndValues:
        """The keys and values of a prompt, to begin a cache with."""
        return KeysAndValues(*self.project(hidden, rotation)[1:])


class CrossAttention(MultiHeadAttention):
    """Queries from the decoder, keys and values from the memory, the encoder's output (section 3.2.3)."""

    def __init__(self, spec: LayerSpec, index: int = 0, **kwargs: Any) -> None:
        super().__init__(spec, index, **kwargs)
        own, bias = {"dtype": self.dtype_policy}, self.input_bias
        self.query = Linear(spec.width, self.inner_width, bias=bias, name="query", **own)
        biases = (bias and spec.key_bias, bias)
        self.key_value = Linear(spec.width, self.kv_width, self.kv_width, bias=biases, name="key_value", **own)

    def build(self) -> None:
        self.query.build()
        self.key_value.build()
        self.output_projection.build()

    def call(
        self, hidden: Tensor, memory: KeysAndValues, allowed: Tensor | None = None, training: bool = False
    ) -> Attended:
        """hidden: (B, T, D), memory: from `keys_and_values`, allowed: broadcasts to (B, N, T, S)."""
        return self.attend(split_heads(self.query(hidden), self.spec.heads), memory, Reach(allowed), training)

    def keys_and_values(self, memory: Tensor) -> KeysAndValues:
        """(B, S, D) -> the memory's keys and values; computed once for a whole decoding."""
        keys, values = ops.split(self.key_value(memory), 2, axis=-1)
        return KeysAndValues(split_heads(keys, self.spec.keys_heads), split_heads(values, self.spec.keys_heads))
