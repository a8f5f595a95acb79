"""Tiny encoder-decoders of texts with the tokenizers of their families, as directories.

They are made by counting and by one seed, so that they never change, and Transformers can load the very same.
"""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from regard.features.tokenizer import Tokenizer
from regard.models.catalog import family
from regard.models.family import Config

sys.path.append(str(Path(__file__).parents[1] / "features" / "tokenizers"))

import tiny_tokenizers as vocabularies

BART_SIZES = {
    "d_model": 12,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 10,
    "decoder_ffn_dim": 14,
    "max_position_embeddings": 48,
}
T5_SIZES = {"d_model": 12, "d_kv": 5, "d_ff": 14, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 3}
T5_ASKS = {"early_stopping": True, "max_length": 9, "num_beams": 3}
T5_TASKS = {
    "summarization": {**T5_ASKS, "length_penalty": 2.0, "min_length": 4, "prefix": "summarize: "},
    "translation_en_to_de": {**T5_ASKS, "prefix": "translate English to German: "},
    "translation_en_to_fr": {**T5_ASKS, "prefix": "translate English to French: "},
}
MODELS = {  # the type, the class, what the decoder starts with, the sizes
    "mbart": ("mbart", "MBartForConditionalGeneration", "eos", BART_SIZES),
    "mbart50": ("mbart", "MBartForConditionalGeneration", "eos", BART_SIZES),
    "nllb": ("m2m_100", "M2M100ForConditionalGeneration", "eos", BART_SIZES),
    "m2m_100": ("m2m_100", "M2M100ForConditionalGeneration", "eos", BART_SIZES),
    "bart": ("bart", "BartForConditionalGeneration", "eos", BART_SIZES),
    "marian": ("marian", "MarianMTModel", "pad", BART_SIZES),
    "pegasus": ("pegasus", "PegasusForConditionalGeneration", "pad", BART_SIZES),
    "t5": ("t5", "T5ForConditionalGeneration", "pad", T5_SIZES),
}


def write(kind: str, directory: Path, generation: dict | None = None, **config) -> Path:
    """The files of a checkpoint; `config` goes over the kind's own."""
    vocabularies.write(kind, directory)
    tokenizer = Tokenizer.load(directory)
    model_type, architecture, start, sizes = MODELS[kind]
    whole = {
        "model_type": model_type,
        "architectures": [architecture],
        "is_encoder_decoder": True,
        **sizes,
        **{f"{role}_token_id": getattr(tokenizer, f"{role}_id") for role in ("pad", "eos", "bos")},
        "vocab_size": tokenizer.vocab_size,
        "decoder_start_token_id": tokenizer.id_of(start),
        **config,
    }
    vocabularies.write_json(directory / "config.json", whole)
    if generation is not None:
        vocabularies.write_json(directory / "generation_config.json", generation)
    _write_weights(directory, whole)
    return directory


def _write_weights(directory: Path, config: dict) -> None:
    known = family(config["model_type"])
    spec = known.from_config(Config(config))
    noise, tensors = np.random.RandomState(7), {}
    for rule in known.rules(spec):
        for name, shape in rule.stored_shapes().items():
            scale = 0.3 if name.endswith("norm.weight") else 0.6
            centre = 1.0 if "norm" in name and name.endswith(".weight") else 0.0
            tensors[name] = (centre + scale * noise.randn(*shape)).astype(np.float32)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
