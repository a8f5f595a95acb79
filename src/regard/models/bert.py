"""BERT and RoBERTa (Devlin et al. 2019; Liu et al. 2019): one network, two ways to count places."""

from dataclasses import replace
from typing import Any

from regard.models.family import ACTIVATION_NAMES, LEGACY_NORMS, Config, Family, label_config, with_own_table
from regard.models.weights import Rule, StoredTensors, linear, norm, table
from regard.specs import EmbeddingSpec, HeadSpec, LayerSpec, ModelSpec, PositionSpec, StackSpec, TokenIds

ARCHITECTURES = {"bert": "Bert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta"}
PADS = {"bert": 0}  # where the config does not say; RoBERTa's is 1
ENDINGS = {
    "hidden": "Model",
    "masked_language": "ForMaskedLM",
    "sequence_class": "ForSequenceClassification",
    "token_class": "ForTokenClassification",
    "span": "ForQuestionAnswering",
}


def from_config(config: Config) -> ModelSpec:
    family, width = config["model_type"], config["hidden_size"]
    pad = config.nullable("pad_token_id", PADS.get(family, 1))
    heads, epsilon = config["num_attention_heads"], config.get("layer_norm_eps", 1e-12)
    dropout = config.get("hidden_dropout_prob", 0.1)
    offset = 0 if family == "bert" else (pad or 0) + 1  # RoBERTa's first token stands after the padding's place
    rows, skips = config["max_position_embeddings"], family != "bert" and pad is not None
    positions = PositionSpec("learned", offset=offset, max_positions=rows - offset, skips_padding=skips)
    embedding = EmbeddingSpec(
        vocab_size=config["vocab_size"],
        width=width,
        positions=positions,
        pad_id=pad,
        scale=False,
        dropout=dropout,
        token_types=config.get("type_vocab_size", 2),
        norm=True,
        norm_epsilon=epsilon,
    )
    layer = LayerSpec(
        width=width,
        heads=heads,
        head_width=config.head_width(width, heads),
        ffn_width=config["intermediate_size"],
        activation=config.activation("hidden_act", "gelu"),
        norm_epsilon=epsilon,
        dropout=dropout,
        attention_dropout=config.get("attention_probs_dropout_prob", 0.1),
    )
    return ModelSpec(
        family=family,
        embedding=embedding,
        tokens=TokenIds(pad=pad, eos=config.eos, bos=config.get("bos_token_id")),
        encoder=StackSpec(layer, config["num_hidden_layers"]),
        head=_head(config, layer, config.get("classifier_dropout", dropout)),
    )


def _head(config: Config, layer: LayerSpec, dropout: float) -> HeadSpec:
    kind = config.head
    if kind == "masked_language":
        dense = layer.activation if config["model_type"] == "bert" else "gelu"
        tied = config.get("tie_word_embeddings", True)
        return HeadSpec(kind, dense=dense, bias=True, tied=tied, norm_epsilon=layer.norm_epsilon)
    if kind == "sequence_class":
        labels, problem = config.labels, config.problem
        return HeadSpec(kind, labels=labels, dense="tanh", bias=True, problem=problem, dropout=dropout)
    if kind == "token_class":
        return HeadSpec(kind, labels=config.labels, bias=True, dropout=dropout)
    return HeadSpec("span") if kind == "span" else HeadSpec("hidden", dense="tanh")


def config(spec: ModelSpec) -> dict[str, Any]:
    assert spec.encoder is not None
    embedding, layer, head = spec.text, spec.encoder.layer, spec.output
    return {
        "architectures": [ARCHITECTURES[spec.family] + ENDINGS[head.kind]],
        "model_type": spec.family,
        **stack_config(embedding, spec.encoder),
        "classifier_dropout": head.dropout if head.labels and head.dropout != layer.dropout else None,
        "pad_token_id": spec.tokens.pad,
        "bos_token_id": spec.tokens.bos,
        "eos_token_id": spec.tokens.eos,
        "tie_word_embeddings": head.tied,
        **label_config(head),
    }


def stack_config(embedding: EmbeddingSpec, stack: StackSpec) -> dict[str, Any]:
    """What config.json says of the embedding and the layers."""
    layer = stack.layer
    return {
        "vocab_size": embedding.vocab_size,
        "hidden_size": layer.width,
        "num_hidden_layers": stack.depth,
        "num_attention_heads": layer.heads,
        "intermediate_size": layer.ffn_width,
        "hidden_act": ACTIVATION_NAMES[layer.activation],
        "hidden_dropout_prob": layer.dropout,
        "attention_probs_dropout_prob": layer.attention_dropout,
        "max_position_embeddings": embedding.positions.max_positions + embedding.positions.offset,
        "type_vocab_size": embedding.token_types,
        "layer_norm_eps": layer.norm_epsilon,
    }


def rules(spec: ModelSpec) -> list[Rule]:
    assert spec.encoder is not None
    bare = "bert" if spec.family == "bert" else "roberta"
    found = stack_rules("encoder", "" if spec.output.kind == "hidden" else f"{bare}.", spec.text, spec.encoder)
    return found + (_bert_head(spec) if bare == "bert" else _roberta_head(spec))


def stack_rules(side: str, base: str, embedding: EmbeddingSpec, stack: StackSpec) -> list[Rule]:
    """The embedding and the layers of a side, "encoder" or "decoder", under names that begin with `base`; with
    cross-attention where the layers have it."""
    tables, width = f"{base}embeddings", embedding.width
    rows = embedding.positions.max_positions + embedding.positions.offset
    found = [
        table(f"{side}/embedding/table", f"{tables}.word_embeddings.weight", embedding.vocab_size, width),
        table(f"{side}/stem/positions/table", f"{tables}.position_embeddings.weight", rows, width),
        table(f"{side}/stem/token_types", f"{tables}.token_type_embeddings.weight", embedding.token_types, width),
        *norm(f"{side}/stem/norm", f"{tables}.LayerNorm", width),
    ]
    for i in range(stack.depth):
        found += _layer(f"{side}/layer_{i}", f"{base}encoder.layer.{i}", stack.layer)
    return found


def _layer(ours: str, theirs: str, layer: LayerSpec) -> list[Rule]:
    width, attention, cross = layer.width, f"{theirs}.attention", f"{theirs}.crossattention"
    query_key_value = tuple(f"{attention}.self.{part}" for part in ("query", "key", "value"))
    found = [
        *linear(f"{ours}/self_attention/query_key_value", query_key_value, width, width),
        *linear(f"{ours}/self_attention/output", (f"{attention}.output.dense",), width, width),
        *norm(f"{ours}/self_attention_norm", f"{attention}.output.LayerNorm", width),
        *linear(f"{ours}/feed_forward/up", (f"{theirs}.intermediate.dense",), width, layer.ffn_width),
        *linear(f"{ours}/feed_forward/down", (f"{theirs}.output.dense",), layer.ffn_width, width),
        *norm(f"{ours}/feed_forward_norm", f"{theirs}.output.LayerNorm", width),
    ]
    if layer.cross_attention:
        key_value = tuple(f"{cross}.self.{part}" for part in ("key", "value"))
        found += [
            *linear(f"{ours}/cross_attention/query", (f"{cross}.self.query",), width, width),
            *linear(f"{ours}/cross_attention/key_value", key_value, width, width),
            *linear(f"{ours}/cross_attention/output", (f"{cross}.output.dense",), width, width),
            *norm(f"{ours}/cross_attention_norm", f"{cross}.output.LayerNorm", width),
        ]
    return found


def _bert_head(spec: ModelSpec) -> list[Rule]:
    head, width = spec.output, spec.text.width
    if head.kind == "masked_language":
        return bert_token_head(spec)
    pooler = "pooler.dense" if head.kind == "hidden" else "bert.pooler.dense"
    found = linear("head/dense", (pooler,), width, width) if head.dense else []
    return found + _last(head, "classifier", width)


def _roberta_head(spec: ModelSpec) -> list[Rule]:
    head, width = spec.output, spec.text.width
    if head.kind == "masked_language":
        return roberta_token_head(spec)
    dense = "pooler.dense" if head.kind == "hidden" else "classifier.dense"
    found = linear("head/dense", (dense,), width, width) if head.dense else []
    return found + _last(head, "classifier.out_proj" if head.kind == "sequence_class" else "classifier", width)


def _last(head: HeadSpec, classifier: str, width: int) -> list[Rule]:
    if head.kind == "span":
        return linear("head/output", ("qa_outputs",), width, 2)
    return linear("head/output", (classifier,), width, head.labels) if head.labels else []


def bert_token_head(spec: ModelSpec, base: str = "") -> list[Rule]:
    """Under names that begin with `base`."""
    last = f"{base}cls.predictions"
    return _token_head(spec, f"{last}.transform.dense", f"{last}.transform.LayerNorm", last)


def roberta_token_head(spec: ModelSpec, base: str = "") -> list[Rule]:
    last = f"{base}lm_head"
    return _token_head(spec, f"{last}.dense", f"{last}.layer_norm", last)


def _token_head(spec: ModelSpec, dense: str, dense_norm: str, last: str) -> list[Rule]:
    width, vocab_size = spec.text.width, spec.text.vocab_size
    found = [*linear("head/dense", (dense,), width, width), *norm("head/norm", dense_norm, width)]
    copies: tuple[str, ...] = ()
    if not spec.output.tied:  # then Transformers reads the decoder's own bias, and keeps the other one unused
        found += linear("head/output", (f"{last}.decoder",), width, vocab_size, bias=False)
        copies = (f"{last}.decoder.bias",)
    return [*found, Rule("head/bias", (f"{last}.bias",), (vocab_size,), copies=copies)]


def adapt(spec: ModelSpec, tensors: StoredTensors) -> ModelSpec:
    """Whether a bare model has a pooler, and a masked language model a table of its own to predict with."""
    if spec.output.kind == "hidden" and "pooler.dense.weight" not in tensors:
        return replace(spec, head=HeadSpec("hidden"))
    bare, head = ("bert", "cls.predictions") if spec.family == "bert" else ("roberta", "lm_head")
    return with_own_table(spec, tensors, f"{head}.decoder.weight", f"{bare}.embeddings.word_embeddings.weight")


BERT = Family(
    from_config,
    config,
    rules,
    adapt,
    redundant=(
        r"(bert\.)?embeddings\.position_ids",
        r"cls\.predictions\.(decoder\.weight|bias)",
        r"cls\.seq_relationship\..*",  # of the pre-training, as is the pooler beside a masked language model's head
        r"bert\.pooler\.dense\.(weight|bias)",
    ),
    # One bias under two names: where the decoder has its own, it is what counts, for it sorts last.
    renames=(*LEGACY_NORMS, (r"^cls\.predictions\.decoder\.bias$", "cls.predictions.bias")),
    prefix="bert.",
)
ROBERTA = BERT._replace(
    redundant=(r"(roberta\.)?embeddings\.position_ids", r"lm_head\.(decoder\.weight|bias)"),
    renames=(*LEGACY_NORMS, (r"^lm_head\.decoder\.bias$", "lm_head.bias")),
    prefix="roberta.",
)
