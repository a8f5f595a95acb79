"""ModelSpec and its parts: what a network is, as frozen data that checks itself.

A family is a function that returns a `ModelSpec`; the code in `nn` and `models` reads specs and never a family's
name. Sizes are counts, rates are probabilities in [0, 1).
"""

from dataclasses import dataclass
from typing import Literal

from regard.errors import ConfigError

Activation = Literal["relu", "gelu", "gelu_tanh", "silu"]
NormOrder = Literal["pre", "post"]


MOST_LAYERS = 1024  # and a config may be hostile: rules are made for each
MOST_POSITIONS = 2**15  # a table of them is kept


def _require_positive(owner: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise ConfigError(f"{owner}: {name} must be a whole number of at least 1, but is {size!r}")


def _require_rate(owner: str, **rates: float) -> None:
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ConfigError(f"{owner}: {name} must be in [0, 1), but is {rate}")


@dataclass(frozen=True)
class PositionSpec:
    """How a token knows its place (Vaswani et al. 2017, section 3.5)."""

    kind: Literal["sinusoidal", "none"] = "sinusoidal"
    layout: Literal["interleaved", "halves"] = "halves"  # sin cos sin cos (the paper), or all sines, then all cosines
    max_positions: int = 512  # the longest sequence, in tokens

    def __post_init__(self) -> None:
        _require_positive("positions", max_positions=self.max_positions)
        if self.max_positions > MOST_POSITIONS:
            raise ConfigError(f"positions: max_positions must be at most {MOST_POSITIONS}, but is {self.max_positions}")


@dataclass(frozen=True)
class EmbeddingSpec:
    """Token ids to vectors, shared by every part that embeds or predicts tokens (section 3.4)."""

    vocab_size: int
    width: int
    positions: PositionSpec
    pad_id: int  # its row of the table is never trained
    scale: bool = True  # multiply by the square root of the width
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _require_positive("embedding", vocab_size=self.vocab_size, width=self.width)
        _require_rate("embedding", dropout=self.dropout)
        if type(self.scale) is not bool:
            raise ConfigError(f"embedding: scale must be true or false, but is {self.scale!r}")
        if type(self.pad_id) is not int or not 0 <= self.pad_id < self.vocab_size:
            raise ConfigError(
                f"embedding: pad_id must be an id below vocab_size ({self.vocab_size}), but is {self.pad_id}"
            )
        if self.positions.kind == "sinusoidal" and self.width % 2:
            raise ConfigError(f"embedding: sinusoidal positions need an even width, but width is {self.width}")


@dataclass(frozen=True)
class LayerSpec:
    """One Transformer layer: self-attention, cross-attention if it has a memory to read, feed-forward (section 3.1)."""

    width: int
    heads: int
    head_width: int
    ffn_width: int
    activation: Activation = "relu"
    norm_order: NormOrder = "post"  # normalise after the residual sum (the paper), or before each sublayer
    norm_epsilon: float = 1e-5
    dropout: float = 0.1  # on each sublayer's output
    attention_dropout: float = 0.0  # on attention weights
    activation_dropout: float = 0.0  # inside the feed-forward
    cross_attention: bool = False

    def __post_init__(self) -> None:
        _require_positive(
            "layer", width=self.width, heads=self.heads, head_width=self.head_width, ffn_width=self.ffn_width
        )
        _require_rate(
            "layer",
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            activation_dropout=self.activation_dropout,
        )
        if self.norm_epsilon <= 0:
            raise ConfigError(f"layer: norm_epsilon must be above 0, but is {self.norm_epsilon}")


@dataclass(frozen=True)
class StackSpec:
    """`depth` equal layers, and a last norm where the layers normalise before (section 3.1)."""

    layer: LayerSpec
    depth: int
    final_norm: bool = False

    def __post_init__(self) -> None:
        _require_positive("stack", depth=self.depth)
        if self.depth > MOST_LAYERS:
            raise ConfigError(f"stack: depth must be at most {MOST_LAYERS}, but is {self.depth}")


@dataclass(frozen=True)
class TokenIds:
    """The ids with a meaning of their own. `decoder_start` is what an encoder-decoder's decoder reads first."""

    pad: int
    eos: int
    bos: int | None = None
    decoder_start: int | None = None


@dataclass(frozen=True)
class ModelSpec:
    """A whole network: `encoder` alone, `decoder` alone, or both."""

    family: str  # the key in models.catalog; only interop and catalog read it
    embedding: EmbeddingSpec
    tokens: TokenIds
    encoder: StackSpec | None = None
    decoder: StackSpec | None = None
    logits_bias: bool = False  # a stored, untrained bias on the logits (Marian's final_logits_bias)

    def __post_init__(self) -> None:
        if self.encoder is None and self.decoder is None:
            raise ConfigError("model: needs an encoder, a decoder or both, but has neither")
        for name, stack in (("encoder", self.encoder), ("decoder", self.decoder)):
            if stack is not None and stack.layer.width != self.embedding.width:
                raise ConfigError(
                    f"model: the {name}'s width must equal the embedding's ({self.embedding.width}), "
                    f"but is {stack.layer.width}"
                )
        if self.decoder is not None and self.decoder.layer.cross_attention != (self.encoder is not None):
            raise ConfigError("model: the decoder has cross_attention exactly where there is an encoder")
        if self.encoder is not None and self.decoder is not None and self.tokens.decoder_start is None:
            raise ConfigError("model: an encoder-decoder needs tokens.decoder_start")
        if self.tokens.pad != self.embedding.pad_id:
            raise ConfigError(
                f"model: tokens.pad must be embedding.pad_id ({self.embedding.pad_id}), but is {self.tokens.pad}"
            )
        for name, token in vars(self.tokens).items():
            if token is not None and (type(token) is not int or not 0 <= token < self.embedding.vocab_size):
                raise ConfigError(
                    f"model: tokens.{name} must be an id below vocab_size ({self.embedding.vocab_size}), "
                    f"but is {token!r}"
                )

    @property
    def form(self) -> Literal["encoder", "decoder", "encoder-decoder"]:
        if self.encoder is None:
            return "decoder"
        return "encoder" if self.decoder is None else "encoder-decoder"
