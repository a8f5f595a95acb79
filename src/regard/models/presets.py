"""Networks to train anew, by name: a family, and what its config.json would say. Other sizes are deltas on these."""

from dataclasses import replace
from typing import Any, NamedTuple

from regard.errors import CheckpointError, ConfigError
from regard.models import bert, gpt2, t5, vision_encoder_decoder, vit, whisper
from regard.models.dropouts import DROPOUT_NAMES
from regard.models.family import ACTIVATION_NAMES, PROBLEM_NAMES, Config, Family
from regard.specs import HeadKind, ModelSpec, Problem

# What Transformers calls a model with each head, by its last part; the families know it by that.
HEAD_CLASSES: dict[HeadKind, str] = {
    "hidden": "Model",
    "language": "ForCausalLM",
    "masked_language": "ForMaskedLM",
    "sequence_class": "ForSequenceClassification",
    "token_class": "ForTokenClassification",
    "span": "ForQuestionAnswering",
    "ctc": "ForCTC",
}
_NAMED_OTHERWISE = {
    "t5": {"language": "ForConditionalGeneration"},
    "vision-encoder-decoder": {"language": "VisionEncoderDecoderModel"},
    "whisper": {"language": "WhisperForConditionalGeneration", "ctc": "WhisperForCTC"},
    **{family: {"sequence_class": f"{stem}ForImageClassification"} for family, stem in vit.STEMS.items()},
}


class Preset(NamedTuple):
    """`head`: what the family was trained with."""

    family: str
    head: HeadKind
    config: dict[str, Any]


class Vocabulary(NamedTuple):
    """The tokenizer that a network is for."""

    size: int
    pad: int | None
    eos: int | None
    bos: int | None = None


def _gpt2(width: int, heads: int, depth: int, positions: int = 1024) -> Preset:
    return Preset("gpt2", "language", {"n_embd": width, "n_head": heads, "n_layer": depth, "n_positions": positions})


def _bert(width: int, heads: int, depth: int) -> Preset:
    sizes = {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": depth}
    return Preset("bert", "masked_language", {**sizes, "intermediate_size": 4 * width, "max_position_embeddings": 512})


def _vit_gpt2(image: Preset, text: Preset) -> Preset:
    """An image encoder, and a decoder of the same width that reads it."""
    encoder, decoder = ({"model_type": each.family, **each.config} for each in (image, text))
    config = {f"encoder.{key}": value for key, value in encoder.items()}
    config |= {f"decoder.{key}": value for key, value in decoder.items()}
    return Preset("vision-encoder-decoder", "language", config | {"decoder.add_cross_attention": True})


def _t5(width: int, heads: int, depth: int, ffn_width: int) -> Preset:
    """Version 1.1: gated, and with a table of its own to predict with."""
    sizes = {"d_model": width, "num_heads": heads, "num_layers": depth, "num_decoder_layers": depth, "d_ff": ffn_width}
    return Preset("t5", "language", {**sizes, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False})


def _vit(width: int, heads: int, depth: int, patch: int = 16) -> Preset:
    sizes = {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": depth, "patch_size": patch}
    return Preset("vit", "sequence_class", {**sizes, "intermediate_size": 4 * width, "hidden_dropout_prob": 0.1})


def _whisper(width: int, heads: int, encoder_depth: int, decoder_depth: int, dropout: float = 0.0) -> Preset:
    sizes = {f"{side}_attention_heads": heads for side in ("encoder", "decoder")}
    sizes |= {f"{side}_ffn_dim": 4 * width for side in ("encoder", "decoder")}
    depths = {"encoder_layers": encoder_depth, "decoder_layers": decoder_depth}
    return Preset("whisper", "language", {"d_model": width, **sizes, **depths, "dropout": dropout})


# Radford et al. 2019 (gpt2 is their smallest), Turc et al. 2019 (bert-tiny, mini, small), Devlin et al. 2019 (bert),
# Raffel et al. 2020 (T5's sizes, as released for version 1.1), Dosovitskiy et al. 2021 (vit-base), Touvron et al.
# 2021 (vit-tiny, vit-small); vit-mini is for images of some 30 pixels a side. Radford et al. 2022 (whisper-tiny, base,
# small); whisper-mini is for a few hours of speech.
PRESETS: dict[str, Preset] = {
    "gpt2-tiny": _gpt2(128, 4, 2),
    "gpt2-mini": _gpt2(256, 4, 4),
    "gpt2-small": _gpt2(512, 8, 6),
    "gpt2": _gpt2(768, 12, 12),
    "bert-tiny": _bert(128, 2, 2),
    "bert-mini": _bert(256, 4, 4),
    "bert-small": _bert(512, 8, 4),
    "bert": _bert(768, 12, 12),
    "t5-tiny": _t5(128, 4, 2, 512),
    "t5-mini": _t5(256, 4, 4, 1024),
    "t5-small": _t5(512, 6, 8, 1024),
    "t5-base": _t5(768, 12, 12, 2048),
    "vit-mini": _vit(96, 4, 6, patch=4),
    "vit-tiny": _vit(192, 3, 12),
    "vit-small": _vit(384, 6, 12),
    "vit-base": _vit(768, 12, 12),
    "vit-gpt2-tiny": _vit_gpt2(_vit(128, 4, 4), _gpt2(128, 4, 2)),
    "vit-gpt2-mini": _vit_gpt2(_vit(256, 4, 6), _gpt2(256, 4, 4)),
    "vit-gpt2-small": _vit_gpt2(_vit(384, 6, 12), _gpt2(384, 6, 6)),
    "vit-gpt2": _vit_gpt2(_vit(768, 12, 12), _gpt2(768, 12, 12)),
    "whisper-mini": _whisper(192, 4, 6, 2, dropout=0.1),
    "whisper-tiny": _whisper(384, 6, 4, 4),
    "whisper-base": _whisper(512, 8, 6, 6),
    "whisper-small": _whisper(768, 12, 12, 12),
}
_FAMILIES: dict[str, Family] = {"gpt2": gpt2.GPT2, "bert": bert.BERT, "t5": t5.T5, "vit": vit.VIT}
_FAMILIES |= {"vision-encoder-decoder": vision_encoder_decoder.VISION_ENCODER_DECODER, "whisper": whisper.WHISPER}
# Of the families that read images and sounds: they have no other head.
_SENSING = {"vit": ("sequence_class",), "vision-encoder-decoder": ("language",), "whisper": ("language", "ctc")}

# Which token a decoder starts from, where it has one of its own.
_STARTS = {"t5": "pad", "whisper": "pad", "vision-encoder-decoder": "eos"}

# What a run file's keys are called in each family's config.json.
_KEYS: dict[str, dict[str, tuple[str, ...]]] = {
    "gpt2": {
        "width": ("n_embd",),
        "heads": ("n_head",),
        "ffn_width": ("n_inner",),
        "depth": ("n_layer",),
        "activation": ("activation_function",),
        **DROPOUT_NAMES["gpt2"],
        "max_positions": ("n_positions",),
    },
    "bert": {
        "width": ("hidden_size",),
        "heads": ("num_attention_heads",),
        "ffn_width": ("intermediate_size",),
        "depth": ("num_hidden_layers",),
        "activation": ("hidden_act",),
        **DROPOUT_NAMES["bert"],
        "max_positions": ("max_position_embeddings",),
    },
    "t5": {
        "width": ("d_model",),
        "heads": ("num_heads",),
        "ffn_width": ("d_ff",),
        "encoder_depth": ("num_layers",),
        "decoder_depth": ("num_decoder_layers",),
        **DROPOUT_NAMES["t5"],
    },
    "vit": {
        "width": ("hidden_size",),
        "heads": ("num_attention_heads",),
        "ffn_width": ("intermediate_size",),
        "depth": ("num_hidden_layers",),
        "activation": ("hidden_act",),
        **DROPOUT_NAMES["vit"],
        "patch_size": ("patch_size",),
        "image_size": ("image_size",),
    },
    "vision-encoder-decoder": {
        "width": ("encoder.hidden_size", "decoder.n_embd"),
        "heads": ("encoder.num_attention_heads", "decoder.n_head"),
        "ffn_width": ("encoder.intermediate_size", "decoder.n_inner"),
        "encoder_depth": ("encoder.num_hidden_layers",),
        "decoder_depth": ("decoder.n_layer",),
        "activation": ("encoder.hidden_act", "decoder.activation_function"),
        "dropout": ("encoder.hidden_dropout_prob", "decoder.embd_pdrop", "decoder.resid_pdrop"),
        "attention_dropout": ("encoder.attention_probs_dropout_prob", "decoder.attn_pdrop"),
        "max_positions": ("decoder.n_positions",),
        "patch_size": ("encoder.patch_size",),
        "image_size": ("encoder.image_size",),
    },
    "whisper": {
        "width": ("d_model",),
        "heads": ("encoder_attention_heads", "decoder_attention_heads"),
        "ffn_width": ("encoder_ffn_dim", "decoder_ffn_dim"),
        "encoder_depth": ("encoder_layers",),
        "decoder_depth": ("decoder_layers",),
        "activation": ("activation_function",),
        **DROPOUT_NAMES["whisper"],
        "max_positions": ("max_target_positions",),
        "source_positions": ("max_source_positions",),
        "mels": ("num_mel_bins",),
    },
}


def preset_spec(
    name: str,
    vocabulary: Vocabulary,
    head: HeadKind | None = None,
    labels: int = 0,
    problem: Problem | None = None,
    **overrides: Any,
) -> ModelSpec:
    """A preset's spec for a vocabulary, with this head, or that which it is trained with; `overrides` as in
    `ModelConfig`.

    Raises ConfigError for a key that the family does not have, and for a head that it does not have.
    """
    known, usual, config = PRESETS[name]
    values, head = dict(config), head or usual
    if head not in _SENSING.get(known, (head,)):
        raise ConfigError(f"model.preset = {name!r} is of the family {known}, which has no {head} head")
    for key, value in overrides.items():
        if key not in _KEYS[known]:
            raise ConfigError(f"model.{key} is no key of {name}: it has {', '.join(_KEYS[known])}")
        values |= dict.fromkeys(_KEYS[known][key], ACTIVATION_NAMES[value] if key == "activation" else value)
    if known == "t5":
        values["d_kv"] = _head_width(values)
    if known == "vision-encoder-decoder":
        values["decoder.vocab_size"] = vocabulary.size
    if known in _STARTS:
        values["decoder_start_token_id"] = getattr(vocabulary, _STARTS[known])
    tokens = {"pad_token_id": vocabulary.pad, "eos_token_id": vocabulary.eos, "bos_token_id": vocabulary.bos}
    said = {"model_type": known, "vocab_size": vocabulary.size, **values, **tokens}
    try:
        if known == "vit":  # whose reader takes heads that leave a rest, which its writer has no word for
            Config({}).head_width(values["hidden_size"], values["num_attention_heads"])
        found = _FAMILIES[known].from_config(Config(_nested(with_head(said, head, labels, problem))))
    except CheckpointError as error:  # who wrote a run file has not seen a config.json
        raise ConfigError(f"model: {str(error).removeprefix('config.json: ')}") from error
    found = replace(found, encoder_pooler=None)  # which no decoder reads
    if found.output.kind != head:
        raise ConfigError(f"model.preset = {name!r} is of the family {known}, which has no {head} head")
    return found


def _nested(config: dict[str, Any]) -> dict[str, Any]:
    """{"encoder.width": 8} -> {"encoder": {"width": 8}}."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        side, dot, name = key.partition(".")
        if dot:
            found.setdefault(side, {})[name] = value
        else:
            found[key] = value
    return found


def with_head(config: dict[str, Any], head: HeadKind, labels: int, problem: Problem | None) -> dict[str, Any]:
    """A config.json that says of another head what its family would say."""
    named = _NAMED_OTHERWISE.get(config.get("model_type", ""), {}).get(head, HEAD_CLASSES[head])
    kept = {key: value for key, value in config.items() if key not in ("id2label", "label2id", "problem_type")}
    said = {"num_labels": labels} if labels else {}
    return {
        **kept,
        "architectures": [named],
        **said,
        **({} if problem is None else {"problem_type": PROBLEM_NAMES[problem]}),
    }


def _head_width(config: dict[str, Any]) -> int:
    """T5's small has 6 heads of 64 at a width of 512: where the width is no multiple, 64."""
    width, heads = config["d_model"], config["num_heads"]
    return int(width // heads) if width % heads == 0 else 64
