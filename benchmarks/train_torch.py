"""PyTorch as a side of benchmarks/train.py: `nn.Transformer`, or Transformers' GPT-2, with fused AdamW."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Step = Callable[[], float]  # one training step; its loss


def torch_side(compiled: bool, dtype: str) -> Callable[[Path, Any], tuple[float, Step, dict[str, Any]]]:
    """The side gives its loss without dropout, its step, and its settings."""

    def load(directory: Path, size: Any) -> tuple[float, Step, dict[str, Any]]:
        import torch
        from torch.nn import functional as F
        from torch_translator import Translator
        from train_sizes import CLIP, RATE, SMOOTHING, batch_of

        torch.manual_seed(0)
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        gpt2 = size.config["model_type"] == "gpt2"
        network = _hugging_face_gpt2(directory) if gpt2 else Translator(directory)
        batch = {key: torch.from_numpy(value.astype(np.int64)) for key, value in batch_of(size).items()}
        labels = batch["labels"]
        shown = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], -100)], 1) if gpt2 else labels

        def loss_of(smoothing: float) -> Any:
            logits = network(batch["input_ids"], batch["attention_mask"], labels)
            flat = logits.reshape(-1, logits.shape[-1]).float()
            return F.cross_entropy(flat, shown.reshape(-1), ignore_index=-100, label_smoothing=smoothing)

        def in_its_dtype(loss: Callable[[float], Any], smoothing: float) -> Any:
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
                return loss(smoothing)

        network.eval()
        with torch.no_grad():
            exact = float(in_its_dtype(loss_of, 0.0))
        network.train()
        trained = torch.compile(loss_of) if compiled else loss_of  # one graph of network and loss
        optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01, fused=True)

        def one() -> float:
            optimizer.zero_grad(set_to_none=True)
            loss = in_its_dtype(trained, SMOOTHING)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()
            return float(loss.detach())

        settings = {
            "dtype": "autocast to bfloat16" if dtype == "bfloat16" else dtype,
            "threads": torch.get_num_threads(),
            "compiled": "torch.compile" if compiled else None,
        }
        return exact, one, settings

    return load


def torch_product(dtype: str, size: int) -> Callable[[], Any]:
    """A product of two (size, size) matrices."""
    import torch

    matrix = torch.randn(size, size).to(getattr(torch, dtype))
    return lambda: matrix @ matrix


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
