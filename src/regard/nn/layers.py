"""One Transformer layer and the stack of them (Vaswani et al. 2017, sections 3.1 and 3.3)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from regard.nn.attention import CrossAttention, KeysAndValues, SelfAttention
from regard.nn.cache import LayerCache
from regard.nn.linear import Linear
from regard.nn.output import Tensor
from regard.nn.precision import at_least_float32
from regard.specs import LayerSpec, StackSpec

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": ops.relu,
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "gelu_tanh": lambda x: ops.gelu(x, approximate=True),
    "silu": ops.silu,
}


class Norm(keras.Layer):
    """Layer normalisation (Ba et al. 2016) over the last axis, computed at least in float32."""

    def __init__(self, width: int, epsilon: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.epsilon = width, epsilon

    def build(self) -> None:
        self.scale = self.add_weight(name="scale", shape=(self.width,), initializer="ones", autocast=False)
        self.bias = self.add_weight(name="bias", shape=(self.width,), initializer="zeros", autocast=False)

    def call(self, x: Tensor) -> Tensor:
        exact = at_least_float32(x)
        centred = exact - ops.mean(exact, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
        return ops.cast(centred * ops.rsqrt(variance + self.epsilon) * self.scale + self.bias, x.dtype)


class FeedForward(keras.Layer):
    """max(0, x W_1 + b_1) W_2 + b_2, or another activation (section 3.3)."""

    def __init__(self, spec: LayerSpec, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = ACTIVATIONS[spec.activation]
        self.up = Linear(spec.width, spec.ffn_width, dtype=self.dtype_policy, name="up")
        self.dropout = keras.layers.Dropout(spec.activation_dropout, dtype=self.dtype_policy, name="dropout")
        self.down = Linear(spec.ffn_width, spec.width, dtype=self.dtype_policy, name="down")

    def build(self) -> None:
        self.up.build()
        self.down.build()

    def call(self, hidden: Tensor, training: bool = False) -> Tensor:
        return self.down(self.dropout(self.activation(self.up(hidden)), training=training))


class LayerOutput(NamedTuple):
    hidden: Tensor  # (B, T, D)
    self_weights: Tensor  # (B, N, T, S)
    cross_weights: Tensor | None  # (B, N, T, S)
    cache: LayerCache | None


class TransformerLayer(keras.Layer):
    """Self-attention, cross-attention where there is a memory, feed-forward; each with residual and norm (3.1)."""

    def __init__(self, spec: LayerSpec, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec
        own = {"dtype": self.dtype_policy}
        self.self_attention = SelfAttention(spec, name="self_attention", **own)
        self.self_attention_norm = Norm(spec.width, spec.norm_epsilon, name="self_attention_norm", **own)
        if spec.cross_attention:
            self.cross_attention = CrossAttention(spec, name="cross_attention", **own)
            self.cross_attention_norm = Norm(spec.width, spec.norm_epsilon, name="cross_attention_norm", **own)
        self.feed_forward = FeedForward(spec, name="feed_forward", **own)
        self.feed_forward_norm = Norm(spec.width, spec.norm_epsilon, name="feed_forward_norm", **own)
        self.dropout = keras.layers.Dropout(spec.dropout, name="dropout", **own)

    def build(self) -> None:
        self.self_attention.build()
        self.self_attention_norm.build()
        if self.spec.cross_attention:
            self.cross_attention.build()
            self.cross_attention_norm.build()
        self.feed_forward.build()
        self.feed_forward_norm.build()

    def call(
        self,
        hidden: Tensor,
        allowed: Tensor | None = None,
        memory: KeysAndValues | None = None,
        memory_allowed: Tensor | None = None,
        cache: LayerCache | None = None,
        slot: Tensor | None = None,
        training: bool = False,
    ) -> LayerOutput:
        attended = self.self_attention(
            self.enter(hidden, self.self_attention_norm), allowed=allowed, cache=cache, slot=slot, training=training
        )
        hidden = self.leave(hidden, attended.hidden, self.self_attention_norm, training)
        cross_weights = None
        if memory is not None:
            crossed = self.cross_attention(
                self.enter(hidden, self.cross_attention_norm),
                memory=memory,
                allowed=memory_allowed,
                training=training,
            )
            hidden = self.leave(hidden, crossed.hidden, self.cross_attention_norm, training)
            cross_weights = crossed.weights
        fed = self.feed_forward(self.enter(hidden, self.feed_forward_norm), training=training)
        hidden = self.leave(hidden, fed, self.feed_forward_norm, training)
        return LayerOutput(hidden, attended.weights, cross_weights, attended.cache)

    def enter(self, hidden: Tensor, norm: Norm) -> Tensor:
        """What a sublayer reads."""
        return norm(hidden) if self.spec.norm_order == "pre" else hidden

    def leave(self, hidden: Tensor, update: Tensor, norm: Norm, training: bool) -> Tensor:
        """LayerNorm(x + Sublayer(x)), or x + Sublayer(LayerNorm(x))."""
        total = hidden + self.dropout(update, training=training)
        return norm(total) if self.spec.norm_order == "post" else total


class StackOutput(NamedTuple):
    """`hidden` (B, T, D); the rest has one entry a layer."""

    hidden: Tensor
    self_weights: tuple[Tensor, ...]
    cross_weights: tuple[Tensor, ...]
    caches: tuple[LayerCache, ...]


class Stack(keras.Layer):
    """Equal layers, one on the other, and a last norm where the spec has one. Encoder and decoder are stacks."""

    def __init__(self, spec: StackSpec, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        own = {"dtype": self.dtype_policy}
        self.layers = [TransformerLayer(spec.layer, name=f"layer_{i}", **own) for i in range(spec.depth)]
        self.final_norm = None
        if spec.final_norm:
            self.final_norm = Norm(spec.layer.width, spec.layer.norm_epsilon, name="final_norm", **own)

    def build(self) -> None:
        for layer in self.layers:
            layer.build()
        if self.final_norm is not None:
            self.final_norm.build()

    def transform(
        self,
        hidden: Tensor,
        allowed: Tensor | None = None,
        memories: tuple[KeysAndValues, ...] = (),
        memory_allowed: Tensor | None = None,
        caches: tuple[LayerCache, ...] = (),
        slot: Tensor | None = None,
        training: bool = False,
    ) -> StackOutput:
        outputs = []
        for i, layer in enumerate(self.layers):
            memory = memories[i] if memories else None
            cache = caches[i] if caches else None
            output = layer(
                hidden,
                allowed=allowed,
                memory=memory,
                memory_allowed=memory_allowed,
                cache=cache,
                slot=slot,
                training=training,
            )
            outputs.append(output)
            hidden = output.hidden
        if self.final_norm is not None:
            hidden = self.final_norm(hidden)
        return StackOutput(
            hidden,
            tuple(output.self_weights for output in outputs),
            tuple(output.cross_weights for output in outputs if output.cross_weights is not None),
            tuple(output.cache for output in outputs if output.cache is not None),
        )

    def memories(self, memory: Tensor) -> tuple[KeysAndValues, ...]:
        """Each layer's keys and values of the encoder's output (B, S, D)."""
        return tuple(layer.cross_attention.keys_and_values(memory) for layer in self.layers)
