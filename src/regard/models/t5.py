"""T5 (Raffel et al. 2020), its version 1.1 and Flan-T5, mT5 (Xue et al. 2021): rms norms before each sublayer, relative
positions in the scores, no biases, and scores that are not scaled."""

from dataclasses import replace
from typing import Any

from regard.errors import CheckpointError, ConfigError
from regard.models.family import ACTIVATION_NAMES, Config, Family
from regard.models.weights import Rule, StoredTensors, linear, norm, same, table
from regard.specs import (
    Activation,
    EmbeddingSpec,
    HeadSpec,
    LayerSpec,
    ModelSpec,
    PositionSpec,
    RelativeSpec,
    StackSpec,
    TokenIds,
)

NAMES = {"t5": "T5", "mt5": "MT5"}
PROJECTIONS = {"t5": "relu", "mt5": "gated-gelu"}  # where the config says none
ENCODER = "EncoderModel"


def from_config(config: Config) -> ModelSpec:
    _check_architecture(config)
    pad, decoder = config.nullable("pad_token_id", 0), None
    embedding = EmbeddingSpec(
        vocab_size=config["vocab_size"],
        width=config["d_model"],
        positions=PositionSpec("none"),
        pad_id=pad,
        scale=False,
        dropout=config.get("dropout_rate", 0.1),
    )
    if not config.architecture.endswith(ENCODER):
        decoder = _stack(config, config.get("num_decoder_layers", config["num_layers"]), decoder=True)
    return ModelSpec(
        family=config["model_type"],
        embedding=embedding,
        tokens=TokenIds(
            pad=pad,
            eos=config.eos if "eos_token_id" in config else 1,
            bos=config.get("bos_token_id"),
            decoder_start=config.get("decoder_start_token_id", pad),
        ),
        encoder=_stack(config, config["num_layers"], decoder=False),
        decoder=decoder,
        head=HeadSpec() if config.architecture and config.head == "hidden" else _language_head(config),
    )


def _check_architecture(config: Config) -> None:
    if config.architecture and config.head not in ("hidden", "language"):
        name = NAMES[config["model_type"]]
        raise CheckpointError(
            f"config.json: {config.architecture} is not supported: of this family are {name}Model, {name}{ENCODER} "
            f"and {name}ForConditionalGeneration"
        )


def _stack(config: Config, depth: int, decoder: bool) -> StackSpec:
    activation, gated = _feed_forward(config)
    dropout = config.get("dropout_rate", 0.1)
    layer = LayerSpec(
        width=config["d_model"],
        heads=config["num_heads"],
        head_width=config["d_kv"],
        ffn_width=config["d_ff"],
        activation=activation,
        gated=gated,
        norm="rms",
        norm_order="pre",
        norm_epsilon=config.get("layer_norm_epsilon", 1e-6),
        attention_bias="none",
        feed_forward_bias=False,
        attention_scale=1.0,
        dropout=dropout,
        attention_dropout=dropout,
        activation_dropout=dropout,
        cross_attention=decoder,
    )
    relative = RelativeSpec(
        buckets=config.get("relative_attention_num_buckets", 32),
        max_distance=config.get("relative_attention_max_distance", 128),
    )
    return StackSpec(layer, depth, final_norm=True, relative=relative)


def _feed_forward(config: Config) -> tuple[Activation, bool]:
    """The activation, and whether it gates. "gated-gelu" has always meant the tanh approximation; `dense_act_fn` and
    `is_gated_act`, which older configs lack, come before it."""
    said = config.get("feed_forward_proj", PROJECTIONS[config["model_type"]])
    first, *rest = said.split("-")
    if len(rest) > 1 or (rest and first != "gated"):
        raise CheckpointError(f"config.json: feed_forward_proj must be ACTIVATION or gated-ACTIVATION, but is {said!r}")
    name = "gelu_new" if said == "gated-gelu" else said.removeprefix("gated-")
    return config.activation("dense_act_fn", name), bool(config.get("is_gated_act", first == "gated"))


def _language_head(config: Config) -> HeadSpec:
    """T5 before 1.1 predicts with the embedding's table, from hidden states that are scaled; mT5's never are."""
    tied = config.get("tie_word_embeddings", True)
    scaled = config["model_type"] == "t5" and config.get("scale_decoder_outputs", tied)
    return HeadSpec("language", tied=tied, scale=config["d_model"] ** -0.5 if scaled else 1.0)


def config(spec: ModelSpec) -> dict[str, Any]:
    if spec.encoder is None:
        raise ConfigError(f"{spec.family} has an encoder, but this model is a {spec.form}: it cannot be saved")
    layer, relative, head = spec.encoder.layer, spec.encoder.relative, spec.output
    if relative is None:
        raise ConfigError(f"{spec.family} has relative positions, but this model has none: it cannot be saved")
    activation = ACTIVATION_NAMES[layer.activation]
    projected = f"gated-{'gelu' if activation == 'gelu_new' else activation}" if layer.gated else activation
    kind = "ForConditionalGeneration" if head.kind == "language" else "Model" if spec.decoder else ENCODER
    return {
        "architectures": [NAMES[spec.family] + kind],
        "model_type": spec.family,
        "is_encoder_decoder": spec.decoder is not None,
        "vocab_size": spec.text.vocab_size,
        "d_model": layer.width,
        "d_kv": layer.head_width,
        "d_ff": layer.ffn_width,
        "num_heads": layer.heads,
        "num_layers": spec.encoder.depth,
        **({} if spec.decoder is None else {"num_decoder_layers": spec.decoder.depth}),
        "relative_attention_num_buckets": relative.buckets,
        "relative_attention_max_distance": relative.max_distance,
        "feed_forward_proj": projected,
        "dense_act_fn": activation,
        "is_gated_act": layer.gated,
        "layer_norm_epsilon": layer.norm_epsilon,
        "dropout_rate": layer.dropout,
        "pad_token_id": spec.tokens.pad,
        "eos_token_id": spec.tokens.eos,
        "bos_token_id": spec.tokens.bos,
        "decoder_start_token_id": spec.tokens.decoder_start,
        "tie_word_embeddings": head.tied,
        **({"scale_decoder_outputs": head.scale != 1} if spec.family == "t5" and head.kind == "language" else {}),
    }


def rules(spec: ModelSpec) -> list[Rule]:
    vocab_size, width = spec.text.vocab_size, spec.text.width
    found = [table("encoder/embedding/table", "shared.weight", vocab_size, width)]
    for side, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        found += [] if stack is None else _side(side, stack)
    if spec.output.kind == "language" and not spec.output.tied:
        found += linear("head/output", ("lm_head",), width, vocab_size, bias=False)
    return found


def _side(side: str, stack: StackSpec) -> list[Rule]:
    assert stack.relative is not None
    first = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    found = [table(f"{side}/relative_bias/table", first, stack.relative.buckets, stack.layer.heads)]
    for i in range(stack.depth):
        found += _layer(f"{side}/layer_{i}", f"{side}.block.{i}.layer", stack.layer)
    return found + norm(f"{side}/final_norm", f"{side}.final_layer_norm", stack.layer.width, "rms")


def _layer(ours: str, theirs: str, layer: LayerSpec) -> list[Rule]:
    """Sublayers are numbered: 0 attends to itself, 1 to the memory where there is one, and the last feeds forward."""
    width, inner = layer.width, layer.heads * layer.head_width
    own, crossed = f"{theirs}.0.SelfAttention", f"{theirs}.1.EncDecAttention"
    found = [
        *_linear(f"{ours}/self_attention/query_key_value", (f"{own}.q", f"{own}.k", f"{own}.v"), width, inner),
        *_linear(f"{ours}/self_attention/output", (f"{own}.o",), inner, width),
        *norm(f"{ours}/self_attention_norm", f"{theirs}.0.layer_norm", width, "rms"),
    ]
    if layer.cross_attention:
        found += [
            *_linear(f"{ours}/cross_attention/query", (f"{crossed}.q",), width, inner),
            *_linear(f"{ours}/cross_attention/key_value", (f"{crossed}.k", f"{crossed}.v"), width, inner),
            *_linear(f"{ours}/cross_attention/output", (f"{crossed}.o",), inner, width),
            *norm(f"{ours}/cross_attention_norm", f"{theirs}.1.layer_norm", width, "rms"),
        ]
    last = f"{theirs}.{2 if layer.cross_attention else 1}"
    dense = f"{last}.DenseReluDense"
    raised = ("gate_up", (f"{dense}.wi_0", f"{dense}.wi_1")) if layer.gated else ("up", (f"{dense}.wi",))
    return [
        *found,
        *_linear(f"{ours}/feed_forward/{raised[0]}", raised[1], width, layer.ffn_width),
        *_linear(f"{ours}/feed_forward/down", (f"{dense}.wo",), layer.ffn_width, width),
        *norm(f"{ours}/feed_forward_norm", f"{last}.layer_norm", width, "rms"),
    ]


def _linear(path: str, names: tuple[str, ...], in_width: int, width: int) -> list[Rule]:
    return linear(path, names, in_width, width, bias=False)


def adapt(spec: ModelSpec, tensors: StoredTensors) -> ModelSpec:
    """Two tables that differ are two, whatever the config says; and one is one."""
    if spec.output.kind != "language":
        return spec
    tied = "lm_head.weight" not in tensors or same(tensors, "lm_head.weight", "shared.weight")
    return replace(spec, head=replace(spec.output, tied=tied))


T5 = Family(
    from_config,
    config,
    rules,
    adapt,
    redundant=(
        r"lm_head\.weight",
        r"(encoder|decoder)\.embed_tokens\.weight",
        r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",  # nothing has read it, ever
    ),
    # One table under up to three names: where `shared.weight` is one of them, it is what counts, for it sorts last.
    renames=((r"^(encoder|decoder)\.embed_tokens\.weight$", "shared.weight"),),
)
