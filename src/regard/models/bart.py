"""BART's line of encoder-decoders: BART, mBART, M2M-100 and NLLB, Marian, Pegasus (Lewis et al. 2020; Liu et al. 2020;
Fan et al. 2021; Junczys-Dowmunt et al. 2018; Zhang et al. 2020). One network, and a few choices that tell them apart.

`normalize_before`, `normalize_embedding`, `static_position_embeddings` and their like, which older configs have, say
again what the family's name says; as in Transformers, the name decides.
"""

from dataclasses import replace
from typing import Any, NamedTuple

from regard.errors import CheckpointError, ConfigError
from regard.models.family import ACTIVATION_NAMES, Config
from regard.specs import (
    Activation,
    EmbeddingSpec,
    HeadKind,
    HeadSpec,
    LayerSpec,
    ModelSpec,
    NormOrder,
    PositionSpec,
    StackSpec,
    TokenIds,
)


class Kind(NamedTuple):
    """What sets one family of the line apart from another. Ids, rates and `scale` are its configuration's defaults."""

    name: str  # in the names of Transformers' classes
    norm_order: NormOrder  # before a sublayer: then with a last norm on each side
    positions: PositionSpec
    tokens: TokenIds
    language: str = "ForConditionalGeneration"  # how the name of the class that generates ends
    after_padding: bool = False  # position 0 stands after the padding's row, wherever that is
    embedding_norm: bool = False
    logits_bias: bool = True  # has final_logits_bias, and a forced_eos_token_id
    separable: bool = False  # says whether its sides share a table
    start_from_labels: bool = False
    stores_sinusoids: tuple[HeadKind, ...] = ()  # the heads with which the file has them
    activation: Activation = "gelu"
    scale: bool = False
    attention_dropout: float = 0.0


_OFFSET = PositionSpec("learned", offset=2)
_FAIRSEQ = TokenIds(pad=1, eos=2, bos=0, decoder_start=2)
KINDS = {
    "bart": Kind("Bart", "post", _OFFSET, _FAIRSEQ, embedding_norm=True),
    "mbart": Kind(
        "MBart",
        "pre",
        _OFFSET,
        replace(_FAIRSEQ, decoder_start=None),
        embedding_norm=True,
        start_from_labels=True,
    ),
    "m2m_100": Kind(
        "M2M100",
        "pre",
        PositionSpec(rates="tensor2tensor"),
        _FAIRSEQ,
        after_padding=True,
        logits_bias=False,
        activation="relu",
        scale=True,
        attention_dropout=0.1,
    ),
    "marian": Kind(
        "Marian",
        "post",
        PositionSpec(),
        TokenIds(pad=58100, eos=0, decoder_start=58100),
        language="MTModel",
        separable=True,
        stores_sinusoids=("hidden",),
    ),
    "pegasus": Kind(
        "Pegasus",
        "pre",
        PositionSpec(),
        TokenIds(pad=0, eos=1, decoder_start=0),
        stores_sinusoids=("hidden", "language"),
    ),
}


def from_config(config: Config) -> ModelSpec:
    kind, tied = KINDS[config["model_type"]], config.get("tie_word_embeddings", True)
    tokens, head, shared = _tokens(config, kind.tokens), _head(config), not kind.separable or _shares(config)
    source = config["vocab_size"]
    target = source if shared else config.get("decoder_vocab_size", source)
    offset = tokens.pad + 1 if kind.after_padding and tokens.pad is not None else kind.positions.offset
    most, skips = config.get("max_position_embeddings", 1024), kind.after_padding and tokens.pad is not None
    embedding = EmbeddingSpec(
        vocab_size=target,
        width=config["d_model"],
        positions=replace(kind.positions, offset=offset, max_positions=most, skips_padding=skips),
        pad_id=tokens.pad,
        scale=config.get("scale_embedding", kind.scale),
        dropout=config.get("dropout", 0.1),
        norm=kind.embedding_norm,
    )
    return ModelSpec(
        family=config["model_type"],
        embedding=embedding,
        tokens=tokens,
        encoder=_stack(config, kind, "encoder"),
        decoder=_stack(config, kind, "decoder"),
        head=HeadSpec(head) if head == "hidden" else HeadSpec(head, tied=tied),
        shared_embedding=tied and shared,
        source_vocab_size=None if source == target else source,
        start_from_labels=kind.start_from_labels,
    )


def _tokens(config: Config, default: TokenIds) -> TokenIds:
    bos = config.nullable("bos_token_id", default.bos)
    start = config.nullable("decoder_start_token_id", default.decoder_start)
    return TokenIds(
        pad=config.nullable("pad_token_id", default.pad),
        eos=config.eos if "eos_token_id" in config else default.eos,
        bos=bos,
        decoder_start=bos if start is None else start,  # as `generate` has it: mBART need not name one
    )


def _head(config: Config) -> HeadKind:
    kind = config.head if config.architecture else "language"
    if kind not in ("hidden", "language") or config.architecture.endswith("ForCausalLM"):
        name = KINDS[config["model_type"]].name
        raise CheckpointError(
            f"config.json: {config.architecture} is not supported: of this family are {name}Model and the one that "
            'generates; head="new" or "none" needs one of these names in architectures, too'
        )
    return kind


def _shares(config: Config) -> bool:
    """Whether Marian's sides share a table, and a vocabulary: then decoder_vocab_size says nothing."""
    config.read.add("decoder_vocab_size")
    return bool(config.get("share_encoder_decoder_embeddings", True))


def _stack(config: Config, kind: Kind, side: str) -> StackSpec:
    width, heads = config["d_model"], config[f"{side}_attention_heads"]
    if heads < 1 or width % heads:
        raise CheckpointError(f"config.json: d_model ({width}) must be a multiple of {side}_attention_heads ({heads})")
    layer = LayerSpec(
        width=width,
        heads=heads,
        head_width=width // heads,
        ffn_width=config[f"{side}_ffn_dim"],
        activation=config.activation("activation_function", ACTIVATION_NAMES[kind.activation]),
        norm_order=kind.norm_order,
        dropout=config.get("dropout", 0.1),
        attention_dropout=config.get("attention_dropout", kind.attention_dropout),
        activation_dropout=config.get("activation_dropout", 0.0),
        cross_attention=side == "decoder",
    )
    return StackSpec(layer, config[f"{side}_layers"], final_norm=kind.norm_order == "pre")


def config(spec: ModelSpec) -> dict[str, Any]:
    kind, embedding, tokens = KINDS[spec.family], spec.text, spec.tokens
    if spec.encoder is None or spec.decoder is None:
        raise ConfigError(f"{spec.family} is an encoder-decoder, but this model is an {spec.form}: it cannot be saved")
    if embedding.positions.layout != "halves":
        raise ConfigError(
            f"{spec.family}'s layout has its sinusoids in halves, but this model's are "
            f"{embedding.positions.layout}: it cannot be saved"
        )
    layer = spec.encoder.layer
    return {
        "architectures": [kind.name + ("Model" if spec.output.kind == "hidden" else kind.language)],
        "model_type": spec.family,
        "is_encoder_decoder": True,
        "vocab_size": spec.source_text.vocab_size,
        "d_model": embedding.width,
        "max_position_embeddings": embedding.positions.max_positions,
        "scale_embedding": embedding.scale,
        "activation_function": ACTIVATION_NAMES[layer.activation],
        "dropout": layer.dropout,
        "attention_dropout": layer.attention_dropout,
        "activation_dropout": layer.activation_dropout,
        **_side_config("encoder", spec.encoder),
        **_side_config("decoder", spec.decoder),
        "pad_token_id": tokens.pad,
        "bos_token_id": tokens.bos,
        "eos_token_id": tokens.eos,
        "decoder_start_token_id": tokens.decoder_start,
        # False would take the sides' tables apart, too; a head of its own is told by its tensor.
        "tie_word_embeddings": spec.shared_embedding or (kind.separable and spec.output.tied),
        **({"forced_eos_token_id": tokens.eos} if kind.logits_bias else {}),
        **({"decoder_vocab_size": embedding.vocab_size} if kind.separable else {}),
        **({"share_encoder_decoder_embeddings": spec.shared_embedding} if kind.separable else {}),
    }


def _side_config(side: str, stack: StackSpec) -> dict[str, int]:
    return {
        f"{side}_layers": stack.depth,
        f"{side}_attention_heads": stack.layer.heads,
        f"{side}_ffn_dim": stack.layer.ffn_width,
    }
