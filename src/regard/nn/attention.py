"""Attention as section 3.2 of Vaswani et al. 2017 has it: scaled dot products, many heads."""

from typing import Any, NamedTuple

import keras
from keras import ops

from regard.nn import kernels
from regard.nn.cache import LayerCache
from regard.nn.linear import Linear
from regard.nn.output import Tensor
from regard.nn.precision import at_least_float32
from regard.specs import LayerSpec

LOWEST_SCORE = -2e38  # vanishes in the softmax, and stays finite in a row of nothing else


class KeysAndValues(NamedTuple):
    """What queries attend to: keys and values, (B, N, S, H) each."""

    keys: Tensor
    values: Tensor


class Attended(NamedTuple):
    """Attention's answer: `hidden` (B, T, D), `weights` (B, N, T, S), and the cache with this step written."""

    hidden: Tensor
    weights: Tensor
    cache: LayerCache | None = None


def attention_weights(query: Tensor, keys: Tensor, allowed: Tensor | None) -> Tensor:
    """softmax(Q K^T / sqrt(H)): equation 1 without the values, at least in float32. (B,N,T,H), (B,N,S,H) -> (B,N,T,S).

    A query that may attend to nothing gets equal weights, which are finite.
    """
    query = query * query.shape[-1] ** -0.5
    scores = at_least_float32(ops.matmul(query, ops.swapaxes(keys, -1, -2)))  # "BNTH,BNSH->BNTS"
    if allowed is not None:
        scores = ops.where(allowed, scores, LOWEST_SCORE)
    return kernels.softmax(scores)


def split_heads(hidden: Tensor, heads: int) -> Tensor:
    batch, length, width = ops.shape(hidden)
    return ops.transpose(ops.reshape(hidden, (batch, length, heads, width // heads)), (0, 2, 1, 3))  # -> (B,N,T,H)


def merge_heads(context: Tensor) -> Tensor:
    batch, heads, length, head_width = ops.shape(context)
    return ops.reshape(ops.transpose(context, (0, 2, 1, 3)), (batch, length, heads * head_width))  # -> (B,T,N*H)


class MultiHeadAttention(keras.Layer):
    """Concat(head_1, ..., head_N) W_O: what self- and cross-attention share (section 3.2.2)."""

    def __init__(self, spec: LayerSpec, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = spec.heads
        self.inner_width = spec.heads * spec.head_width
        self.dropout = keras.layers.Dropout(spec.attention_dropout, dtype=self.dtype_policy, name="dropout")
        self.output_projection = Linear(self.inner_width, spec.width, dtype=self.dtype_policy, name="output")

    def attend(self, query: Tensor, memory: KeysAndValues, allowed: Tensor | None, training: bool) -> Attended:
        weights = attention_weights(query, memory.keys, allowed)
        dropped = self.dropout(ops.cast(weights, query.dtype), training=training)
        context = ops.matmul(dropped, memory.values)  # "BNTS,BNSH->BNTH"
        return Attended(self.output_projection(merge_heads(context)), weights)


class SelfAttention(MultiHeadAttention):
    """Queries, keys and values from the same hidden states, through one fused kernel (section 3.2.3)."""

    def __init__(self, spec: LayerSpec, **kwargs: Any) -> None:
        super().__init__(spec, **kwargs)
        self.query_key_value = Linear(
            spec.width, self.inner_width, parts=3, dtype=self.dtype_policy, name="query_key_value"
        )

    def build(self) -> None:
        self.query_key_value.build()
        self.output_projection.build()

    def call(
        self,
        hidden: Tensor,
        allowed: Tensor | None = None,
        cache: LayerCache | None = None,
        slot: Tensor | None = None,
        training: bool = False,
    ) -> Attended:
        """hidden: (B, T, D). With a cache, T are the beams' newest tokens, and the cache's slots are attended to."""
        query, keys, values = (
            split_heads(part, self.heads) for part in ops.split(self.query_key_value(hidden), 3, axis=-1)
        )
        if cache is None:
            return self.attend(query, KeysAndValues(keys, values), allowed, training)
        cache = cache.write(slot, keys, values)
        attended = self.attend(query, KeysAndValues(*cache.read(self.heads)), allowed, training)
        return attended._replace(cache=cache)

    def keys_and_values(self, hidden: Tensor) -> KeysAndValues:
        """The keys and values of a prompt, to begin a cache with."""
        _, keys, values = ops.split(self.query_key_value(hidden), 3, axis=-1)
        return KeysAndValues(split_heads(keys, self.heads), split_heads(values, self.heads))


class CrossAttention(MultiHeadAttention):
    """Queries from the decoder, keys and values from the memory, the encoder's output (section 3.2.3)."""

    def __init__(self, spec: LayerSpec, **kwargs: Any) -> None:
        super().__init__(spec, **kwargs)
        self.query = Linear(spec.width, self.inner_width, dtype=self.dtype_policy, name="query")
        self.key_value = Linear(spec.width, self.inner_width, parts=2, dtype=self.dtype_policy, name="key_value")

    def build(self) -> None:
        self.query.build()
        self.key_value.build()
        self.output_projection.build()

    def call(
        self, hidden: Tensor, memory: KeysAndValues, allowed: Tensor | None = None, training: bool = False
    ) -> Attended:
        """hidden: (B, T, D), memory: from `keys_and_values`, allowed: broadcasts to (B, N, T, S)."""
        return self.attend(split_heads(self.query(hidden), self.heads), memory, allowed, training)

    def keys_and_values(self, memory: Tensor) -> KeysAndValues:
        """(B, S, D) -> the memory's keys and values; computed once for a whole decoding."""
        keys, values = ops.split(self.key_value(memory), 2, axis=-1)
        return KeysAndValues(split_heads(keys, self.heads), split_heads(values, self.heads))
