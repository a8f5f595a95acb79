"""Keras must come up on TensorFlow: what is wrong otherwise is said in one line, before Keras is imported."""

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from regard.errors import ConfigError, MissingDependencyError


def require_tensorflow() -> None:
    """Make the first import of Keras choose TensorFlow; called by `regard.nn` before anything imports Keras.

    Sets KERAS_BACKEND where neither the environment nor keras.json chose a backend, and has TensorFlow multiply by
    oneDNN unless TF_ENABLE_ONEDNN_OPTS is set. Imports nothing heavy itself.

    Raises:
        ConfigError: the process, the environment or keras.json chose another backend.
        MissingDependencyError: TensorFlow is not installed.
    """
    chosen, by = _chosen_backend()
    if chosen not in (None, "tensorflow"):
        raise ConfigError(
            f"Regard needs Keras on TensorFlow, but {by} chose {chosen!r}: "
            "set the environment variable KERAS_BACKEND=tensorflow before Keras is imported"
        )
    if not _installed("tensorflow"):
        raise MissingDependencyError(
            'TensorFlow is not installed: pip install "regard[cpu]", or "regard[gpu]" for an NVIDIA GPU'
        )
    os.environ["KERAS_BACKEND"] = "tensorflow"
    # Products by oneDNN: TensorFlow chooses it by itself on some processors alone (docs/decisions.md).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def _chosen_backend() -> tuple[str | None, str]:
    """The backend that somebody chose, and who: Keras itself asks in this order."""
    if "keras" in sys.modules:
        return sys.modules["keras"].config.backend(), "an earlier import of Keras"
    if name := os.environ.get("KERAS_BACKEND"):
        return name, "the environment variable KERAS_BACKEND"
    settings = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "keras.json"
    try:
        return json.loads(settings.read_bytes())["backend"], str(settings)
    except (OSError, ValueError, KeyError, TypeError):  # Keras passes over a file that it cannot read, too
        return None, ""


def _installed(package: str) -> bool:
    # A folder that an uninstall left behind is found as a package without a file.
    spec = find_spec(package)
    return spec is not None and spec.origin is not None
