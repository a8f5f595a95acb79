"""What the sides of benchmarks/train.py train: three networks with random weights, and a batch for each."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

RATE, SMOOTHING, CLIP, DROPOUT = 1e-4, 0.1, 1.0, 0.1


class Size(NamedTuple):
    config: dict[str, Any]
    rows: int
    length: int
    steps: int  # that are timed


def _translator(width: int, heads: int, depth: int, vocab_size: int) -> dict[str, Any]:
    sizes = {"d_model": width, "encoder_layers": depth, "decoder_layers": depth}
    heads_of = {"encoder_attention_heads": heads, "decoder_attention_heads": heads}
    wide = {"encoder_ffn_dim": 4 * width, "decoder_ffn_dim": 4 * width, "max_position_embeddings": 512}
    dropouts = {"dropout": DROPOUT, "attention_dropout": DROPOUT, "activation_dropout": DROPOUT}
    ids = {"pad_token_id": vocab_size - 1, "eos_token_id": 0, "decoder_start_token_id": vocab_size - 1}
    said = {"model_type": "marian", "architectures": ["MarianMTModel"], "activation_function": "relu"}
    return {**said, **sizes, **heads_of, **wide, **dropouts, **ids, "vocab_size": vocab_size, "scale_embedding": True}


_GPT2 = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 50257, "n_positions": 1024}
_GPT2 |= {"resid_pdrop": DROPOUT, "embd_pdrop": DROPOUT, "attn_pdrop": DROPOUT}
SIZES = {
    "small": Size(_translator(256, 4, 3, 8000), 64, 32, 12),
    "base": Size(_translator(512, 8, 6, 16000), 32, 64, 4),
    "gpt2": Size({**_GPT2, "n_embd": 768, "n_layer": 12, "n_head": 12}, 8, 256, 3),
}


def make_model(size: Size, directory: Path) -> None:
    """A checkpoint with random weights."""
    from safetensors.numpy import save_file

    from regard.models.catalog import family
    from regard.models.family import Config

    known = family(size.config["model_type"])
    spec = known.from_config(Config(dict(size.config)))
    random = np.random.default_rng(0)
    tensors: dict[str, Any] = {}
    for rule in known.rules(spec):
        spread = 0.0 if rule.path.endswith("bias") else 0.02
        value = random.normal(0, spread, rule.shape).astype(np.float32)
        tensors |= rule.split(np.ones_like(value) if rule.path.endswith("scale") else value)
    tensors |= {name: made().astype(np.float32) for name, made in known.constants(spec).items()}
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(size.config))
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def batch_of(size: Size) -> dict[str, np.ndarray]:
    """`input_ids`, `attention_mask`, `labels`, the same for every side; labels of -100 are padding."""
    random, shape = np.random.default_rng(2), (size.rows, size.length)
    top = size.config["vocab_size"] - 2
    if size.config["model_type"] == "gpt2":
        ids = random.integers(1, top, shape).astype(np.int32)
        return {"input_ids": ids, "attention_mask": np.ones(shape, np.int32), "labels": ids}

    def side() -> tuple[np.ndarray, np.ndarray]:
        lengths = random.integers(int(0.6 * size.length), size.length + 1, size.rows)
        lengths[0] = size.length
        real = np.arange(size.length) < lengths[:, None]
        return random.integers(1, top, shape).astype(np.int32), real

    (source, read), (target, written) = side(), side()
    return {
        "input_ids": np.where(read, source, top + 1).astype(np.int32),
        "attention_mask": read.astype(np.int32),
        "labels": np.where(written, target, -100).astype(np.int32),
    }


def real_tokens(size: Size) -> int:
    """Predicted tokens of a step: a language model's first token has none before it."""
    labels = batch_of(size)["labels"]
    shown = labels[:, 1:] if size.config["model_type"] == "gpt2" else labels
    return int(np.count_nonzero(shown != -100))


def flops_of_step(size: Size) -> float:
    """Of the matrix products of one step, padding included: forward once, backward twice."""
    config, tokens = size.config, size.rows * size.length
    if config["model_type"] == "gpt2":
        width, layers = config["n_embd"], config["n_layer"]
        layer = tokens * (24 * width**2 + 4 * size.length * width)
        return 3 * (layers * layer + tokens * 2 * width * config["vocab_size"])
    width, layers = config["d_model"], config["encoder_layers"]
    layer = tokens * (24 * width**2 + 4 * size.length * width)
    crossed = tokens * (8 * width**2 + 4 * size.length * width)
    return 3 * (layers * (2 * layer + crossed) + tokens * 2 * width * config["vocab_size"])
