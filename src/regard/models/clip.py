"""CLIP (Radford et al. 2021): a causal encoder of texts and one of images, together or each alone."""

from typing import Any

from regard.errors import CheckpointError
from regard.models.family import ACTIVATION_NAMES, Config, Family
from regard.models.vit import patch_config, patch_rules, patches
from regard.models.weights import Rule, linear, norm, table
from regard.specs import (
    EmbeddingSpec,
    HeadSpec,
    LayerSpec,
    ModelSpec,
    PairSpec,
    PatchSpec,
    PositionSpec,
    StackSpec,
)

TEXT, IMAGE = "clip_text_model", "clip_vision_model"  # the families of a side alone
LEGACY_EOS = 2  # a mistake of old configs; such models read a text at its highest id, which is its real eos


def from_config(config: Config) -> PairSpec:
    """Pad and bos ids are kept unread: no number depends on them, and many configs have ids beyond the vocabulary."""
    _check_architecture(config, "CLIPModel")
    width = config.get("projection_dim", 512)
    texts = _text_side(config.within("text_config", "text_config_dict"), width)
    images = _image_side(config.within("vision_config", "vision_config_dict"), width)
    return PairSpec("clip", texts.embedding, encoder=texts.encoder, head=texts.head, images=images)


def from_text_config(config: Config) -> ModelSpec:
    return _text_side(config, _own_width(config, "CLIPTextModel"))


def from_image_config(config: Config) -> ModelSpec:
    return _image_side(config, _own_width(config, "CLIPVisionModel"))


def _check_architecture(config: Config, *known: str) -> None:
    if config.architecture not in ("", *known):
        raise CheckpointError(f"config.json: {config.architecture} is not supported; {', '.join(known)} are")


def _own_width(config: Config, bare: str) -> int | None:
    _check_architecture(config, bare, bare + "WithProjection")
    return config.get("projection_dim", 512) if config.architecture.endswith("WithProjection") else None


def _text_side(config: Config, projection: int | None) -> ModelSpec:
    encoder = StackSpec(_layer(config, 512, 8, 2048), config.get("num_hidden_layers", 12), final_norm=True, causal=True)
    embedding = EmbeddingSpec(
        vocab_size=config.get("vocab_size", 49408),
        width=encoder.layer.width,
        positions=PositionSpec("learned", max_positions=config.get("max_position_embeddings", 77)),
        pad_id=None,
        scale=False,
        dropout=0.0,
    )
    eos = config.get("eos_token_id", 49407)
    head = HeadSpec("pooled", width=projection, pool="token", token=eos)
    if eos == LEGACY_EOS:
        head = HeadSpec("pooled", width=projection, pool="highest")
    return ModelSpec(TEXT, embedding, encoder=encoder, head=head)


def _image_side(config: Config, projection: int | None) -> ModelSpec:
    layer = _layer(config, 768, 12, 3072)
    epsilon = layer.norm_epsilon
    return ModelSpec(
        IMAGE,
        None,
        source=patches(config, 32, bias=False, norm=True, norm_epsilon=epsilon),
        encoder=StackSpec(layer, config.get("num_hidden_layers", 12)),
        head=HeadSpec("pooled", width=projection, norm=True, norm_epsilon=epsilon),
    )


def _layer(config: Config, width: int, heads: int, ffn_width: int) -> LayerSpec:
    """The sizes are those of a config that does not say."""
    width, heads = config.get("hidden_size", width), config.get("num_attention_heads", heads)
    return LayerSpec(
        width=width,
        heads=heads,
        head_width=config.head_width(width, heads),
        ffn_width=config.get("intermediate_size", ffn_width),
        activation=config.activation("hidden_act", "quick_gelu"),
        norm_order="pre",
        norm_epsilon=config.get("layer_norm_eps", 1e-5),
        dropout=0.0,
        attention_dropout=config.get("attention_dropout", 0.0),
    )


def config(spec: ModelSpec) -> dict[str, Any]:
    assert isinstance(spec, PairSpec)
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": spec.output.width,
        "text_config": {"model_type": TEXT, **_text_config(spec)},
        "vision_config": {"model_type": IMAGE, **_image_config(spec.image_side)},
    }


def text_config(spec: ModelSpec) -> dict[str, Any]:
    return {**_own_config(spec, "CLIPTextModel"), **_text_config(spec)}


def image_config(spec: ModelSpec) -> dict[str, Any]:
    return {**_own_config(spec, "CLIPVisionModel"), **_image_config(spec)}


def _own_config(spec: ModelSpec, bare: str) -> dict[str, Any]:
    projected = spec.output.width is not None
    return {
        "architectures": [bare + "WithProjection" if projected else bare],
        "model_type": spec.family,
        **({"projection_dim": spec.output.width} if projected else {}),
    }


def _text_config(spec: ModelSpec) -> dict[str, Any]:
    return {
        "vocab_size": spec.text.vocab_size,
        "max_position_embeddings": spec.text.positions.max_positions,
        "eos_token_id": LEGACY_EOS if spec.output.pool == "highest" else spec.output.token,
        **_encoder_config(spec),
    }


def _image_config(spec: ModelSpec) -> dict[str, Any]:
    return {**patch_config(spec), **_encoder_config(spec)}


def _encoder_config(spec: ModelSpec) -> dict[str, Any]:
    assert spec.encoder is not None
    layer = spec.encoder.layer
    return {
        "hidden_size": layer.width,
        "intermediate_size": layer.ffn_width,
        "num_hidden_layers": spec.encoder.depth,
        "num_attention_heads": layer.heads,
        "hidden_act": ACTIVATION_NAMES[layer.activation],
        "layer_norm_eps": layer.norm_epsilon,
        "attention_dropout": layer.attention_dropout,
    }


def rules(spec: ModelSpec) -> list[Rule]:
    assert isinstance(spec, PairSpec)
    return [
        *_text_rules(spec, "text_", "text_model."),
        *_image_rules(spec.image_side, "image_", "vision_model."),
        Rule("similarity/logit_scale", ("logit_scale",), ()),
    ]


def text_rules(spec: ModelSpec) -> list[Rule]:
    return _text_rules(spec, "", "" if spec.output.width is None else "text_model.")


def image_rules(spec: ModelSpec) -> list[Rule]:
    return _image_rules(spec, "", "" if spec.output.width is None else "vision_model.")


def _text_rules(spec: ModelSpec, ours: str, theirs: str) -> list[Rule]:
    embedding, encoder = spec.text, f"{ours}encoder"
    tokens, places = (f"{theirs}embeddings.{name}_embedding.weight" for name in ("token", "position"))
    return [
        table(f"{encoder}/embedding/table", tokens, embedding.vocab_size, embedding.width),
        table(f"{encoder}/stem/positions/table", places, embedding.positions.max_positions, embedding.width),
        *_layers(spec, encoder, theirs),
        *norm(f"{encoder}/final_norm", f"{theirs}final_layer_norm", embedding.width),
        *_projection(spec, f"{ours}head", "text_projection"),
    ]


def _image_rules(spec: ModelSpec, ours: str, theirs: str) -> list[Rule]:
    source, stem, names = spec.source, f"{ours}encoder/stem", f"{theirs}embeddings"
    assert isinstance(source, PatchSpec)
    width = source.width
    return [
        Rule(f"{stem}/extra_tokens", (f"{names}.class_embedding",), (1, width), stored=(width,)),
        *patch_rules(f"{stem}/projection", f"{names}.patch_embedding", source),
        table(f"{stem}/positions/table", f"{names}.position_embedding.weight", source.count + 1, width),
        *norm(f"{stem}/norm", f"{theirs}pre_layrnorm", width),  # spelled so
        *_layers(spec, f"{ours}encoder", theirs),
        *(norm(f"{ours}head/norm", f"{theirs}post_layernorm", width) if spec.output.norm else []),
        *_projection(spec, f"{ours}head", "visual_projection"),
    ]


def _projection(spec: ModelSpec, path: str, name: str) -> list[Rule]:
    assert spec.encoder is not None
    if spec.output.width is None:
        return []
    return linear(f"{path}/output", (name,), spec.encoder.layer.width, spec.output.width, bias=False)


def _layers(spec: ModelSpec, ours: str, theirs: str) -> list[Rule]:
    assert spec.encoder is not None
    found = []
    for i in range(spec.encoder.depth):
        found += _layer_rules(f"{ours}/layer_{i}", f"{theirs}encoder.layers.{i}", spec.encoder.layer)
    return found


def _layer_rules(ours: str, theirs: str, layer: LayerSpec) -> list[Rule]:
    width = layer.width
    query_key_value = tuple(f"{theirs}.self_attn.{name}_proj" for name in "qkv")
    return [
        *norm(f"{ours}/self_attention_norm", f"{theirs}.layer_norm1", width),
        *linear(f"{ours}/self_attention/query_key_value", query_key_value, width, width),
        *linear(f"{ours}/self_attention/output", (f"{theirs}.self_attn.out_proj",), width, width),
        *norm(f"{ours}/feed_forward_norm", f"{theirs}.layer_norm2", width),
        *linear(f"{ours}/feed_forward/up", (f"{theirs}.mlp.fc1",), width, layer.ffn_width),
        *linear(f"{ours}/feed_forward/down", (f"{theirs}.mlp.fc2",), layer.ffn_width, width),
    ]


_RECOMPUTED = (r"((text|vision)_model\.)?embeddings\.position_ids",)
CLIP = Family(from_config, config, rules, redundant=_RECOMPUTED)
CLIP_TEXT = Family(from_text_config, text_config, text_rules, redundant=_RECOMPUTED, prefix="text_model.")
CLIP_IMAGE = Family(from_image_config, image_config, image_rules, redundant=_RECOMPUTED, prefix="vision_model.")
