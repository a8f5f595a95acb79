"""Layers and stacks in OpenVINO's operations: what `nn.layers` computes (Vaswani et al. 2017, section 3).

R rows are B texts of W beams each; the other letters are those of `nn`. Attention is written in the very pattern that
OpenVINO's CPU plugin turns into one kernel over a cache that it never copies: past keys, gathered by beam, then the
new ones, then scaled dot products.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import openvino as ov
from openvino import opset13 as op
from openvino.op.util import Variable, VariableInfo

from regard.export.openvino_nodes import (
    ACTIVATIONS,
    Matrix,
    Node,
    Stored,
    Weights,
    axis,
    integers,
    numbers,
    sizes,
    split,
    split_by,
    stored_matrix,
    whole,
)
from regard.specs import LayerSpec, RotarySpec, StackSpec
from regard.specs.tables import bucket_of_distance, rotary_rates, slowing

_FORBIDDEN = np.float32(-1e38)  # vanishes in the softmax, and stays finite in a row of nothing else


class Sight(NamedTuple):
    """What the places of queries and keys decide, for the layers of one stack."""

    real: Node | None  # (R, S) int32: 0 where there is padding; None: all are real
    places: Node  # (R, T) int32
    key_places: Node  # (R, S) int32
    ends: Node | None = None  # (R, T) int32: where the text ends for each query; None: at its row's last place


class Memory(NamedTuple):
    """What a decoder reads of its encoder."""

    keys: tuple[Node, ...]  # a layer each, (B, K, H, S): as the product with the queries wants them
    values: tuple[Node, ...]  # (B, K, S, H)
    mask: Node  # (B, 1, 1, S), to be added to the scores


@dataclass
class Network:
    """A graph in the making: its weights, and the caches that it keeps between two calls."""

    weights: Weights
    stored: Stored
    beams: Node | None = None  # (R,) int32: the row of the cache that each row goes on from; None: there is no cache
    rows: Node | None = None  # (1,) int64: R
    sinks: list[Node] = field(default_factory=list)
    variables: list[Variable] = field(default_factory=list)
    _matrices: dict[str, Matrix] = field(default_factory=dict)

    def matrix(self, path: str, transposed: bool = False) -> Matrix:
        """A weight (out, in), of which there is one in the graph however often it is read."""
        if path not in self._matrices:
            value = self.needed(path)
            self._matrices[path] = stored_matrix(value.T if transposed else value, self.stored)
        return self._matrices[path]

    def needed(self, path: str) -> np.ndarray:
        value = self.weights(path)
        assert value is not None, path
        return value

    def affine(self, x: Node, path: str) -> Node:
        """x W + b."""
        product = op.matmul(x, self.matrix(f"{path}/kernel", transposed=True).whole(), False, True)
        bias = self.weights(f"{path}/bias")
        return product if bias is None else op.add(product, numbers(bias))

    def norm(self, x: Node, path: str, epsilon: float) -> Node:
        """Layer normalisation, or, where there is no bias, by the root mean square alone."""
        scale, bias = self.needed(f"{path}/scale"), self.weights(f"{path}/bias")
        if bias is None:
            mean = op.reduce_mean(op.power(x, numbers(2)), integers(-1), True)
            normal = op.multiply(x, op.divide(numbers(1), op.sqrt(op.add(mean, numbers(epsilon)))))
            return op.multiply(normal, numbers(scale))
        normal = op.mvn(x, integers(-1), True, epsilon, "INSIDE_SQRT")
        return op.add(op.multiply(normal, numbers(scale)), numbers(bias))

    def stack(self, x: Node, side: str, spec: StackSpec, sight: Sight, memory: Memory | None = None) -> Node:
        """(R, T, D) -> (R, T, D). A decoder's tokens, and a causal encoder's, see what is before them alone."""
        layer, causal = spec.layer, side == "decoder" or spec.causal
        wide = self._mask(sight, causal, None)
        near = wide if layer.window is None else self._mask(sight, causal, layer.window)
        if spec.relative is not None:
            bias = self._relative_bias(spec, side, sight, causal)
            wide, near = (bias if mask is None else op.add(bias, mask) for mask in (wide, near))
        turned = None if layer.rotary is None else _rotation(layer, sight)
        for i in range(spec.depth):
            part = LayerPart(self, layer, f"{side}/layer_{i}", i)
            x = part(x, wide if i in spec.unwindowed else near, turned, memory)
        return self.norm(x, f"{side}/final_norm", layer.norm_epsilon) if spec.final_norm else x

    def _mask(self, sight: Sight, causal: bool, window: int | None) -> Node:
        """(R, 1, T, S), to be added to the scores."""
        ahead = _ahead(sight)
        allowed = op.greater_equal(ahead, ahead)
        if sight.real is not None:
            allowed = op.logical_and(allowed, op.unsqueeze(op.not_equal(sight.real, whole(0)), integers(1)))
        if causal:
            allowed = op.logical_and(allowed, op.less_equal(ahead, whole(0)))
        if window is not None:
            allowed = op.logical_and(allowed, op.less(op.abs(ahead), whole(window)))
        return op.unsqueeze(op.select(allowed, numbers(0), numbers(_FORBIDDEN)), integers(1))

    def _relative_bias(self, spec: StackSpec, side: str, sight: Sight, causal: bool) -> Node:
        """T5's bias on the scores by the distance: (R, N, T, S)."""
        relative, ahead = spec.relative, _ahead(sight)
        assert relative is not None
        distance = op.maximum(op.negative(ahead), whole(0)) if causal else op.abs(ahead)
        buckets = op.constant(bucket_of_distance(relative, not causal))
        bucket = op.gather(buckets, op.minimum(distance, whole(relative.max_distance)), integers(0))
        if not causal:
            bucket = op.select(op.greater(ahead, whole(0)), op.add(bucket, whole(relative.buckets // 2)), bucket)
        bias = op.gather(numbers(self.needed(f"{side}/relative_bias/table")), bucket, integers(0))
        return op.transpose(bias, integers(0, 3, 1, 2))  # (R,T,S,N) -> (R,N,T,S)


@dataclass(frozen=True)
class LayerPart:
    """One Transformer layer."""

    network: Network
    spec: LayerSpec
    path: str
    index: int

    def __call__(self, x: Node, mask: Node, turned: tuple[Node, Node] | None, memory: Memory | None) -> Node:
        x = self._sublayer(x, "self_attention", lambda h: self._self_attention(h, mask, turned))
        if memory is not None:
            x = self._sublayer(x, "cross_attention", lambda h: self._cross_attention(h, memory))
        return self._sublayer(x, "feed_forward", self._feed_forward)

    def _sublayer(self, x: Node, name: str, update: Callable[[Node], Node]) -> Node:
        """LayerNorm(x + Sublayer(x)), or x + Sublayer(LayerNorm(x))."""
        path, epsilon = f"{self.path}/{name}_norm", self.spec.norm_epsilon
        if self.spec.norm_order == "pre":
            return op.add(x, update(self.network.norm(x, path, epsilon)))
        return self.network.norm(op.add(x, update(x)), path, epsilon)

    def _self_attention(self, x: Node, mask: Node, turned: tuple[Node, Node] | None) -> Node:
        spec, path, network = self.spec, f"{self.path}/self_attention", self.network
        inner, kv = spec.heads * spec.head_width, spec.keys_heads * spec.head_width
        parts = split_by(network.affine(x, f"{path}/query_key_value"), inner, kv, kv)
        query, keys, values = (
            split_heads(part, heads, spec.head_width)
            for part, heads in zip(parts, (spec.heads, spec.keys_heads, spec.keys_heads), strict=True)
        )
        if spec.query_key_norm:
            query = network.norm(query, f"{path}/query_norm", spec.norm_epsilon)
            keys = network.norm(keys, f"{path}/key_norm", spec.norm_epsilon)
        if turned is not None:
            query, keys = (_rotate(each, spec.head_width, turned) for each in (query, keys))
        if network.beams is not None:
            keys, values = self._remembered("keys", keys), self._remembered("values", values)
        context = self._attend(query, keys, values, mask)
        merged = op.reshape(op.transpose(context, integers(0, 2, 1, 3)), integers(0, 0, inner), True)
        return network.affine(merged, f"{path}/output")

    def _remembered(self, name: str, new: Node) -> Node:
        """Past and new, (R, K, S, H)."""
        network, heads, width = self.network, self.spec.keys_heads, self.spec.head_width
        info = VariableInfo()
        info.data_shape, info.data_type = ov.PartialShape([-1, heads, -1, width]), ov.Type.f32
        info.variable_id = f"{self.path}/{name}"
        variable = Variable(info)
        nothing = op.broadcast(numbers(0), op.concat([network.rows, integers(heads, 0, width)], 0))
        past = op.gather(op.read_value(nothing, variable), network.beams, integers(0))
        together = op.concat([past, new], 2)
        network.variables.append(variable)
        network.sinks.append(op.assign(together, variable))
        return together

    def _cross_attention(self, x: Node, memory: Memory) -> Node:
        """The beams of a text stand side by side as queries, so that its memory is there once: (B, N, W*T, H)."""
        spec, path = self.spec, f"{self.path}/cross_attention"
        keys, values = memory.keys[self.index], memory.values[self.index]
        beside = op.concat([sizes(keys, 0), integers(-1, spec.heads, spec.head_width)], 0)
        query = op.reshape(self.network.affine(x, f"{path}/query"), beside, False)  # (R,T,N*H) -> (B,W*T,N,H)
        query = op.multiply(op.transpose(query, integers(0, 2, 1, 3)), numbers(self._scale()))
        scores = op.matmul(query, _for_each_query(keys, spec, turned=True), False, False)
        weights = op.softmax(op.add(scores, memory.mask), -1)
        context = op.matmul(weights, _for_each_query(values, spec), False, False)
        apart = op.concat([integers(-1), sizes(x, 1), integers(spec.heads * spec.head_width)], 0)
        merged = op.reshape(op.transpose(context, integers(0, 2, 1, 3)), apart, False)
        return self.network.affine(merged, f"{path}/output")

    def _attend(self, query: Node, keys: Node, values: Node, mask: Node) -> Node:
        keys, values = _for_each_query(keys, self.spec), _for_each_query(values, self.spec)
        return op.scaled_dot_product_attention(query, keys, values, mask, numbers(self._scale()), causal=False)

    def _scale(self) -> float:
        """Of the scores."""
        spec = self.spec
        scale = spec.head_width**-0.5 if spec.attention_scale is None else spec.attention_scale
        return scale / (self.index + 1) if spec.scale_by_layer else scale

    def _feed_forward(self, x: Node) -> Node:
        network, path, activation = self.network, f"{self.path}/feed_forward", ACTIVATIONS[self.spec.activation]
        if self.spec.gated:
            gate, up = split(network.affine(x, f"{path}/gate_up"), 2)
            return network.affine(op.multiply(activation(gate), up), f"{path}/down")
        return network.affine(activation(network.affine(x, f"{path}/up")), f"{path}/down")


def split_heads(x: Node, heads: int, width: int) -> Node:
    return op.transpose(op.reshape(x, integers(0, 0, heads, width), True), integers(0, 2, 1, 3))  # -> (R,N,T,H)


def _for_each_query(x: Node, spec: LayerSpec, turned: bool = False) -> Node:
    """Each head of keys or values once for each query head that reads it: (B, K, S, H) -> (B, N, S, H), and `turned`
    (B, K, H, S) -> (B, N, H, S). The runtime knows this product with ones, and copies nothing for it; it does not where
    the shape of `x` is asked for."""
    times = spec.heads // spec.keys_heads
    if times == 1:
        return x
    wide = op.multiply(op.unsqueeze(x, integers(2)), numbers(np.ones((1, 1, times, 1, 1))))
    shape = integers(0, spec.heads, spec.head_width, -1) if turned else integers(0, spec.heads, -1, spec.head_width)
    return op.reshape(wide, shape, True)


def _ahead(sight: Sight) -> Node:
    """How far each key stands after each query: (R, T, S) int32."""
    return op.subtract(op.unsqueeze(sight.key_places, integers(1)), op.unsqueeze(sight.places, integers(2)))


def _rotation(layer: LayerSpec, sight: Sight) -> tuple[Node, Node]:
    """The cosines and sines of rotary positions: (R, 1, T, H) each."""
    rotary, places = layer.rotary, sight.places
    assert rotary is not None
    rates = np.tile(rotary_rates(rotary, layer.head_width), 2)
    angles = op.multiply(op.unsqueeze(op.convert(places, np.float32), integers(1, 3)), numbers(rates))
    if rotary.scaling == "dynamic":
        exponents = numbers(np.tile(slowing(layer.head_width), 2))
        angles = op.multiply(angles, op.power(_stretch(rotary, sight), exponents))
    magnitude = numbers(rotary.magnitude)
    return op.multiply(op.cos(angles), magnitude), op.multiply(op.sin(angles), magnitude)


def _stretch(rotary: RotarySpec, sight: Sight) -> Node:
    """How far each text's length passes the pre-training's, 1 where it does not: (R, 1, T or 1, 1)."""
    ends = op.reduce_max(sight.places, integers(1), True) if sight.ends is None else sight.ends
    length = op.add(op.convert(ends, np.float32), numbers(1))
    beyond = op.subtract(op.divide(length, numbers(rotary.original_positions)), numbers(1))
    stretch = op.add(op.multiply(op.relu(beyond), numbers(rotary.factor)), numbers(1))
    return op.unsqueeze(stretch, integers(1, 3))


def _rotate(x: Node, width: int, by: tuple[Node, Node]) -> Node:
    first, second = op.variadic_split(x, axis(3), integers(width // 2, width // 2)).outputs()
    turned = op.concat([op.multiply(second, numbers(-1)), first], -1)
    return op.add(op.multiply(x, by[0]), op.multiply(turned, by[1]))
