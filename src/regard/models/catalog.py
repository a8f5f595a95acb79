"""Every family by its name in config.json, every preset by its own."""

import difflib
from typing import Any

from regard.errors import CheckpointError, ConfigError
from regard.models import (
    bart_layout,
    bert,
    clip,
    distilbert,
    encoder_decoder,
    gpt2,
    llama,
    presets,
    t5,
    vaswani,
    vision_encoder_decoder,
    vit,
    whisper,
)
from regard.models.family import Family
from regard.specs import ModelSpec, TokenIds

FAMILIES: dict[str, Family] = {
    "bart": bart_layout.BART,
    "bert": bert.BERT,
    "clip": clip.CLIP,
    "clip_text_model": clip.CLIP_TEXT,
    "clip_vision_model": clip.CLIP_IMAGE,
    "deit": vit.DEIT,
    "distilbert": distilbert.DISTILBERT,
    "encoder-decoder": encoder_decoder.ENCODER_DECODER,
    "gpt2": gpt2.GPT2,
    "llama": llama.LLAMA,
    "m2m_100": bart_layout.BART,
    "marian": bart_layout.BART,
    "mbart": bart_layout.BART,
    "mistral": llama.LLAMA,
    "mt5": t5.T5,
    "pegasus": bart_layout.BART,
    "qwen2": llama.LLAMA,
    "qwen3": llama.LLAMA,
    "roberta": bert.ROBERTA,
    "t5": t5.T5,
    "vision-encoder-decoder": vision_encoder_decoder.VISION_ENCODER_DECODER,
    "vit": vit.VIT,
    "whisper": whisper.WHISPER,
    "xlm-roberta": bert.ROBERTA,
}
_OLDER = {"encoder_decoder": "encoder-decoder"}  # as releases before 2021 spelled it

PRESETS: dict[str, Any] = {**vaswani.PRESETS, **presets.PRESETS}  # their names


def family(name: str) -> Family:
    name = _OLDER.get(name, name)
    if name not in FAMILIES:
        raise CheckpointError(f"unknown model_type {name!r}: known are {', '.join(sorted(FAMILIES))}")
    return FAMILIES[name]


def spec(preset: str, *, vocab_size: int, pad_id: int, eos_id: int, **overrides: Any) -> ModelSpec:
    """A preset's spec for a vocabulary; `overrides` as in `ModelConfig`. Raises ConfigError for an unknown preset."""
    if preset not in PRESETS:
        near = difflib.get_close_matches(preset, PRESETS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(PRESETS)}"
        raise ConfigError(f"unknown preset {preset!r}: {hint}")
    if preset in presets.PRESETS:
        vocabulary = presets.Vocabulary(vocab_size, pad_id, eos_id)
        return presets.preset_spec(preset, vocabulary, **overrides)
    unknown = next((key for key in overrides if key not in vaswani.KEYS), None)
    if unknown is not None:
        raise ConfigError(f"model.{unknown} is no key of {preset}: it has {', '.join(vaswani.KEYS)}")
    tokens = TokenIds(pad=pad_id, eos=eos_id, decoder_start=pad_id)
    return vaswani.preset(vocab_size=vocab_size, tokens=tokens, **{**vaswani.PRESETS[preset], **overrides})
