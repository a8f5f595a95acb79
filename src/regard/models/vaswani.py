"""The Transformer of "Attention Is All You Need", post-norm as in the paper or pre-norm.

Hugging Face knows the same network by two names: post-norm it is Marian, pre-norm (with a last norm on each side) it is
Pegasus. So what is trained here loads there; `family` says which layout a spec is saved in.
"""

from typing import Any, get_args

from regard.errors import CheckpointError, ConfigError
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
ARCHITECTURES = {"marian": "MarianMTModel", "pegasus": "PegasusForConditionalGeneration"}
ACTIVATION_NAMES = {"relu": "relu", "gelu": "gelu", "gelu_tanh": "gelu_new", "silu": "silu"}
ACTIVATIONS = {name: ours for ours, name in ACTIVATION_NAMES.items()} | {
    "swish": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
}

# Vaswani et al. 2017, table 3, gives base and big; the smaller ones keep base's proportions.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"width": 128, "heads": 4, "ffn_width": 512, "encoder_depth": 2, "decoder_depth": 2, "dropout": 0.1},
    "small": {"width": 256, "heads": 4, "ffn_width": 1024, "encoder_depth": 3, "decoder_depth": 3, "dropout": 0.1},
    "base": {"width": 512, "heads": 8, "ffn_width": 2048, "encoder_depth": 6, "decoder_depth": 6, "dropout": 0.1},
    "big": {"width": 1024, "heads": 16, "ffn_width": 4096, "encoder_depth": 6, "decoder_depth": 6, "dropout": 0.3},
}


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


def config(spec: ModelSpec) -> dict[str, Any]:
    """The spec as Hugging Face's config.json for Marian or Pegasus."""
    if spec.encoder is None or spec.decoder is None:
        raise ConfigError(f"{spec.family} is an encoder-decoder, but this model is an {spec.form}: it cannot be saved")
    if spec.embedding.positions.layout != "halves":
        raise ConfigError(
            f"{spec.family}'s layout has its sinusoids in halves, but this model's are "
            f"{spec.embedding.positions.layout}: it cannot be saved"
        )
    layer = spec.encoder.layer
    return {
        "architectures": [ARCHITECTURES[spec.family]],
        "model_type": spec.family,
        "is_encoder_decoder": True,
        "vocab_size": spec.embedding.vocab_size,
        "d_model": spec.embedding.width,
        "max_position_embeddings": spec.embedding.positions.max_positions,
        "scale_embedding": spec.embedding.scale,
        "activation_function": ACTIVATION_NAMES[layer.activation],
        "dropout": layer.dropout,
        "attention_dropout": layer.attention_dropout,
        "activation_dropout": layer.activation_dropout,
        "num_hidden_layers": spec.encoder.depth,
        **_side_config("encoder", spec.encoder),
        **_side_config("decoder", spec.decoder),
        "pad_token_id": spec.tokens.pad,
        "eos_token_id": spec.tokens.eos,
        "decoder_start_token_id": spec.tokens.decoder_start,
        **({} if spec.tokens.bos is None else {"bos_token_id": spec.tokens.bos}),
        "forced_eos_token_id": spec.tokens.eos,
        "tie_word_embeddings": True,
        **({"decoder_vocab_size": spec.embedding.vocab_size, "share_encoder_decoder_embeddings": True}
           if spec.family == "marian" else {}),
    }  # fmt: skip


def _side_config(side: str, stack: StackSpec) -> dict[str, int]:
    return {
        f"{side}_layers": stack.depth,
        f"{side}_attention_heads": stack.layer.heads,
        f"{side}_ffn_dim": stack.layer.ffn_width,
    }


def from_config(values: dict[str, Any]) -> ModelSpec:
    """Hugging Face's config.json of a Marian or Pegasus checkpoint -> the spec."""
    family = values["model_type"]
    order: NormOrder = "post" if family == LAYOUTS["post"] else "pre"
    if not values.get("share_encoder_decoder_embeddings", True) or not values.get("tie_word_embeddings", True):
        raise CheckpointError(f"config.json: a {family} model with separate embeddings is not supported")
    width = values["d_model"]
    name = values.get("activation_function", "gelu")
    activation = ACTIVATIONS.get(name)
    if activation is None:
        raise CheckpointError(
            f"config.json: unknown activation_function {name!r}: known are {', '.join(get_args(Activation))}"
        )

    def stack(side: str, decoder: bool) -> StackSpec:
        heads = values[f"{side}_attention_heads"]
        if heads < 1 or width % heads:
            raise CheckpointError(
                f"config.json: d_model ({width}) must be a multiple of {side}_attention_heads ({heads})"
            )
        layer = LayerSpec(
            width=width,
            heads=heads,
            head_width=width // heads,
            ffn_width=values[f"{side}_ffn_dim"],
            activation=activation,  # type: ignore[arg-type]
            norm_order=order,
            dropout=values.get("dropout", 0.1),
            attention_dropout=values.get("attention_dropout", 0.0),
            activation_dropout=values.get("activation_dropout", 0.0),
            cross_attention=decoder,
        )
        return StackSpec(layer, values[f"{side}_layers"], final_norm=order == "pre")

    return ModelSpec(
        family=family,
        embedding=EmbeddingSpec(
            vocab_size=values["vocab_size"],
            width=width,
            positions=PositionSpec(max_positions=values["max_position_embeddings"]),
            pad_id=values["pad_token_id"],
            scale=values.get("scale_embedding", False),
            dropout=values.get("dropout", 0.1),
        ),
        tokens=TokenIds(
            pad=values["pad_token_id"],
            eos=values["eos_token_id"],
            bos=values.get("bos_token_id"),
            decoder_start=values["decoder_start_token_id"],
        ),
        encoder=stack("encoder", decoder=False),
        decoder=stack("decoder", decoder=True),
    )
