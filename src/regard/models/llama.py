"""Llama and its kin: Llama 2 and 3, SmolLM, Mistral, Qwen2, Qwen3 (Touvron et al. 2023; Jiang et al. 2023; Yang et al.
2024): pre-norm decoders with rms norms, rotary positions, grouped keys and gated feed-forwards."""

from typing import Any, NamedTuple

from regard.errors import CheckpointError
from regard.models.family import ACTIVATION_NAMES, Config, Family, label_config, with_own_table
from regard.models.rope import read_rope, rope_config
from regard.models.weights import Rule, StoredTensors, linear, norm, table
from regard.specs import Biases, EmbeddingSpec, HeadSpec, LayerSpec, ModelSpec, PositionSpec, StackSpec, TokenIds


class Kind(NamedTuple):
    """What sets one family of the line apart from another; sizes are its configuration's defaults."""

    name: str  # in the names of Transformers' classes
    bias: Biases | None = None  # of attention; None: as the config's attention_bias says
    query_key_norm: bool = False
    window: str = "none"  # of attention: "none", "all" layers, or those of some "types"
    kv_heads: int | None = None  # None: as many as heads
    head_width: int | None = None  # None: width / heads
    bos: int | None = None
    eos: int | None = None


KINDS = {
    "llama": Kind("Llama", bos=1, eos=2),
    "mistral": Kind("Mistral", bias="none", window="all", kv_heads=8, bos=1, eos=2),
    "qwen2": Kind("Qwen2", bias="input", window="types", kv_heads=32),
    "qwen3": Kind("Qwen3", query_key_norm=True, window="types", kv_heads=32, head_width=128),
}
ENDINGS = {"hidden": "Model", "language": "ForCausalLM", "sequence_class": "ForSequenceClassification"}
DEFAULT_WINDOW = 4096


def from_config(config: Config) -> ModelSpec:
    family = config["model_type"]
    kind, width, heads = KINDS[family], config["hidden_size"], config["num_attention_heads"]
    depth, max_positions = config["num_hidden_layers"], config.get("max_position_embeddings", 2048)
    embedding = EmbeddingSpec(
        vocab_size=config["vocab_size"],
        width=width,
        positions=PositionSpec("none", max_positions=max_positions),
        pad_id=config.get("pad_token_id"),
        scale=False,
        dropout=0.0,
    )
    window, unwindowed = _window(config, kind, depth)
    layer = LayerSpec(
        width=width,
        heads=heads,
        kv_heads=config.nullable("num_key_value_heads", kind.kv_heads),
        head_width=config.get("head_dim") or kind.head_width or config.head_width(width, heads),
        ffn_width=config["intermediate_size"],
        activation=config.activation("hidden_act", "silu"),
        gated=True,
        norm="rms",
        norm_order="pre",
        norm_epsilon=config.get("rms_norm_eps", 1e-6),
        attention_bias=kind.bias or ("all" if config.get("attention_bias", False) else "none"),
        feed_forward_bias=config.get("mlp_bias", False),
        query_key_norm=kind.query_key_norm,
        rotary=read_rope(config, max_positions),
        window=window,
        dropout=0.0,
        attention_dropout=config.get("attention_dropout", 0.0),
    )
    eos = config.eos if "eos_token_id" in config else kind.eos
    return ModelSpec(
        family=family,
        embedding=embedding,
        tokens=TokenIds(pad=embedding.pad_id, eos=eos, bos=config.nullable("bos_token_id", kind.bos)),
        decoder=StackSpec(layer, depth, final_norm=True, unwindowed=unwindowed),
        head=_head(config),
    )


def _window(config: Config, kind: Kind, depth: int) -> tuple[int | None, tuple[int, ...]]:
    """How far back attention looks, and in which layers it looks back all the way."""
    if kind.window == "none":
        return None, ()
    window = config.nullable("sliding_window", DEFAULT_WINDOW)
    if kind.window == "all":
        return window, ()
    if not config.get("use_sliding_window", False):
        window = None
    first = config.get("max_window_layers", 28)
    late = ["full_attention" if i < first or window is None else "sliding_attention" for i in range(depth)]
    types = config.get("layer_types", late)
    unknown = set(types) - {"full_attention", "sliding_attention"}
    if unknown or len(types) != depth:
        said = f"has {sorted(unknown)[0]!r}" if unknown else f"has {len(types)}"
        raise CheckpointError(
            f"config.json: layer_types must be full_attention or sliding_attention for {depth} layers, but {said}"
        )
    unwindowed = tuple(i for i, kind_of in enumerate(types) if kind_of == "full_attention")
    return (None, ()) if window is None or len(unwindowed) == depth else (window, unwindowed)


def _head(config: Config) -> HeadSpec:
    kind = config.head
    if kind == "sequence_class":
        return HeadSpec(kind, labels=config.labels, pool="last", problem=config.problem)
    return HeadSpec("language", tied=config.get("tie_word_embeddings", False)) if kind == "language" else HeadSpec()


def config(spec: ModelSpec) -> dict[str, Any]:
    assert spec.decoder is not None
    kind, layer = KINDS[spec.family], spec.decoder.layer
    assert layer.rotary is not None
    own: dict[str, Any] = {}
    if kind.bias is None:
        own["attention_bias"] = layer.attention_bias == "all"
    if spec.family == "llama":
        own["mlp_bias"] = layer.feed_forward_bias
    if kind.window != "none":
        own["sliding_window"] = layer.window
    if kind.window == "types":
        full = [layer.window is None or i in spec.decoder.unwindowed for i in range(spec.decoder.depth)]
        own["use_sliding_window"] = layer.window is not None
        own["layer_types"] = ["full_attention" if all_of_it else "sliding_attention" for all_of_it in full]
    return {
        "architectures": [kind.name + ENDINGS[spec.output.kind]],
        "model_type": spec.family,
        "vocab_size": spec.text.vocab_size,
        "hidden_size": layer.width,
        "intermediate_size": layer.ffn_width,
        "num_hidden_layers": spec.decoder.depth,
        "num_attention_heads": layer.heads,
        "num_key_value_heads": layer.kv_heads,
        "head_dim": layer.head_width,
        "hidden_act": ACTIVATION_NAMES[layer.activation],
        "max_position_embeddings": spec.text.positions.max_positions,
        "rms_norm_eps": layer.norm_epsilon,
        "rope_parameters": rope_config(layer.rotary),
        "attention_dropout": layer.attention_dropout,
        "pad_token_id": spec.tokens.pad,
        "bos_token_id": spec.tokens.bos,
        "eos_token_id": list(spec.tokens.eos) if isinstance(spec.tokens.eos, tuple) else spec.tokens.eos,
        "tie_word_embeddings": spec.output.tied,
        **own,
        **label_config(spec.output),
    }


def rules(spec: ModelSpec) -> list[Rule]:
    assert spec.decoder is not None
    width, vocab_size, head = spec.text.width, spec.text.vocab_size, spec.output
    base = "" if head.kind == "hidden" else "model."
    found = [table("decoder/embedding/table", f"{base}embed_tokens.weight", vocab_size, width)]
    for i in range(spec.decoder.depth):
        found += _layer(f"decoder/layer_{i}", f"{base}layers.{i}", spec.decoder.layer)
    found += norm("decoder/final_norm", f"{base}norm", width, "rms")
    if head.kind == "sequence_class":
        found += linear("head/output", ("score",), width, head.labels, bias=False)
    if head.kind == "language" and not head.tied:
        found += linear("head/output", ("lm_head",), width, vocab_size, bias=False)
    return found


def _layer(ours: str, theirs: str, layer: LayerSpec) -> list[Rule]:
    width, inner, kv_width = layer.width, layer.heads * layer.head_width, layer.keys_heads * layer.head_width
    attention, mlp = f"{theirs}.self_attn", f"{theirs}.mlp"
    input_bias, output_bias = layer.attention_bias in ("all", "input"), layer.attention_bias in ("all", "output")
    projections = tuple(f"{attention}.{part}_proj" for part in "qkv")
    found = [
        *norm(f"{ours}/self_attention_norm", f"{theirs}.input_layernorm", width, "rms"),
        *linear(
            f"{ours}/self_attention/query_key_value", projections, width, inner, kv_width, kv_width, bias=input_bias
        ),
        *linear(f"{ours}/self_attention/output", (f"{attention}.o_proj",), inner, width, bias=output_bias),
        *norm(f"{ours}/feed_forward_norm", f"{theirs}.post_attention_layernorm", width, "rms"),
    ]
    if layer.query_key_norm:
        found += norm(f"{ours}/self_attention/query_norm", f"{attention}.q_norm", layer.head_width, "rms")
        found += norm(f"{ours}/self_attention/key_norm", f"{attention}.k_norm", layer.head_width, "rms")
    gate_up, bias = (f"{mlp}.gate_proj", f"{mlp}.up_proj"), layer.feed_forward_bias
    found += linear(f"{ours}/feed_forward/gate_up", gate_up, width, layer.ffn_width, bias=bias)
    return found + linear(f"{ours}/feed_forward/down", (f"{mlp}.down_proj",), layer.ffn_width, width, bias=bias)


def adapt(spec: ModelSpec, tensors: StoredTensors) -> ModelSpec:
    """Whether a language model has a table of its own to predict with."""
    return with_own_table(spec, tensors, "lm_head.weight", "model.embed_tokens.weight")


LLAMA = Family(
    from_config,
    config,
    rules,
    adapt,
    redundant=(r"lm_head\.weight", r".*\.rotary_emb\.inv_freq"),
    prefix="model.",
)
