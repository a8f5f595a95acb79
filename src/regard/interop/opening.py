"""Where a checkpoint is: a Hugging Face directory, a .gguf file, or the id of one on the hub."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from regard.errors import CheckpointError
from regard.interop.companions import companions_of
from regard.interop.directory import CONFIG, GENERATION, read_json
from regard.interop.tensors import H5_WEIGHTS, Tensors
from regard.models.family import Config

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
FETCHED = (
    "*.json",
    "*.safetensors",
    "*.txt",
    "*.model",
    "*.spm",
    "*.jinja",
)  # of a hub's repository: no code, no pickle


class StoredWeights(Protocol):
    """The tensors of a checkpoint by name, on disk until one is asked for."""

    origin: Path

    def __getitem__(self, name: str) -> np.ndarray: ...

    def __iter__(self) -> Iterator[str]: ...

    def __len__(self) -> int: ...

    def shape(self, name: str) -> tuple[int, ...]: ...

    def dtype(self, name: str) -> str | None:
        """As NumPy names it; None for a type that no weight has."""
        ...


class Checkpoint(NamedTuple):
    """What was found at a path, unread but for its JSON."""

    config: Config
    tensors: StoredWeights
    generation: Mapping[str, Any]  # {} where it says nothing
    place: Path
    companions: Mapping[str, Callable[[], bytes]]  # files that go along, by name, unread


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Raises CheckpointError where there is none, or a file of it is missing or damaged."""
    place = local_copy(path)
    if place.is_file() and place.suffix == ".gguf":
        return _open_gguf(place)
    config = Config(read_json(place, CONFIG, required=True))
    return Checkpoint(config, _weights(place), read_json(place, GENERATION), place, companions_of(place))


def _weights(place: Path) -> StoredWeights:
    if Tensors.are_in(place) or not (place / H5_WEIGHTS).is_file():
        return Tensors.open(place)
    from regard.interop.h5 import H5Tensors

    return H5Tensors.open(place / H5_WEIGHTS)


def _open_gguf(path: Path) -> Checkpoint:
    from regard.interop.gguf import read_gguf

    found = read_gguf(path, stored_floats=True)
    beside: dict[str, Callable[[], bytes]] = {
        "tokenizer.json": lambda: found.tokenizer_json,
        "tokenizer_config.json": lambda: json.dumps(found.tokenizer_config, indent=2, ensure_ascii=False).encode(),
    }
    return Checkpoint(Config(found.config), found.tensors, {}, path, beside)


def local_copy(path: str | Path) -> Path:
    """The path itself where something is there, else what the hub has under this name: from its cache first."""
    place = Path(path)
    if place.exists():
        return place
    if not isinstance(path, str) or not HUB_ID.fullmatch(path):
        raise CheckpointError(f"no model at {place}: the directory does not exist")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = Path(snapshot_download(path, allow_patterns=list(FETCHED)))
        if not Tensors.are_in(found):  # then TensorFlow's, where a repository has no others
            snapshot_download(path, allow_patterns=[H5_WEIGHTS])
        return found
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"no model at {path}: there is no such directory, and the hub gives none ({reason})"
        ) from error
