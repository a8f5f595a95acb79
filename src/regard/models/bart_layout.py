"""The weight names that BART gave to a line of encoder-decoders: Marian and Pegasus write them too."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from regard.errors import CheckpointError
from regard.models.weights import Rule, StoredTensors, linear, norm
from regard.specs import EmbeddingSpec, LayerSpec, ModelSpec, StackSpec

# Tied to model.shared.weight, or recomputed: read past.
REDUNDANT = frozenset(
    {
        "lm_head.weight",
        "model.encoder.embed_tokens.weight",
        "model.decoder.embed_tokens.weight",
        "model.encoder.embed_positions.weight",
        "model.decoder.embed_positions.weight",
    }
)


def rules(spec: ModelSpec) -> list[Rule]:
    """Every variable of an encoder-decoder, in BART's names."""
    assert spec.encoder is not None
    assert spec.decoder is not None
    table = (spec.embedding.vocab_size, spec.embedding.width)
    found = [Rule("encoder/embedding/table", ("model.shared.weight",), table)]
    if spec.logits_bias:
        found.append(Rule("decoder/final_logits_bias", ("final_logits_bias",), (1, spec.embedding.vocab_size)))
    return found + _stack("encoder", spec.encoder) + _stack("decoder", spec.decoder)


def adapt(spec: ModelSpec, tensors: StoredTensors) -> ModelSpec:
    """What the tensors say and the config does not: whether there is a bias on the logits that is one.

    Raises CheckpointError where the output layer has a table of its own, which no spec of ours can say.
    """
    _require_tied(spec, tensors)
    stored = "final_logits_bias" in tensors and tensors.shape("final_logits_bias") == (1, spec.embedding.vocab_size)
    return replace(spec, logits_bias=stored and bool(tensors["final_logits_bias"].any()))


def _require_tied(spec: ModelSpec, tensors: StoredTensors) -> None:
    table, head = "model.shared.weight", "lm_head.weight"
    shape = (spec.embedding.vocab_size, spec.embedding.width)
    if not (table in tensors and head in tensors and tensors.shape(table) == shape):
        return
    if tensors.shape(head) != shape or not np.array_equal(tensors[head], tensors[table]):
        raise CheckpointError(f"{head} is not {table}: a model with an output table of its own is not supported")


def constants(spec: ModelSpec) -> dict[str, Callable[[], np.ndarray]]:
    """Tensors that the layout has and no variable of ours holds: written, so that a reader misses none."""
    found: dict[str, Callable[[], np.ndarray]] = {
        f"model.{side}.embed_positions.weight": lambda: _positions(spec.embedding) for side in ("encoder", "decoder")
    }
    if not spec.logits_bias:
        found["final_logits_bias"] = lambda: np.zeros((1, spec.embedding.vocab_size), np.float32)
    return found


def _positions(embedding: EmbeddingSpec) -> np.ndarray:
    from regard.nn.positions import sinusoids  # `regard inspect PRESET` reads the rules without Keras

    positions = embedding.positions
    return sinusoids(positions.max_positions, embedding.width, positions.layout).astype(np.float32)


def _stack(side: str, stack: StackSpec) -> list[Rule]:
    found = []
    for i in range(stack.depth):
        found += _layer(f"{side}/layer_{i}", f"model.{side}.layers.{i}", stack.layer)
    if stack.final_norm:
        found += norm(f"{side}/final_norm", f"model.{side}.layer_norm", stack.layer.width)
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
