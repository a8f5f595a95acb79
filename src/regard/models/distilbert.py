"""DistilBERT (Sanh et al. 2019): BERT without token types and pooler, at half the depth."""

from typing import Any

from regard.models.bert import ENDINGS
from regard.models.family import ACTIVATION_NAMES, LEGACY_NORMS, Config, Family, label_config, with_own_table
from regard.models.weights import Rule, StoredTensors, linear, norm, table
from regard.specs import EmbeddingSpec, HeadSpec, LayerSpec, ModelSpec, PositionSpec, StackSpec, TokenIds

EPSILON = 1e-12  # the configuration has no key for it


def from_config(config: Config) -> ModelSpec:
    width, heads, dropout = config.get("dim", 768), config.get("n_heads", 12), config.get("dropout", 0.1)
    pad, fixed = config.nullable("pad_token_id", 0), config.get("sinusoidal_pos_embds", False)
    embedding = EmbeddingSpec(
        vocab_size=config.get("vocab_size", 30522),
        width=width,
        positions=PositionSpec(
            "stored" if fixed else "learned",  # sinusoids are in the file as well
            layout="interleaved" if fixed else "halves",
            max_positions=config.get("max_position_embeddings", 512),
        ),
        pad_id=pad,
        scale=False,
        dropout=dropout,
        norm=True,
        norm_epsilon=EPSILON,
    )
    layer = LayerSpec(
        width=width,
        heads=heads,
        head_width=config.head_width(width, heads),
        ffn_width=config.get("hidden_dim", 4 * 768),
        activation=config.activation("activation", "gelu"),
        norm_epsilon=EPSILON,
        dropout=dropout,
        attention_dropout=config.get("attention_dropout", 0.1),
    )
    return ModelSpec(
        family="distilbert",
        embedding=embedding,
        tokens=TokenIds(pad=pad, eos=config.eos, bos=config.get("bos_token_id")),
        encoder=StackSpec(layer, config.get("n_layers", 6)),
        head=_head(config, layer),
    )


def _head(config: Config, layer: LayerSpec) -> HeadSpec:
    kind, dropout = config.head, config.get("seq_classif_dropout", 0.2)
    if kind == "masked_language":
        tied = config.get("tie_word_embeddings", True)
        return HeadSpec(kind, dense=layer.activation, bias=True, tied=tied, norm_epsilon=EPSILON)
    if kind == "sequence_class":
        labels, problem = config.labels, config.problem
        return HeadSpec(kind, labels=labels, dense="relu", bias=True, problem=problem, dropout=dropout)
    if kind == "token_class":
        return HeadSpec(kind, labels=config.labels, bias=True, dropout=layer.dropout)
    return HeadSpec("span", dropout=config.get("qa_dropout", 0.1)) if kind == "span" else HeadSpec()


def config(spec: ModelSpec) -> dict[str, Any]:
    assert spec.encoder is not None
    layer, head = spec.encoder.layer, spec.output
    own = {"sequence_class": {"seq_classif_dropout": head.dropout}, "span": {"qa_dropout": head.dropout}}
    return {
        "architectures": ["DistilBert" + ENDINGS[head.kind]],
        "model_type": "distilbert",
        "vocab_size": spec.text.vocab_size,
        "dim": layer.width,
        "n_layers": spec.encoder.depth,
        "n_heads": layer.heads,
        "hidden_dim": layer.ffn_width,
        "activation": ACTIVATION_NAMES[layer.activation],
        "dropout": layer.dropout,
        "attention_dropout": layer.attention_dropout,
        "max_position_embeddings": spec.text.positions.max_positions,
        "sinusoidal_pos_embds": spec.text.positions.kind == "stored",
        "pad_token_id": spec.tokens.pad,
        "bos_token_id": spec.tokens.bos,
        "eos_token_id": spec.tokens.eos,
        "tie_word_embeddings": head.tied,
        **own.get(head.kind, {}),
        **label_config(head),
    }


def rules(spec: ModelSpec) -> list[Rule]:
    assert spec.encoder is not None
    width = spec.text.width
    base = "" if spec.output.kind == "hidden" else "distilbert."
    rows = spec.text.positions.max_positions
    found = [
        table("encoder/embedding/table", f"{base}embeddings.word_embeddings.weight", spec.text.vocab_size, width),
        table("encoder/stem/positions/table", f"{base}embeddings.position_embeddings.weight", rows, width),
        *norm("encoder/stem/norm", f"{base}embeddings.LayerNorm", width),
    ]
    for i in range(spec.encoder.depth):
        found += _layer(f"encoder/layer_{i}", f"{base}transformer.layer.{i}", spec.encoder.layer)
    return found + _head_rules(spec)


def _layer(ours: str, theirs: str, layer: LayerSpec) -> list[Rule]:
    width, attention = layer.width, f"{theirs}.attention"
    projections = tuple(f"{attention}.{part}_lin" for part in "qkv")
    return [
        *linear(f"{ours}/self_attention/query_key_value", projections, width, width),
        *linear(f"{ours}/self_attention/output", (f"{attention}.out_lin",), width, width),
        *norm(f"{ours}/self_attention_norm", f"{theirs}.sa_layer_norm", width),
        *linear(f"{ours}/feed_forward/up", (f"{theirs}.ffn.lin1",), width, layer.ffn_width),
        *linear(f"{ours}/feed_forward/down", (f"{theirs}.ffn.lin2",), layer.ffn_width, width),
        *norm(f"{ours}/feed_forward_norm", f"{theirs}.output_layer_norm", width),
    ]


def _head_rules(spec: ModelSpec) -> list[Rule]:
    head, width, vocab_size = spec.output, spec.text.width, spec.text.vocab_size
    if head.kind == "masked_language":
        found = [
            *linear("head/dense", ("vocab_transform",), width, width),
            *norm("head/norm", "vocab_layer_norm", width),
            Rule("head/bias", ("vocab_projector.bias",), (vocab_size,)),
        ]
        own = [] if head.tied else linear("head/output", ("vocab_projector",), width, vocab_size, bias=False)
        return found + own
    if head.kind == "span":
        return linear("head/output", ("qa_outputs",), width, 2)
    dense = linear("head/dense", ("pre_classifier",), width, width) if head.dense else []
    return dense + (linear("head/output", ("classifier",), width, head.labels) if head.labels else [])


def adapt(spec: ModelSpec, tensors: StoredTensors) -> ModelSpec:
    """Whether a masked language model has a table of its own to predict with."""
    return with_own_table(spec, tensors, "vocab_projector.weight", "distilbert.embeddings.word_embeddings.weight")


DISTILBERT = Family(
    from_config,
    config,
    rules,
    adapt,
    redundant=(r"(distilbert\.)?embeddings\.position_ids", r"vocab_projector\.weight"),
    renames=LEGACY_NORMS,
    prefix="distilbert.",
)
