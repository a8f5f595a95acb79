"""What a sentence-transformers directory does after its encoder, by its modules.json: pooling, dense layers, length 1.

Each module maps one text's array to another: hidden states (S, D) to a vector (E,), and vectors to vectors (Reimers and
Gurevych 2019). The names of their classes are looked up here; nothing is imported by a name.
"""

import json
from collections.abc import Callable, Mapping
from math import erf, sqrt
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from regard.errors import CheckpointError
from regard.interop.directory import CONFIG, LARGEST_JSON, read_json
from regard.interop.tensors import Tensors
from regard.tasks.probabilities import sigmoid

Array = NDArray[np.float32]
Module = Callable[[Array], Array]

MODULES = "modules.json"
_TINY = 1e-12  # the least length that a vector is divided by, as in PyTorch


class SentenceModules(NamedTuple):
    """The directory of the encoder, and what follows it."""

    encoder: Path
    after: tuple[Module, ...]


def read_modules(directory: Path) -> SentenceModules:
    """The modules of a sentence-transformers directory, as far as they are text encoders, poolings, dense layers and
    normalisations. Raises CheckpointError for another kind, by its name, and for a path that leads elsewhere."""
    encoder, after = directory, []
    for number, (kind, place) in enumerate(_listed(directory)):
        if (kind == "Transformer") != (number == 0):
            raise CheckpointError(f"{directory / MODULES}: the first module, and no other, must be a Transformer")
        if number == 0:
            encoder = place
        elif kind in _READERS:
            after.append(_READERS[kind](place))
        elif kind != "Dropout":  # nothing happens there but in training
            raise CheckpointError(
                f"{directory / MODULES}: unknown module {kind!r}: known are Transformer, {', '.join(_READERS)}"
            )
    return SentenceModules(encoder, tuple(after))


def _listed(directory: Path) -> list[tuple[str, Path]]:
    """Each module's class, without the package, and its directory."""
    path = directory / MODULES
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise CheckpointError(f"{path} must be a file of at most {LARGEST_JSON:,} bytes")
        modules = json.loads(path.read_text("utf-8"))
        found = [(str(module["type"]).rpartition(".")[2], str(module["path"])) for module in modules]
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise CheckpointError(f"cannot read {path}: {error!r}") from error
    for _, name in found:
        if name and (PurePosixPath(name).name != name or name in (".", "..")):
            raise CheckpointError(f"{path} must name directories beside it, but names {name!r}")
    if not found:
        raise CheckpointError(f"{path} must name a Transformer, but names nothing")
    return [(kind, directory / name) for kind, name in found]


def mean(hidden: Array) -> Array:
    """(S, D) -> (D,): the pooling of a plain encoder, and the usual one."""
    return hidden.mean(axis=0)


def _weighted_mean(hidden: Array) -> Array:
    """Later tokens count more: the n-th n times (Muennighoff 2022)."""
    weights = np.arange(1, len(hidden) + 1, dtype=hidden.dtype)
    return weights @ hidden / weights.sum()


POOLINGS: dict[str, Module] = {
    "cls": lambda hidden: hidden[0],
    "max": lambda hidden: hidden.max(axis=0),
    "mean": mean,
    "mean_sqrt_len_tokens": lambda hidden: hidden.sum(axis=0) / np.float32(sqrt(len(hidden))),
    "weightedmean": _weighted_mean,
    "lasttoken": lambda hidden: hidden[-1],
}
_LEGACY = {  # a flag for each mode, in the order in which several are joined
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def _pooling(directory: Path) -> Module:
    config = read_json(directory, CONFIG, required=True)
    said = config.get("pooling_mode")
    flagged = [mode for flag, mode in _LEGACY.items() if config.get(flag)] or ["mean"]
    modes = flagged if said is None else [said] if isinstance(said, str) else list(said)
    unknown = [mode for mode in modes if mode not in POOLINGS]
    if unknown:
        raise CheckpointError(f"{directory / CONFIG}: unknown pooling {unknown[0]!r}: known are {', '.join(POOLINGS)}")
    if config.get("include_prompt", True) is False:
        raise CheckpointError(f"{directory / CONFIG}: include_prompt is false, which is not supported; true is")
    return lambda hidden: np.concatenate([POOLINGS[mode](hidden) for mode in modes])


_erf = np.vectorize(erf, otypes=[np.float32])
ACTIVATIONS: dict[str, Module] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "GELU": lambda x: x * (1 + _erf(x / sqrt(2))) / np.float32(2),
    "Sigmoid": lambda x: sigmoid(x).astype(np.float32),
    "SiLU": lambda x: x * sigmoid(x).astype(np.float32),
}


def _dense(directory: Path) -> Module:
    config = read_json(directory, CONFIG, required=True)
    name = str(config.get("activation_function", "torch.nn.Tanh")).rpartition(".")[2]
    if name not in ACTIVATIONS:
        raise CheckpointError(f"{directory / CONFIG}: unknown activation {name!r}: known are {', '.join(ACTIVATIONS)}")
    if config.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise CheckpointError(f"{directory / CONFIG}: a dense layer on tokens is not supported; one on vectors is")
    tensors, biased = Tensors.open(directory), bool(config.get("bias", True))
    shapes = {"linear.weight": (config.get("out_features"), config.get("in_features"))}
    shapes |= {"linear.bias": (config.get("out_features"),)} if biased else {}  # type: ignore[dict-item]
    _require(tensors, shapes)
    weight = tensors["linear.weight"].astype(np.float32)
    bias = tensors["linear.bias"].astype(np.float32) if biased else np.float32(0)
    activation = ACTIVATIONS[name]
    return lambda vector: activation(weight @ vector + bias)


def _require(tensors: Tensors, shapes: Mapping[str, tuple[Any, ...]]) -> None:
    found = {name: tensors.shape(name) for name in tensors}
    if found != shapes:
        raise CheckpointError(f"{tensors.origin} must hold {dict(shapes)}, but holds {found}")


def _normalize(directory: Path) -> Module:
    return unit


def unit(vectors: Array) -> Array:
    """(..., D) of length 1; a vector of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(lengths, np.float32(_TINY))


_READERS: dict[str, Callable[[Path], Module]] = {"Pooling": _pooling, "Dense": _dense, "Normalize": _normalize}
