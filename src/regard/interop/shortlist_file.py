"""A lexical shortlist as a safetensors file: its arrays, and the vocabulary that they are of."""

import hashlib
import stat
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from regard.decoding.lexical_shortlist import LexicalShortlist
from regard.errors import CheckpointError, ConfigError
from regard.features.tokenizer import Tokenizer

FILE = "lexical_shortlist.safetensors"  # in a model that was exported with one
FORMAT = "regard lexical shortlist 1"
_ARRAYS = ("frequent", "likeliest")
_LARGEST = 2**30  # bytes


def write_shortlist(path: Path, shortlist: LexicalShortlist, tokenizer: Tokenizer) -> None:
    """Raises CheckpointError where it cannot be written."""
    said = {"format": FORMAT, "vocabulary": vocabulary_hash(tokenizer)}
    arrays = {name: np.ascontiguousarray(getattr(shortlist, name)) for name in _ARRAYS}
    fresh = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(arrays, fresh, said)
        fresh.replace(path)
    except (OSError, SafetensorError) as error:
        fresh.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write {path}: {error}") from error


def read_shortlist(path: Path, tokenizer: Tokenizer) -> LexicalShortlist:
    """Raises CheckpointError where there is none, or it is damaged, ConfigError for one of another vocabulary."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            raise CheckpointError(f"{path} must be a file of at most {_LARGEST:,} bytes")
        with safe_open(path, "np") as file:
            said, names = file.metadata() or {}, set(file.keys())
            if said.get("format") != FORMAT or names != set(_ARRAYS):
                raise CheckpointError(f"{path} is no lexical shortlist: `regard shortlist` writes one")
            shortlist = LexicalShortlist(*(file.get_tensor(name) for name in _ARRAYS))
    except (OSError, SafetensorError, ConfigError) as error:
        raise CheckpointError(f"cannot read the shortlist {path}: {error}") from error
    if said.get("vocabulary") != vocabulary_hash(tokenizer):
        raise ConfigError(f"the shortlist {path} is of another vocabulary than the model's: make one for this model")
    return shortlist


def vocabulary_hash(tokenizer: Tokenizer) -> str:
    """SHA-256 of what each id stands for."""
    return hashlib.sha256(repr(tokenizer.pieces()).encode()).hexdigest()
