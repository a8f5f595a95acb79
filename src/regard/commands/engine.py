"""The engines on the command line: imported late and quietly, and missed with one line."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from regard.errors import MissingDependencyError


def import_tensorflow() -> None:
    """Import TensorFlow without its greeting. Raises MissingDependencyError where it is not installed."""
    import regard.nn  # noqa: F401  # first, for it sets what TensorFlow reads from the environment

    try:
        with _stderr_held_back():
            import tensorflow  # noqa: F401
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "tensorflow":
            raise
        raise MissingDependencyError(
            "TensorFlow is not installed: pip install 'regard[cpu]', or 'regard[gpu]' for a GPU"
        ) from error


def require_openvino() -> None:
    """Raises MissingDependencyError where the runtime is not installed."""
    if find_spec("openvino") is None:
        raise MissingDependencyError("OpenVINO is not installed: pip install 'regard[openvino]'")


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Hold back what C++ writes to stderr, which no log level stops while TensorFlow loads; an error lets it out."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
