"""PyTorch as a side of benchmarks/train.py: `nn.Transformer`, or Transformers' GPT-2, with fused AdamW."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Step = Callable[[], float]  # one training step; its loss


def torch_side(compiled: bool, dtype: str) -> Callable[[Path, Any], tuple[float, Step]]:
    def load(directory: Path, size: Any) -> tuple[float, Step]:
        import torch
        from torch.nn import functional as F
        from train import CLIP, RATE, SMOOTHING, batch_of  # the script that asks for this side

        torch.manual_seed(0)
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        gpt2 = size.config["model_type"] == "gpt2"
        network = _hugging_face_gpt2(directory) if gpt2 else _nn_transformer(directory, size.config)
        batch = {key: torch.from_numpy(value.astype(np.int64)) for key, value in batch_of(size).items()}
        labels = batch["labels"]
        shown = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], -100)], 1) if gpt2 else labels

        def loss_of(smoothing: float) -> Any:
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
                logits = forward(batch["input_ids"], batch["attention_mask"], labels)
            flat = logits.reshape(-1, logits.shape[-1]).float()
            return F.cross_entropy(flat, shown.reshape(-1), ignore_index=-100, label_smoothing=smoothing)

        forward = network.eval()
        with torch.no_grad():
            exact = float(loss_of(0.0))
        network.train()
        if compiled:
            forward = torch.compile(network)
        optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01, fused=True)

        def one() -> float:
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(SMOOTHING)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()
            return float(loss)

        return exact, one

    return load


def _hugging_face_gpt2(directory: Path) -> Any:
    import torch
    from transformers import GPT2LMHeadModel

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = GPT2LMHeadModel.from_pretrained(directory)

        def forward(self, ids: Any, mask: Any, labels: Any) -> Any:
            return self.model(ids, use_cache=False).logits  # full rows: causal alone is its fastest mask

    return Network()


def _nn_transformer(directory: Path, config: dict[str, Any]) -> Any:
    import torch
    from safetensors.torch import load_file
    from torch import nn
    from train import DROPOUT

    width, heads, depth = config["d_model"], config["encoder_attention_heads"], config["encoder_layers"]
    own = {"dropout": DROPOUT, "activation": "relu", "batch_first": True, "norm_first": False}
    saved = load_file(directory / "model.safetensors")

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(config["vocab_size"], width)
            encoder, decoder = nn.TransformerEncoderLayer, nn.TransformerDecoderLayer
            layers = encoder(width, heads, 4 * width, **own), decoder(width, heads, 4 * width, **own)
            self.encoder = nn.TransformerEncoder(layers[0], depth, enable_nested_tensor=False)
            self.decoder = nn.TransformerDecoder(layers[1], depth)
            self.dropout = nn.Dropout(DROPOUT)
            angles = np.arange(512)[:, None] / 10000 ** (2 * np.arange(width // 2) / width)
            places = np.concatenate([np.sin(angles), np.cos(angles)], 1).astype(np.float32)
            self.register_buffer("places", torch.from_numpy(places))

        def embed(self, ids: Any) -> Any:
            return self.dropout(self.table(ids) * width**0.5 + self.places[: ids.shape[1]])

        def forward(self, ids: Any, mask: Any, labels: Any) -> Any:
            start = torch.full_like(labels[:, :1], config["decoder_start_token_id"])
            begun = torch.cat([start, labels[:, :-1]], 1)
            shifted = torch.where(begun < 0, config["pad_token_id"], begun)
            hidden, unread = self.encoder(self.embed(ids), src_key_padding_mask=mask == 0), mask == 0
            later = nn.Transformer.generate_square_subsequent_mask(labels.shape[1], dtype=torch.bool)
            written = self.decoder(
                self.embed(shifted), hidden, tgt_mask=later, tgt_is_causal=True, memory_key_padding_mask=unread
            )
            return nn.functional.linear(written, self.table.weight)

    network = Network()
    _fill(network, saved)
    return network


def _fill(network: Any, saved: dict[str, Any]) -> None:
    """Marian's tensors under PyTorch's names."""
    import torch

    parts = {"self_attn": "self_attn", "encoder_attn": "multihead_attn", "fc1": "linear1", "fc2": "linear2"}
    norms = {
        "encoder": {"self_attn_layer_norm": "norm1", "final_layer_norm": "norm2"},
        "decoder": {"self_attn_layer_norm": "norm1", "encoder_attn_layer_norm": "norm2", "final_layer_norm": "norm3"},
    }
    own = network.state_dict()
    with torch.no_grad():
        own["table.weight"].copy_(saved["model.shared.weight"])
        for side in ("encoder", "decoder"):
            for number in range(len(getattr(network, side).layers)):
                theirs, ours = f"model.{side}.layers.{number}.", f"{side}.layers.{number}."
                for name, renamed in {**parts, **norms[side]}.items():
                    for kind in ("weight", "bias"):
                        if f"{theirs}{name}.q_proj.{kind}" in saved:
                            joint = [saved[f"{theirs}{name}.{part}_proj.{kind}"] for part in "qkv"]
                            own[f"{ours}{renamed}.in_proj_{kind}"].copy_(torch.cat(joint))
                            own[f"{ours}{renamed}.out_proj.{kind}"].copy_(saved[f"{theirs}{name}.out_proj.{kind}"])
                        elif f"{theirs}{name}.{kind}" in saved:
                            own[f"{ours}{renamed}.{kind}"].copy_(saved[f"{theirs}{name}.{kind}"])
