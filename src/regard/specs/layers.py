"""The layers, their positions inside attention, and the stack of them."""

from dataclasses import dataclass
from typing import Literal

from regard.errors import ConfigError
from regard.specs.checks import (
    require_above_zero,
    require_at_most,
    require_flag,
    require_one_of,
    require_positive,
    require_rate,
)
from regard.specs.stems import MOST_POSITIONS

Activation = Literal[
    "relu",
    "gelu",
    "gelu_tanh",
    "quick_gelu",
    "silu",
    "tanh",
    "gelu_10",
    "mish",
    "leaky_relu",
    "sigmoid",
    "linear",
    "relu2",
    "relu6",
]
NormOrder = Literal["pre", "post"]
Biases = Literal["all", "input", "output", "none"]

MOST_LAYERS = 1024  # a config may be hostile, and rules are made for each
LONGEST = 2**31 - 1  # positions are int32


@dataclass(frozen=True)
class RotarySpec:
    """Rotary positions (Su et al. 2021), and how their rates are stretched beyond the length of the pre-training."""

    theta: float = 10000.0  # the base of the rates
    scaling: Literal["none", "linear", "dynamic", "llama3", "yarn"] = "none"
    factor: float = 1.0  # how many times longer the context has become
    original_positions: int = 1  # of the pre-training: dynamic, llama3, yarn
    low_frequency_factor: float = 1.0  # llama3: wavelengths above original / this are stretched in full,
    high_frequency_factor: float = 4.0  # those below original / this are left alone
    beta_slow: float = 1.0  # yarn: the same two bounds, in turns over the original length
    beta_fast: float = 32.0
    magnitude: float = 1.0  # yarn: cosines and sines times this ("attention factor")
    whole_bounds: bool = True  # yarn: the two bounds are rounded to whole dimensions

    def __post_init__(self) -> None:
        require_positive("rotary", original_positions=self.original_positions)
        require_at_most("rotary", "original_positions", self.original_positions, LONGEST)
        require_above_zero(
            "rotary",
            theta=self.theta,
            factor=self.factor,
            low_frequency_factor=self.low_frequency_factor,
            high_frequency_factor=self.high_frequency_factor,
            beta_slow=self.beta_slow,
            beta_fast=self.beta_fast,
            magnitude=self.magnitude,
        )
        require_flag("rotary", whole_bounds=self.whole_bounds)
        low, high = self.low_frequency_factor, self.high_frequency_factor
        if self.scaling == "llama3" and high <= low:
            raise ConfigError(
                f"rotary: high_frequency_factor must be above low_frequency_factor ({low}), but is {high}"
            )
        if self.scaling == "yarn" and self.theta <= 1:  # its bounds are logarithms to this base
            raise ConfigError(f"rotary: theta must be above 1 for yarn, but is {self.theta}")


@dataclass(frozen=True)
class RelativeSpec:
    """T5's relative positions: a learned bias on the scores for each bucket of distances (Raffel et al. 2020, 2.1)."""

    buckets: int = 32
    max_distance: int = 128  # all distances from here on share the last bucket

    def __post_init__(self) -> None:
        require_positive("relative positions", buckets=self.buckets, max_distance=self.max_distance)
        for name, size in (("buckets", self.buckets), ("max_distance", self.max_distance)):
            require_at_most("relative positions", name, size, MOST_POSITIONS)
        if self.buckets < 4:
            raise ConfigError(f"relative positions: buckets must be at least 4, but is {self.buckets}")
        if self.max_distance <= self.buckets // 2:
            raise ConfigError(
                f"relative positions: max_distance must be above buckets / 2 ({self.buckets // 2}), "
                f"but is {self.max_distance}"
            )


@dataclass(frozen=True)
class LayerSpec:
    """One Transformer layer: self-attention, cross-attention if it has a memory to read, feed-forward (section 3.1)."""

    width: int
    heads: int
    head_width: int
    ffn_width: int
    kv_heads: int | None = None  # heads of the keys and values, each read by heads / kv_heads queries; None: as heads
    activation: Activation = "relu"
    gated: bool = False  # act(x W_gate) * (x W_up) in the feed-forward (Shazeer 2020)
    norm: Literal["layer", "rms"] = "layer"  # rms neither centres nor shifts (Zhang and Sennrich 2019)
    norm_order: NormOrder = "post"  # normalise after the residual sum (the paper), or before each sublayer
    norm_epsilon: float = 1e-5
    attention_bias: Biases = "all"  # of which projections: query, key and value ("input"), the output, all, none
    key_bias: bool = True  # where queries and values have one: a key's is the same to all of a query's scores
    feed_forward_bias: bool = True
    query_key_norm: bool = False  # each head's queries and keys are normalised (rms)
    attention_scale: float | None = None  # of the scores; None: head_width ** -0.5
    scale_by_layer: bool = False  # scores of layer i (from 0) are divided by i + 1 as well
    rotary: RotarySpec | None = None  # turns the queries and keys of self-attention
    window: int | None = None  # self-attention looks back at most this many tokens, itself included
    dropout: float = 0.1  # on each sublayer's output
    attention_dropout: float = 0.0  # on attention weights
    activation_dropout: float = 0.0  # inside the feed-forward
    cross_attention: bool = False

    def __post_init__(self) -> None:
        require_positive(
            "layer", width=self.width, heads=self.heads, head_width=self.head_width, ffn_width=self.ffn_width
        )
        require_rate(
            "layer",
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            activation_dropout=self.activation_dropout,
        )
        require_above_zero("layer", norm_epsilon=self.norm_epsilon)
        require_one_of("layer", Activation, activation=self.activation)
        require_one_of("layer", Biases, attention_bias=self.attention_bias)
        require_flag(
            "layer",
            gated=self.gated,
            key_bias=self.key_bias,
            feed_forward_bias=self.feed_forward_bias,
            query_key_norm=self.query_key_norm,
            scale_by_layer=self.scale_by_layer,
        )
        if self.kv_heads is None:
            object.__setattr__(self, "kv_heads", self.heads)
        require_positive("layer", kv_heads=self.keys_heads)
        if self.heads % self.keys_heads:
            raise ConfigError(f"layer: heads must be a multiple of kv_heads ({self.kv_heads}), but is {self.heads}")
        if self.window is not None:
            require_positive("layer", window=self.window)
        if self.attention_scale is not None:
            require_above_zero("layer", attention_scale=self.attention_scale)
        if self.rotary is not None and self.head_width % 2:
            raise ConfigError(f"layer: rotary positions need an even head_width, but it is {self.head_width}")
        if self.rotary is not None and self.rotary.scaling == "dynamic" and self.head_width < 4:
            raise ConfigError(f"layer: dynamic rotary positions need a head_width of at least 4, not {self.head_width}")

    @property
    def keys_heads(self) -> int:
        """`kv_heads`, which `__post_init__` has filled in."""
        assert self.kv_heads is not None
        return self.kv_heads


@dataclass(frozen=True)
class StackSpec:
    """`depth` equal layers, and a last norm where the layers normalise before (section 3.1)."""

    layer: LayerSpec
    depth: int
    final_norm: bool = False
    relative: RelativeSpec | None = None  # one table for all layers
    unwindowed: tuple[int, ...] = ()  # the layers that the layer's window does not bind
    causal: bool = False  # an encoder's tokens, too, attend to what is before them alone; a decoder's always do

    def __post_init__(self) -> None:
        require_positive("stack", depth=self.depth)
        require_at_most("stack", "depth", self.depth, MOST_LAYERS)
