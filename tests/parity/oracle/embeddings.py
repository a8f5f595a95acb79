"""sentence-transformers directories: BERT, and modules that make one vector of its hidden states."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from oracle.case import Case
from oracle.directory import write_json
from oracle.encoders import BERT, SMALL

WIDTH = BERT["hidden_size"]
FLAGS = {  # mode: how the directories of sentence-transformers before 6 say it
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
}
OLD = {  # the classes' names before 6
    "Transformer": "sentence_transformers.models.Transformer",
    "Pooling": "sentence_transformers.models.Pooling",
    "Dense": "sentence_transformers.models.Dense",
    "Normalize": "sentence_transformers.models.Normalize",
}
NEW = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}


def modules(modes: tuple[str, ...], then: tuple[str, ...], new: bool) -> Callable[[Path], None]:
    """Writes what stands beside the network: pooling, and `then` Dense or Normalize."""

    def edit(directory: Path) -> None:
        names = ["Transformer", "Pooling", *then]
        paths = ["", *(f"{i}_{name}" for i, name in enumerate(names[1:], 1))]
        kinds = NEW if new else OLD
        listed = [
            {"idx": i, "name": str(i), "path": path, "type": kinds[name]}
            for i, (name, path) in enumerate(zip(names, paths, strict=True))
        ]
        write_json(directory / "modules.json", listed)
        write_json(directory / "config_sentence_transformers.json", {"prompts": {}, "similarity_fn_name": "cosine"})
        if not new:
            write_json(directory / "sentence_bert_config.json", {"max_seq_length": 16, "do_lower_case": False})
        for name, path in zip(names[1:], paths[1:], strict=True):
            written(name, directory / path, modes, new)

    return edit


def written(name: str, directory: Path, modes: tuple[str, ...], new: bool) -> None:
    """One module's directory; Normalize had none before 6."""
    if name == "Normalize" and not new:
        return
    directory.mkdir()
    if name == "Pooling":
        write_json(directory / "config.json", pooling(modes, new))
    elif name == "Dense":
        config = {"in_features": WIDTH * len(modes), "out_features": 7, "bias": True}
        write_json(directory / "config.json", {**config, "activation_function": "torch.nn.modules.activation.Tanh"})
        generator = torch.Generator().manual_seed(5)
        weight = torch.randn(7, WIDTH * len(modes), generator=generator) / 3
        bias = torch.randn(7, generator=generator) / 3
        save_file({"linear.weight": weight, "linear.bias": bias}, directory / "model.safetensors", {"format": "pt"})
    else:
        names = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
        write_json(directory / "config.json", names)


def pooling(modes: tuple[str, ...], new: bool) -> dict[str, Any]:
    if new:
        mode = modes[0] if len(modes) == 1 else list(modes)
        return {"embedding_dimension": WIDTH, "pooling_mode": mode, "include_prompt": True}
    return {"word_embedding_dimension": WIDTH, **{flag: mode in modes for mode, flag in FLAGS.items()}}


def embed(hidden: np.ndarray, mask: np.ndarray, directory: Path) -> np.ndarray:
    """(B, T, D), (B, T) -> (B, E): what the modules of `directory` mean, from their definitions."""
    states, real = torch.from_numpy(hidden), torch.from_numpy(mask).bool()
    listed = json.loads((directory / "modules.json").read_text("utf-8"))[1:]
    vectors = states
    for module in listed:
        name, path = module["type"].rsplit(".", 1)[-1], directory / module["path"]
        if name == "Pooling":
            vectors = torch.cat([POOLED[mode](states, real) for mode in modes_of(path)], dim=-1)
        elif name == "Dense":
            tensors = load_file(path / "model.safetensors")
            vectors = torch.tanh(vectors @ tensors["linear.weight"].T + tensors["linear.bias"])
        else:
            vectors = vectors / vectors.norm(dim=-1, keepdim=True)
    return vectors.numpy()


def modes_of(pooling: Path) -> list[str]:
    config = json.loads((pooling / "config.json").read_text("utf-8"))
    if "pooling_mode" in config:
        mode = config["pooling_mode"]
        return [mode] if isinstance(mode, str) else mode
    return [mode for mode, flag in FLAGS.items() if config[flag]]


def first(states: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Each row's first real token."""
    return states[torch.arange(len(states)), real.int().argmax(1)]


def largest(states: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    return states.masked_fill(~real[:, :, None], -torch.inf).amax(1)


def mean(states: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    return (states * real[:, :, None]).sum(1) / real.sum(1)[:, None]


def mean_by_root(states: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """The sum over the square root of how many there are."""
    return (states * real[:, :, None]).sum(1) / real.sum(1)[:, None] ** 0.5


POOLED = {"cls": first, "max": largest, "mean": mean, "mean_sqrt_len_tokens": mean_by_root}


def sentences(
    name: str, modes: tuple[str, ...], then: tuple[str, ...] = (), new: bool = False, notes: str = ""
) -> Case:
    return Case(
        name=f"sentence-bert-{name}",
        family="bert",
        head="bare",
        form="encoder",
        architecture="BertModel",
        config=BERT,
        random=SMALL,
        edit=modules(modes, then, new),
        pool=embed,
        notes=notes,
    )


CASES = [
    sentences("mean", ("mean",), ("Normalize",), notes="the mean over real tokens, of length 1; names of before 6"),
    sentences("cls-dense", ("cls",), ("Dense",), True, "the first token, through a layer with tanh; names of 6"),
    replace(sentences("max", ("max",)), config={**BERT, "hidden_act": "relu"}, notes="the maximum over real tokens"),
    sentences("two", ("max", "mean"), ("Dense", "Normalize"), notes="two poolings side by side, a layer, length 1"),
    sentences("mean-sqrt-len", ("mean_sqrt_len_tokens",), ("Normalize",), True, "names of 6"),
]
