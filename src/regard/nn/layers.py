"""One Transformer layer and the stack of them (Vaswani et al. 2017, sections 3.1 and 3.3)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from regard.nn import kernels, training_kernels
from regard.nn.attention import CrossAttention, KeysAndValues, Reach, SelfAttention
from regard.nn.cache import LayerCache
from regard.nn.dropout import Dropout
from regard.nn.layer import Layer
from regard.nn.linear import Linear
from regard.nn.masks import all_of, window_mask
from regard.nn.norm import Norm
from regard.nn.output import Tensor
from regard.nn.relative import RelativeBias
from regard.nn.rotary import rotation
from regard.specs import LayerSpec, StackSpec

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": ops.relu,
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "gelu_tanh": lambda x: ops.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * ops.sigmoid(1.702 * x),
    "silu": ops.silu,
    "tanh": ops.tanh,
    "gelu_10": lambda x: ops.clip(ops.gelu(x, approximate=False), -10, 10),
    "mish": lambda x: x * ops.tanh(ops.softplus(x)),
    "leaky_relu": lambda x: ops.leaky_relu(x, negative_slope=0.01),
    "sigmoid": ops.sigmoid,
    "linear": lambda x: x,
    "relu2": lambda x: ops.square(ops.relu(x)),
    "relu6": ops.relu6,
}
# Several operations each: in training one pass over memory does them all.
IN_ONE_PASS = {"gelu", "gelu_tanh", "quick_gelu", "silu", "gelu_10", "mish"}


class FeedForward(Layer):
    """max(0, x W_1 + b_1) W_2 + b_2, or another activation (section 3.3), or gated: (act(x W_g) * x W_1) W_2."""

    def __init__(self, spec: LayerSpec, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation, self.gated = ACTIVATIONS[spec.activation], spec.gated
        self.in_one_pass = spec.activation in IN_ONE_PASS
        own = {"dtype": self.dtype_policy, "bias": spec.feed_forward_bias}
        if spec.gated:
            self.up = Linear(spec.width, spec.ffn_width, spec.ffn_width, name="gate_up", **own)
        else:
            self.up = Linear(spec.width, spec.ffn_width, name="up", **own)
        self.dropout = Dropout(spec.activation_dropout, dtype=self.dtype_policy, name="dropout")
        self.down = Linear(spec.ffn_width, spec.width, name="down", **own)

    def build(self) -> None:
        self.up.build()
        self.down.build()

    def call(self, hidden: Tensor, training: bool = False) -> Tensor:
        return self.down(self.dropout(self.inner(self.up(hidden), training), training=training))

    def inner(self, raised: Tensor, training: bool) -> Tensor:
        if not self.gated:
            return self.activated(raised, training)
        gate, up = ops.split(raised, 2, axis=-1)
        return self.activated(gate, training) * up

    def activated(self, raised: Tensor, training: bool) -> Tensor:
        if training and self.in_one_pass:
            return training_kernels.elementwise(self.activation, raised)
        return self.activation(raised)


class LayerOutput(NamedTuple):
    hidden: Tensor  # (B, T, D)
    self_weights: Tensor  # (B, N, T, S)
    cross_weights: Tensor | None  # (B, N, T, S)
    cache: LayerCache | None


class TransformerLayer(Layer):
    """Self-attention, cross-attention where there is a memory, feed-forward; each with residual and norm (3.1)."""

    def __init__(self, spec: LayerSpec, index: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec
        own = {"dtype": self.dtype_policy}
        self.self_attention = SelfAttention(spec, index, name="self_attention", **own)
        self.self_attention_norm = Norm(spec.width, spec.norm_epsilon, spec.norm, name="self_attention_norm", **own)
        if spec.cross_attention:
            self.cross_attention = CrossAttention(spec, index, name="cross_attention", **own)
            self.cross_attention_norm = Norm(
                spec.width, spec.norm_epsilon, spec.norm, name="cross_attention_norm", **own
            )
        self.feed_forward = FeedForward(spec, name="feed_forward", **own)
        self.feed_forward_norm = Norm(spec.width, spec.norm_epsilon, spec.norm, name="feed_forward_norm", **own)
        self.dropout = Dropout(spec.dropout, name="dropout", **own)

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
        reach: Reach = Reach(),
        memory: KeysAndValues | None = None,
        memory_allowed: Tensor | None = None,
        cache: LayerCache | None = None,
        slot: Tensor | None = None,
        training: bool = False,
    ) -> LayerOutput:
        attended = self.self_attention(
            self.enter(hidden, self.self_attention_norm), reach=reach, cache=cache, slot=slot, training=training
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

    def recomputed(
        self, hidden: Tensor, reach: Reach, memory: KeysAndValues | None, memory_allowed: Tensor | None
    ) -> Tensor:
        """`call` in training, of which only the result is kept: the backward pass computes the rest once more, with
        the same dropout (Chen et al. 2016, section 3). -> (B, T, D)."""

        def forward(hidden: Tensor, bias: Tensor | None, memory: KeysAndValues | None) -> Tensor:
            biased = reach._replace(bias=bias)
            return self(hidden, reach=biased, memory=memory, memory_allowed=memory_allowed, training=True).hidden

        return training_kernels.recomputed(forward, self.noise(), hidden, reach.bias, memory)

    def noise(self) -> list[Any]:
        """The variables that the layer's dropout draws its masks from."""
        parts = [self, self.self_attention, self.feed_forward]
        parts += [self.cross_attention] if self.spec.cross_attention else []
        return [part.dropout.seed_generator.state for part in parts if part.dropout.rate > 0]

    def enter(self, hidden: Tensor, norm: Norm) -> Tensor:
        """What a sublayer reads."""
        return norm(hidden) if self.spec.norm_order == "pre" else hidden

    def leave(self, hidden: Tensor, update: Tensor, norm: Norm, training: bool) -> Tensor:
        """LayerNorm(x + Sublayer(x)), or x + Sublayer(LayerNorm(x))."""
        total = hidden + self.dropout(update, training=training)
        return norm(total) if self.spec.norm_order == "post" else total


class StackOutput(NamedTuple):
    """`hidden` (B, T, D); the rest has one entry a layer, and none where layers are recomputed."""

    hidden: Tensor
    self_weights: tuple[Tensor, ...]
    cross_weights: tuple[Tensor, ...]
    caches: tuple[LayerCache, ...]


class Stack(Layer):
    """Equal layers, one on the other, and a last norm where the spec has one. Encoder and decoder are stacks."""

    remat = False  # in training: whether the backward pass computes what is inside a layer once more

    def __init__(self, spec: StackSpec, causal: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec, layer, own = spec, spec.layer, {"dtype": self.dtype_policy}
        self.layers = [TransformerLayer(layer, i, name=f"layer_{i}", **own) for i in range(spec.depth)]
        self.relative_bias = None
        if spec.relative is not None:
            self.relative_bias = RelativeBias(spec.relative, layer.heads, not causal, name="relative_bias", **own)
        self.final_norm = None
        if spec.final_norm:
            self.final_norm = Norm(layer.width, layer.norm_epsilon, layer.norm, name="final_norm", **own)

    def build(self) -> None:
        for layer in self.layers:
            layer.build()
        for part in (self.relative_bias, self.final_norm):
            if part is not None:
                part.build()

    def reaches(
        self, allowed: Tensor | None, places: Tensor, key_places: Tensor, ends: Tensor | None = None
    ) -> tuple[Reach, ...]:
        """One for each layer, from the places (B, T) of the queries and (B, S) of the keys; what layers share is
        computed once. ends: see `rotation`."""
        layer = self.spec.layer
        turned = None if layer.rotary is None else rotation(layer.rotary, layer.head_width, places, ends)
        bias = None if self.relative_bias is None else self.relative_bias(places, key_places=key_places)
        everywhere = Reach(allowed, bias, turned)
        if layer.window is None:
            return (everywhere,) * self.spec.depth
        near = everywhere._replace(allowed=all_of(allowed, window_mask(places, key_places, layer.window)))
        return tuple(everywhere if i in self.spec.unwindowed else near for i in range(self.spec.depth))

    def transform(
        self,
        hidden: Tensor,
        reaches: tuple[Reach, ...],
        memories: tuple[KeysAndValues, ...] = (),
        memory_allowed: Tensor | None = None,
        caches: tuple[LayerCache, ...] = (),
        slot: Tensor | None = None,
        training: bool = False,
    ) -> StackOutput:
        if self.remat and training:
            return self.transform_recomputed(hidden, reaches, memories, memory_allowed)

        def through(
            layer: TransformerLayer,
            hidden: Tensor,
            reach: Reach,
            memory: KeysAndValues | None,
            cache: LayerCache | None,
        ) -> LayerOutput:
            return layer(
                hidden,
                reach=reach,
                memory=memory,
                memory_allowed=memory_allowed,
                cache=cache,
                slot=slot,
                training=training,
            )

        of_layer = self.layerwise(through, training)
        outputs: list[LayerOutput] = []
        for i, reach in enumerate(reaches):
            output = of_layer(i, hidden, reach, memories[i] if memories else None, caches[i] if caches else None)
            outputs.append(output)
            hidden = output.hidden
        return StackOutput(
            self.ended(hidden),
            tuple(output.self_weights for output in outputs),
            tuple(output.cross_weights for output in outputs if output.cross_weights is not None),
            tuple(output.cache for output in outputs if output.cache is not None),
        )

    def transform_recomputed(
        self,
        hidden: Tensor,
        reaches: tuple[Reach, ...],
        memories: tuple[KeysAndValues, ...],
        memory_allowed: Tensor | None,
    ) -> StackOutput:
        for i, layer in enumerate(self.layers):
            hidden = layer.recomputed(hidden, reaches[i], memories[i] if memories else None, memory_allowed)
        return StackOutput(self.ended(hidden), (), (), ())

    def layerwise(self, function: Callable[..., Any], training: bool = False) -> Callable[..., Any]:
        """function(layer, *tensors) -> the same of a layer's number.

        A graph that trains nothing holds it once, as a function of a layer's weights too. So Python goes through the
        code of one layer, and TensorFlow optimises one, instead of all: the first call to thirty layers took 23 seconds
        and takes 6.
        """
        if training or not kernels.in_graph() or not self.differ_in_weights_alone:
            return lambda i, *given: function(self.layers[i], *given)
        first = self.layers[0]

        def of_weights(weights: list[Tensor], *given: Any) -> Any:
            with keras.StatelessScope(state_mapping=zip(first.variables, weights, strict=True)):
                return function(first, *given)

        shared = kernels.shared(of_weights)
        return lambda i, *given: shared([weight.value for weight in self.layers[i].variables], *given)

    @property
    def differ_in_weights_alone(self) -> bool:
        """Whether one layer with another's weights computes what that other one does."""
        layouts = [[(weight.shape, weight.dtype) for weight in layer.variables] for layer in self.layers]
        return not self.spec.layer.scale_by_layer and all(layout == layouts[0] for layout in layouts)

    def ended(self, hidden: Tensor) -> Tensor:
        """What comes after the last layer."""
        return hidden if self.final_norm is None else self.final_norm(hidden)

    def memories(self, memory: Tensor) -> tuple[KeysAndValues, ...]:
        """Each layer's keys and values of the encoder's output (B, S, D)."""
        of_layer = self.layerwise(lambda layer, memory: layer.cross_attention.keys_and_values(memory))
        return tuple(of_layer(i, memory) for i in range(self.spec.depth))
