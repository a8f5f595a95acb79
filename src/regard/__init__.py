"""Regard: the Transformer toolkit for TensorFlow and Keras 3. Public names are imported when first used."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "load_model": "regard.interop.checkpoints",
    "save_model": "regard.interop.checkpoints",
    "load": "regard.tasks.loading",
    "GenerationOptions": "regard.decoding.options",
    "HeadSpec": "regard.specs",
    "ModelSpec": "regard.specs",
    "Output": "regard.nn.output",
    "Generation": "regard.decoding.options",
    "TokenTrie": "regard.decoding.trie",
    "RegardError": "regard.errors",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'regard' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
