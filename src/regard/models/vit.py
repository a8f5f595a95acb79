"""ViT and DeiT (Dosovitskiy et al. 2021; Touvron et al. 2021): an image as a sequence of patches."""

from dataclasses import replace
from typing import Any, Literal

from regard.errors import CheckpointError
from regard.models.family import ACTIVATION_NAMES, Config, Family, label_config
from regard.models.weights import Rule, StoredTensors, linear, norm
from regard.specs import HeadSpec, LayerSpec, ModelSpec, PatchSpec, StackSpec

STEMS = {"vit": "ViT", "deit": "DeiT"}  # in the names of Transformers' classes
EXTRA_TOKENS = ("cls_token", "distillation_token")
ENDINGS = {"hidden": "Model", "first": "ForImageClassification", "first two": "ForImageClassificationWithTeacher"}
# In memory Transformers calls the layers otherwise than in its files, which keep the names of its version 4.
RENAMES = (
    (r"(^|\.)layers\.(\d+)\.(attention|mlp|layernorm)", r"\1encoder.layer.\2.\3"),
    (r"(encoder\.layer\.\d+\.attention)\.q_proj\.", r"\1.attention.query."),
    (r"(encoder\.layer\.\d+\.attention)\.k_proj\.", r"\1.attention.key."),
    (r"(encoder\.layer\.\d+\.attention)\.v_proj\.", r"\1.attention.value."),
    (r"(encoder\.layer\.\d+\.attention)\.o_proj\.", r"\1.output.dense."),
    (r"(encoder\.layer\.\d+)\.mlp\.fc1\.", r"\1.intermediate.dense."),
    (r"(encoder\.layer\.\d+)\.mlp\.fc2\.", r"\1.output.dense."),
)


def from_config(config: Config) -> ModelSpec:
    family, width, heads = config["model_type"], config.get("hidden_size", 768), config.get("num_attention_heads", 12)
    known = [STEMS[family] + ending for ending in ENDINGS.values()]
    if config.architecture not in ("", *known):
        raise CheckpointError(f"config.json: {config.architecture} is not supported; {', '.join(known)} are")
    dropout, epsilon = config.get("hidden_dropout_prob", 0.0), config.get("layer_norm_eps", 1e-12)
    layer = LayerSpec(
        width=width,
        heads=heads,
        head_width=config.get("head_dim", width // heads),  # which need not fill the width
        ffn_width=config.get("intermediate_size", 3072),
        activation=config.activation("hidden_act", "gelu"),
        norm_order="pre",
        norm_epsilon=epsilon,
        attention_bias="all" if config.get("qkv_bias", True) else "output",
        dropout=dropout,
        attention_dropout=config.get("attention_probs_dropout_prob", 0.0),
    )
    return ModelSpec(
        family=family,
        embedding=None,
        source=patches(config, 16, extra_tokens=1 if family == "vit" else 2, dropout=dropout),
        encoder=StackSpec(layer, config.get("num_hidden_layers", 12), final_norm=True),
        head=_head(config),
    )


def patches(config: Config, patch_size: int, **fields: Any) -> PatchSpec:
    """The patches that the config describes. patch_size: its default."""
    height, width = _two(config, "image_size", 224)
    patch_height, patch_width = _two(config, "patch_size", patch_size)
    return PatchSpec(
        width=config.get("hidden_size", 768),
        image_height=height,
        image_width=width,
        patch_height=patch_height,
        patch_width=patch_width,
        channels=config.get("num_channels", 3),
        **fields,
    )


def _two(config: Config, key: str, default: int) -> tuple[int, int]:
    """Height and width, which one number stands for where they are equal."""
    size = config.get(key, default)
    if not isinstance(size, list):
        return size, size
    if len(size) != 2:
        raise CheckpointError(f"config.json: {key} must be one number or two, height and width, but is {size}")
    return size[0], size[1]


def _head(config: Config) -> HeadSpec:
    if config.head == "sequence_class":
        taught = config.architecture.endswith("WithTeacher")
        pool: Literal["first", "first two"] = "first two" if taught else "first"
        return HeadSpec("sequence_class", labels=config.labels, bias=True, pool=pool, problem=config.problem)
    return pooler(config)


def pooler(config: Config) -> HeadSpec:
    """Its keys are kept besides, for a file without a pooler has them too."""
    width = config.get("hidden_size", 768)
    wanted, activation = config.get("pooler_output_size") or width, config.activation("pooler_act", "tanh")
    config.read -= {"pooler_output_size", "pooler_act"}
    return HeadSpec("hidden", dense=activation, width=None if wanted == width else wanted)


def config(spec: ModelSpec) -> dict[str, Any]:
    head = spec.output
    return {
        "architectures": [STEMS[spec.family] + ENDINGS["hidden" if head.kind == "hidden" else head.pool]],
        "model_type": spec.family,
        **encoder_config(spec),
        **(pooler_config(spec, head) if head.dense else {}),
        **label_config(head),
    }


def encoder_config(spec: ModelSpec) -> dict[str, Any]:
    """What the config says of the network without its head."""
    assert spec.encoder is not None
    layer = spec.encoder.layer
    own_heads = {} if layer.head_width == layer.width // layer.heads else {"head_dim": layer.head_width}
    return {
        "hidden_size": layer.width,
        "num_hidden_layers": spec.encoder.depth,
        "num_attention_heads": layer.heads,
        **own_heads,
        "intermediate_size": layer.ffn_width,
        "hidden_act": ACTIVATION_NAMES[layer.activation],
        "hidden_dropout_prob": layer.dropout,
        "attention_probs_dropout_prob": layer.attention_dropout,
        "layer_norm_eps": layer.norm_epsilon,
        "qkv_bias": layer.attention_bias == "all",
        **patch_config(spec),
    }


def patch_config(spec: ModelSpec) -> dict[str, Any]:
    source = spec.source
    assert isinstance(source, PatchSpec)
    image, patch = [source.image_height, source.image_width], [source.patch_height, source.patch_width]
    return {
        "image_size": image[0] if image[0] == image[1] else image,
        "patch_size": patch[0] if patch[0] == patch[1] else patch,
        "num_channels": source.channels,
    }


def pooler_config(spec: ModelSpec, head: HeadSpec) -> dict[str, Any]:
    assert spec.encoder is not None
    assert head.dense is not None
    return {
        "pooler_act": ACTIVATION_NAMES[head.dense],
        "pooler_output_size": head.width or spec.encoder.layer.width,
    }


def rules(spec: ModelSpec) -> list[Rule]:
    base = "" if spec.output.kind == "hidden" else f"{spec.family}."
    return encoder_rules(spec, base) + _head_rules(spec)


def encoder_rules(spec: ModelSpec, base: str) -> list[Rule]:
    """The encoder's variables under names that begin with `base`."""
    source, stack = spec.source, spec.encoder
    assert isinstance(source, PatchSpec)
    assert stack is not None
    width, rows = source.width, source.count + source.extra_tokens
    extra = tuple(f"{base}embeddings.{name}" for name in EXTRA_TOKENS[: source.extra_tokens])
    positions = f"{base}embeddings.position_embeddings"
    found = [
        Rule("encoder/stem/extra_tokens", extra, (len(extra), width), axis=0, stored=(1, 1, width)),
        *patch_rules("encoder/stem/projection", f"{base}embeddings.patch_embeddings.projection", source),
        Rule("encoder/stem/positions/table", (positions,), (rows, width), stored=(1, rows, width)),
    ]
    for i in range(stack.depth):
        found += _layer(f"encoder/layer_{i}", f"{base}encoder.layer.{i}", stack.layer)
    return found + norm("encoder/final_norm", f"{base}layernorm", width)


def patch_rules(path: str, name: str, source: PatchSpec) -> list[Rule]:
    """A convolution over the patches, each read once."""
    stored = (source.width, source.channels, source.patch_height, source.patch_width)
    area = source.channels * source.patch_height * source.patch_width
    kernel = Rule(f"{path}/kernel", (f"{name}.weight",), (area, source.width), "patches", stored=stored)
    return [kernel, Rule(f"{path}/bias", (f"{name}.bias",), (source.width,))] if source.bias else [kernel]


def _layer(ours: str, theirs: str, layer: LayerSpec) -> list[Rule]:
    width, inner, attention = layer.width, layer.heads * layer.head_width, f"{theirs}.attention"
    query_key_value = tuple(f"{attention}.attention.{part}" for part in ("query", "key", "value"))
    biased = layer.attention_bias == "all"
    return [
        *norm(f"{ours}/self_attention_norm", f"{theirs}.layernorm_before", width),
        *linear(f"{ours}/self_attention/query_key_value", query_key_value, width, inner, bias=biased),
        *linear(f"{ours}/self_attention/output", (f"{attention}.output.dense",), inner, width),
        *norm(f"{ours}/feed_forward_norm", f"{theirs}.layernorm_after", width),
        *linear(f"{ours}/feed_forward/up", (f"{theirs}.intermediate.dense",), width, layer.ffn_width),
        *linear(f"{ours}/feed_forward/down", (f"{theirs}.output.dense",), layer.ffn_width, width),
    ]


def _head_rules(spec: ModelSpec) -> list[Rule]:
    assert spec.encoder is not None
    head, width = spec.output, spec.encoder.layer.width
    if head.kind == "hidden":
        return pooler_rules("head", "pooler", head, width) if head.dense else []
    names = {"first": ("classifier",), "first two": ("cls_classifier", "distillation_classifier")}[head.pool]
    return [
        rule
        for path, name in zip(("head/output", "head/second_output"), names, strict=False)
        for rule in linear(path, (name,), width, head.labels)
    ]


def pooler_rules(path: str, name: str, head: HeadSpec, width: int) -> list[Rule]:
    return linear(f"{path}/dense", (f"{name}.dense",), width, head.width or width)


def adapt(spec: ModelSpec, tensors: StoredTensors) -> ModelSpec:
    """Whether a bare model has a pooler."""
    if spec.output.kind == "hidden" and "pooler.dense.weight" not in tensors:
        return replace(spec, head=HeadSpec("hidden"))
    return spec


VIT = Family(from_config, config, rules, adapt, renames=RENAMES, prefix="vit.")
DEIT = VIT._replace(prefix="deit.")
