"""An encoder-decoder of PyTorch's own layers, which reads and writes checkpoints as Marian and Pegasus have them."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

WEIGHTS = "model.safetensors"
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}
# What a layer has, by the checkpoint's name: Marian's and Pegasus's are the same.
ATTENTIONS = {
    "encoder": {"self_attn": "self_attn"},
    "decoder": {"self_attn": "self_attn", "encoder_attn": "multihead_attn"},
}
NORMS = {
    "encoder": {"self_attn_layer_norm": "norm1", "final_layer_norm": "norm2"},
    "decoder": {"self_attn_layer_norm": "norm1", "encoder_attn_layer_norm": "norm2", "final_layer_norm": "norm3"},
}


class Translator(nn.Module):
    """`nn.TransformerEncoder` and `nn.TransformerDecoder` on one table, post-norm where the checkpoint is Marian's,
    pre-norm with a last norm on each side where it is Pegasus's, with its weights and its rates of dropout."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.config = config = json.loads((directory / "config.json").read_text("utf-8"))
        self.pad, self.start = config["pad_token_id"], config["decoder_start_token_id"]
        self.width = width = config["d_model"]
        self.table = nn.Embedding(config["vocab_size"], width)
        self.dropout = nn.Dropout(config["dropout"])
        last = {side: nn.LayerNorm(width) if self.pre_norm else None for side in NORMS}
        layer, depth = _layer(nn.TransformerEncoderLayer, "encoder", config), config["encoder_layers"]
        self.encoder = nn.TransformerEncoder(layer, depth, last["encoder"], enable_nested_tensor=False)
        layer, depth = _layer(nn.TransformerDecoderLayer, "decoder", config), config["decoder_layers"]
        self.decoder = nn.TransformerDecoder(layer, depth, last["decoder"])
        angles = np.arange(config["max_position_embeddings"])[:, None] / 10000 ** (2 * np.arange(width // 2) / width)
        places = np.concatenate([np.sin(angles), np.cos(angles)], 1).astype(np.float32)
        self.register_buffer("places", torch.from_numpy(places))
        self._fill(load_file(directory / WEIGHTS))

    @property
    def pre_norm(self) -> bool:
        return bool(self.config["model_type"] == "pegasus")

    def embed(self, ids: Any) -> Any:
        return self.dropout(self.table(ids) * self.width**0.5 + self.places[: ids.shape[1]])

    def forward(self, ids: Any, mask: Any, labels: Any) -> Any:
        """(B, S), (B, S) and (B, T), whose labels of -100 are padding -> logits (B, T, V)."""
        begun = torch.cat([torch.full_like(labels[:, :1], self.start), labels[:, :-1]], 1)
        shifted, unread = torch.where(begun < 0, self.pad, begun), mask == 0
        hidden = self.encoder(self.embed(ids), src_key_padding_mask=unread)
        later = nn.Transformer.generate_square_subsequent_mask(labels.shape[1], dtype=torch.bool)
        written = self.decoder(
            self.embed(shifted), hidden, tgt_mask=later, tgt_is_causal=True, memory_key_padding_mask=unread
        )
        return F.linear(written, self.table.weight)

    def save(self, path: Path, others: Path) -> None:
        """Write the weights under the checkpoint's names, and what else is in the file of weights `others`."""
        tensors, names = load_file(others), self._stored_names()
        for name, parameter in self.named_parameters():
            parts = parameter.detach().chunk(len(names[name]))
            tensors |= {stored: part.clone() for stored, part in zip(names[name], parts, strict=True)}
        save_file(tensors, path, metadata={"format": "pt"})

    def _fill(self, saved: dict[str, Any]) -> None:
        names = self._stored_names()
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(torch.cat([saved[stored] for stored in names[name]]))

    def _stored_names(self) -> dict[str, list[str]]:
        """By the name of each parameter, what the checkpoint has side by side in its place."""
        found = {"table.weight": ["model.shared.weight"]}
        for side, attentions in ATTENTIONS.items():
            plain = {"fc1": "linear1", "fc2": "linear2", **NORMS[side]}
            plain |= {f"{name}.out_proj": f"{renamed}.out_proj" for name, renamed in attentions.items()}
            for kind in ("weight", "bias"):
                found[f"{side}.norm.{kind}"] = [f"model.{side}.layer_norm.{kind}"]
                for number in range(self.config[f"{side}_layers"]):
                    ours, theirs = f"{side}.layers.{number}.", f"model.{side}.layers.{number}."
                    for name, renamed in attentions.items():
                        joint = [f"{theirs}{name}.{part}_proj.{kind}" for part in "qkv"]
                        found[f"{ours}{renamed}.in_proj_{kind}"] = joint
                    for name, renamed in plain.items():
                        found[f"{ours}{renamed}.{kind}"] = [f"{theirs}{name}.{kind}"]
        return found


def _layer(kind: Any, side: str, config: dict[str, Any]) -> Any:
    layer = kind(
        config["d_model"],
        config[f"{side}_attention_heads"],
        config[f"{side}_ffn_dim"],
        dropout=config["dropout"],
        activation=ACTIVATIONS[config["activation_function"]],
        batch_first=True,
        norm_first=config["model_type"] == "pegasus",
    )
    # One rate stands for all in its constructor.
    layer.dropout.p = config["activation_dropout"]
    for name in ATTENTIONS[side].values():
        getattr(layer, name).dropout = config["attention_dropout"]
    return layer
