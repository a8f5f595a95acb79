"""The Transformer of "Attention Is All You Need", post-norm as in the paper or pre-norm.

Hugging Face knows the same network by two names: post-norm it is Marian, pre-norm (with a last norm on each side) it is
Pegasus. So what is trained here loads there; `family` says which layout a spec is saved in.
"""

from typing import Any

from regard.errors import ConfigError
from regard.specs import (
    Activation,
    EmbeddingSpec,
    LayerSpec,
    ModelSpec,
    NormOrder,
    PositionSpec,
    StackSpec,
    TokenIds,
)

LAYOUTS: dict[NormOrder, str] = {"post": "marian", "pre": "pegasus"}

# Vaswani et al. 2017, table 3, gives base and big; the smaller ones keep base's proportions.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 128, "heads": 4, "ffn_width": 512, "encoder_depth": 2, "decoder_depth": 2, "dropout": 0.1},
    "small": {"width": 256, "heads": 4, "ffn_width": 1024, "encoder_depth": 3, "decoder_depth": 3, "dropout": 0.1},
    "base": {"width": 512, "heads": 8, "ffn_width": 2048, "encoder_depth": 6, "decoder_depth": 6, "dropout": 0.1},
    "big": {"width": 1024, "heads": 16, "ffn_width": 4096, "encoder_depth": 6, "decoder_depth": 6, "dropout": 0.3},
}
# What a run file may set beside a preset.
KEYS = (
    *("width", "heads", "ffn_width", "encoder_depth", "decoder_depth", "dropout", "attention_dropout"),
    *("activation_dropout", "activation", "norm_order", "max_positions"),
)


def preset(
    *,
    vocab_size: int,
    width: int,
    heads: int,
    ffn_width: int,
    encoder_depth: int,
    decoder_depth: int,
    dropout: float,
    attention_dropout: float = 0.0,
    activation_dropout: float = 0.0,
    activation: Activation = "relu",
    norm_order: NormOrder = "post",
    max_positions: int = 512,
    tokens: TokenIds,
) -> ModelSpec:
    """An encoder-decoder of equal widths on both sides and one shared table."""
    if width % heads:
        raise ConfigError(f"model: width must be a multiple of heads ({heads}), but is {width}")

    def stack(depth: int, decoder: bool) -> StackSpec:
        layer = LayerSpec(
            width=width,
            heads=heads,
            head_width=width // heads,
            ffn_width=ffn_width,
            activation=activation,
            norm_order=norm_order,
            dropout=dropout,
            attention_dropout=attention_dropout,
            activation_dropout=activation_dropout,
            cross_attention=decoder,
        )
        return StackSpec(layer, depth, final_norm=norm_order == "pre")

    return ModelSpec(
        family=LAYOUTS[norm_order],
        embedding=EmbeddingSpec(
            vocab_size=vocab_size,
            width=width,
            positions=PositionSpec(max_positions=max_positions),
            pad_id=tokens.pad,
            dropout=dropout,
        ),
        tokens=tokens,
        encoder=stack(encoder_depth, decoder=False),
        decoder=stack(decoder_depth, decoder=True),
    )
