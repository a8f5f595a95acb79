"""The weight names that BART gave to its line of encoder-decoders."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from regard.models.bart import KINDS, config, from_config
from regard.models.family import Family
from regard.models.weights import Rule, StoredTensors, linear, norm, same, table
from regard.specs import EmbeddingSpec, LayerSpec, ModelSpec, StackSpec
from regard.specs.tables import position_table

SIDES = ("encoder", "decoder")
SINUSOID_TOLERANCE = 1e-4  # how far float32 carries others' sinusoids from ours


def rules(spec: ModelSpec) -> list[Rule]:
    """Every variable of an encoder-decoder, in BART's names."""
    assert spec.encoder is not None
    assert spec.decoder is not None
    base = _base(spec)
    return [
        *_tables(spec, base),
        *_side("encoder", spec.encoder, spec.text, base),
        *_side("decoder", spec.decoder, spec.text, base),
        *_head(spec),
    ]


def _base(spec: ModelSpec) -> str:
    return "" if spec.output.kind == "hidden" else "model."


def _tables(spec: ModelSpec, base: str) -> list[Rule]:
    width, sizes = spec.text.width, (spec.source_text.vocab_size, spec.text.vocab_size)
    if spec.shared_embedding:
        return [table("encoder/embedding/table", f"{base}shared.weight", spec.text.vocab_size, width)]
    return [
        table(f"{side}/embedding/table", f"{base}{side}.embed_tokens.weight", size, width)
        for side, size in zip(SIDES, sizes, strict=True)
    ]


def _head(spec: ModelSpec) -> list[Rule]:
    vocab_size, found = spec.text.vocab_size, []
    if not spec.output.tied:
        found += linear("head/output", ("lm_head",), spec.text.width, vocab_size, bias=False)
    if spec.logits_bias:
        found.append(Rule("head/bias", ("final_logits_bias",), (vocab_size,), stored=(1, vocab_size)))
    return found


def _side(side: str, stack: StackSpec, embedding: EmbeddingSpec, base: str) -> list[Rule]:
    theirs, places = f"{base}{side}", embedding.positions
    found = []
    if places.kind != "sinusoidal":  # each side has a table of its own
        rows = places.max_positions + places.offset
        found.append(table(f"{side}/stem/positions/table", f"{theirs}.embed_positions.weight", rows, embedding.width))
    if embedding.norm:
        found += norm(f"{side}/stem/norm", f"{theirs}.layernorm_embedding", embedding.width)
    for i in range(stack.depth):
        found += _layer(f"{side}/layer_{i}", f"{theirs}.layers.{i}", stack.layer)
    if stack.final_norm:
        found += norm(f"{side}/final_norm", f"{theirs}.layer_norm", stack.layer.width)
    return found


def _layer(ours: str, theirs: str, layer: LayerSpec) -> list[Rule]:
    width, inner = layer.width, layer.heads * layer.head_width
    q, k, v = (f"{theirs}.self_attn.{name}_proj" for name in "qkv")
    found = [
        *linear(f"{ours}/self_attention/query_key_value", (q, k, v), width, inner),
        *linear(f"{ours}/self_attention/output", (f"{theirs}.self_attn.out_proj",), inner, width),
        *norm(f"{ours}/self_attention_norm", f"{theirs}.self_attn_layer_norm", width),
    ]
    if layer.cross_attention:
        q, k, v = (f"{theirs}.encoder_attn.{name}_proj" for name in "qkv")
        found += [
            *linear(f"{ours}/cross_attention/query", (q,), width, inner),
            *linear(f"{ours}/cross_attention/key_value", (k, v), width, inner),
            *linear(f"{ours}/cross_attention/output", (f"{theirs}.encoder_attn.out_proj",), inner, width),
            *norm(f"{ours}/cross_attention_norm", f"{theirs}.encoder_attn_layer_norm", width),
        ]
    return [
        *found,
        *linear(f"{ours}/feed_forward/up", (f"{theirs}.fc1",), width, layer.ffn_width),
        *linear(f"{ours}/feed_forward/down", (f"{theirs}.fc2",), layer.ffn_width, width),
        *norm(f"{ours}/feed_forward_norm", f"{theirs}.final_layer_norm", width),
    ]


def adapt(spec: ModelSpec, tensors: StoredTensors) -> ModelSpec:
    """What the tensors say and the config does not: which tables there are, and whether the positions' and the bias on
    the logits are other than what is computed."""
    spec = replace(spec, shared_embedding=_shares(spec, tensors))
    if KINDS[spec.family].stores_sinusoids and _moved(spec, tensors):
        places = replace(spec.text.positions, kind="stored")
        spec = replace(spec, embedding=replace(spec.text, positions=places))
    if spec.output.kind != "language":
        return spec
    biased = KINDS[spec.family].logits_bias and _says_something(tensors, "final_logits_bias", (1, spec.text.vocab_size))
    return replace(spec, head=replace(spec.output, tied=_ties(spec, tensors)), logits_bias=biased)


def _shares(spec: ModelSpec, tensors: StoredTensors) -> bool:
    """Whether there is one table: copies of it do not count."""
    base = _base(spec)
    shared, *own = (f"{base}{name}.weight" for name in ("shared", "encoder.embed_tokens", "decoder.embed_tokens"))
    if not all(name in tensors for name in own):
        return shared in tensors or spec.shared_embedding
    return shared in tensors and all(same(tensors, name, shared) for name in own)


def _ties(spec: ModelSpec, tensors: StoredTensors) -> bool:
    """Whether the decoder's table predicts, too."""
    if "lm_head.weight" not in tensors:
        return spec.output.tied
    if spec.shared_embedding:
        return same(tensors, "lm_head.weight", "model.shared.weight")
    return KINDS[spec.family].separable and same(tensors, "lm_head.weight", "model.decoder.embed_tokens.weight")


def _moved(spec: ModelSpec, tensors: StoredTensors) -> bool:
    """Whether the file has positions that are not the sinusoids: a table of another size is none of them."""
    for side in SIDES:
        name = f"{_base(spec)}{side}.embed_positions.weight"
        if name in tensors:
            computed = _sinusoids(spec.text)
            if tensors.shape(name) != computed.shape:
                return True
            if not np.allclose(tensors[name].astype("float64"), computed, rtol=0, atol=SINUSOID_TOLERANCE):
                return True
    return False


def _says_something(tensors: StoredTensors, name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is there and not all zero; one of another shape is for the accounts to complain of."""
    return name in tensors and (tensors.shape(name) != shape or bool(tensors[name].any()))


def constants(spec: ModelSpec) -> dict[str, Callable[[], np.ndarray]]:
    """Tensors that the layout has and no variable of ours holds: written, so that a reader misses none."""
    kind, base, vocab_size = KINDS[spec.family], _base(spec), spec.text.vocab_size
    found: dict[str, Callable[[], np.ndarray]] = {}
    if spec.text.positions.kind == "sinusoidal" and spec.output.kind in kind.stores_sinusoids:
        found |= {f"{base}{side}.embed_positions.weight": lambda: _sinusoids(spec.text) for side in SIDES}
    if kind.logits_bias and spec.output.kind == "language" and not spec.logits_bias:
        found["final_logits_bias"] = lambda: np.zeros((1, vocab_size), np.float32)
    if not spec.shared_embedding and not kind.separable:  # a table that nothing reads
        found[f"{base}shared.weight"] = lambda: np.zeros((vocab_size, spec.text.width), np.float32)
    return found


def _sinusoids(embedding: EmbeddingSpec) -> np.ndarray:
    return position_table(embedding.positions, embedding.width)


BART = Family(
    from_config,
    config,
    rules,
    adapt,
    constants,
    redundant=(
        r"lm_head\.weight",  # copies of the one table
        r"(model\.)?(shared|(encoder|decoder)\.embed_tokens)\.weight",
        r"(model\.)?(encoder|decoder)\.embed_positions\.weights?",  # computed anew
        r"(model\.)?(encoder|decoder)\.version",
    ),
    prefix="model.",
)
