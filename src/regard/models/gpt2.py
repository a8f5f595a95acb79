"""GPT-2 (Radford et al. 2019): a pre-norm decoder with learned positions."""

from typing import Any

from regard.models.family import ACTIVATION_NAMES, Config, Family, label_config, with_own_table
from regard.models.weights import Rule, StoredTensors, linear, norm, table
from regard.specs import EmbeddingSpec, HeadSpec, LayerSpec, ModelSpec, PositionSpec, StackSpec, TokenIds

ARCHITECTURES = {
    "hidden": "GPT2Model",
    "language": "GPT2LMHeadModel",
    "sequence_class": "GPT2ForSequenceClassification",
}
END_OF_TEXT = 50256  # the id of <|endoftext|>, which ends a text and begins one


def from_config(config: Config) -> ModelSpec:
    width, heads, vocab_size = config.get("n_embd", 768), config.get("n_head", 12), config.get("vocab_size", 50257)
    positions = PositionSpec("learned", max_positions=config.get("n_positions", 1024))
    pad = config.get("pad_token_id")
    embedding = EmbeddingSpec(
        vocab_size=vocab_size,
        width=width,
        positions=positions,
        pad_id=pad,
        scale=False,
        dropout=config.get("embd_pdrop", 0.1),
    )
    layer = LayerSpec(
        width=width,
        heads=heads,
        head_width=config.head_width(width, heads),
        ffn_width=config.get("n_inner", 4 * width),
        activation=config.activation("activation_function", "gelu_new"),
        norm_order="pre",
        norm_epsilon=config.get("layer_norm_epsilon", 1e-5),
        attention_scale=None if config.get("scale_attn_weights", True) else 1.0,
        scale_by_layer=config.get("scale_attn_by_inverse_layer_idx", False),
        dropout=config.get("resid_pdrop", 0.1),
        attention_dropout=config.get("attn_pdrop", 0.1),
        cross_attention=config.get("add_cross_attention", False),
    )
    return ModelSpec(
        family="gpt2",
        embedding=embedding,
        tokens=TokenIds(pad, *(_token(config, key, vocab_size) for key in ("eos_token_id", "bos_token_id"))),
        decoder=StackSpec(layer, config.get("n_layer", 12), final_norm=True),
        head=_head(config),
    )


def _token(config: Config, key: str, vocab_size: int) -> Any:
    """One id, several, or None. What is beyond the vocabulary, as the default is in a small model, ends and begins
    nothing: it is kept as it is, unread."""
    said = config.nullable(key, END_OF_TEXT)
    listed = said if isinstance(said, list) else [said]
    known = [token for token in listed if type(token) is not int or token < vocab_size]
    if len(known) < len(listed):
        config.read.discard(key)
    if isinstance(said, list):
        return tuple(known) or None
    return known[0] if known else None


def _head(config: Config) -> HeadSpec:
    kind = config.head
    if kind == "sequence_class":
        return HeadSpec(kind, labels=config.labels, pool="last", problem=config.problem)
    return HeadSpec("language", tied=config.get("tie_word_embeddings", True)) if kind == "language" else HeadSpec()


def config(spec: ModelSpec) -> dict[str, Any]:
    assert spec.decoder is not None
    embedding, layer = spec.text, spec.decoder.layer
    return {
        "architectures": [ARCHITECTURES[spec.output.kind]],
        "model_type": "gpt2",
        "vocab_size": embedding.vocab_size,
        "n_positions": embedding.positions.max_positions,
        "n_embd": layer.width,
        "n_layer": spec.decoder.depth,
        "n_head": layer.heads,
        "n_inner": None if layer.ffn_width == 4 * layer.width else layer.ffn_width,
        "activation_function": ACTIVATION_NAMES[layer.activation],
        "layer_norm_epsilon": layer.norm_epsilon,
        "scale_attn_weights": layer.attention_scale is None,
        "scale_attn_by_inverse_layer_idx": layer.scale_by_layer,
        "resid_pdrop": layer.dropout,
        "embd_pdrop": embedding.dropout,
        "attn_pdrop": layer.attention_dropout,
        "bos_token_id": spec.tokens.bos,
        "eos_token_id": spec.tokens.eos,
        "pad_token_id": spec.tokens.pad,
        "add_cross_attention": layer.cross_attention,
        "tie_word_embeddings": spec.output.tied,
        **label_config(spec.output),
    }


def rules(spec: ModelSpec) -> list[Rule]:
    base = "" if spec.output.kind == "hidden" else "transformer."
    return decoder_rules(spec, base) + _head_rules(spec)


def decoder_rules(spec: ModelSpec, base: str) -> list[Rule]:
    """The decoder's variables under names that begin with `base`; with cross-attention where the spec has it."""
    assert spec.decoder is not None
    width = spec.text.width
    found = [
        table("decoder/embedding/table", f"{base}wte.weight", spec.text.vocab_size, width),
        table("decoder/stem/positions/table", f"{base}wpe.weight", spec.text.positions.max_positions, width),
    ]
    for i in range(spec.decoder.depth):
        found += _layer(f"decoder/layer_{i}", f"{base}h.{i}", spec.decoder.layer)
    return found + norm("decoder/final_norm", f"{base}ln_f", width)


def _layer(ours: str, theirs: str, layer: LayerSpec) -> list[Rule]:
    width = layer.width
    found = [
        *norm(f"{ours}/self_attention_norm", f"{theirs}.ln_1", width),
        *_stored_as_ours(f"{ours}/self_attention/query_key_value", f"{theirs}.attn.c_attn", width, 3 * width),
        *_stored_as_ours(f"{ours}/self_attention/output", f"{theirs}.attn.c_proj", width, width),
        *norm(f"{ours}/feed_forward_norm", f"{theirs}.ln_2", width),
        *_stored_as_ours(f"{ours}/feed_forward/up", f"{theirs}.mlp.c_fc", width, layer.ffn_width),
        *_stored_as_ours(f"{ours}/feed_forward/down", f"{theirs}.mlp.c_proj", layer.ffn_width, width),
    ]
    if layer.cross_attention:
        found += [
            *norm(f"{ours}/cross_attention_norm", f"{theirs}.ln_cross_attn", width),
            *_stored_as_ours(f"{ours}/cross_attention/query", f"{theirs}.crossattention.q_attn", width, width),
            *_stored_as_ours(f"{ours}/cross_attention/key_value", f"{theirs}.crossattention.c_attn", width, 2 * width),
            *_stored_as_ours(f"{ours}/cross_attention/output", f"{theirs}.crossattention.c_proj", width, width),
        ]
    return found


def _stored_as_ours(path: str, name: str, in_width: int, out_width: int) -> list[Rule]:
    """GPT-2 stores kernels (in, out), and queries, keys and values side by side already."""
    return [
        Rule(f"{path}/kernel", (f"{name}.weight",), (in_width, out_width)),
        Rule(f"{path}/bias", (f"{name}.bias",), (out_width,)),
    ]


def _head_rules(spec: ModelSpec) -> list[Rule]:
    head, width = spec.output, spec.text.width
    if head.kind == "sequence_class":
        return linear("head/output", ("score",), width, head.labels, bias=False)
    if head.kind == "language" and not head.tied:
        return linear("head/output", ("lm_head",), width, spec.text.vocab_size, bias=False)
    return []


def adapt(spec: ModelSpec, tensors: StoredTensors) -> ModelSpec:
    """Whether a language model has a table of its own to predict with."""
    return with_own_table(spec, tensors, "lm_head.weight", "transformer.wte.weight")


GPT2 = Family(
    from_config,
    config,
    rules,
    adapt,
    redundant=(r"lm_head\.weight", r"(transformer\.)?h\.\d+\.(attn|crossattention)\.(masked_)?bias"),
    prefix="transformer.",
)
