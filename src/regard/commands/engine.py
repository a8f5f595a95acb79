"""TensorFlow on the command line: imported late and quietly, and missed with one line."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regard.errors import MissingDependencyError
from regard.tasks.locate import model_directory
from regard.tasks.translate import Translator


def load_translator(path: Path) -> Translator:
    """`regard.tasks.loading.load`; a path without a model fails before TensorFlow is imported."""
    directory = model_directory(path)
    import_tensorflow()
    from regard.tasks.loading import load

    return load(directory, task="translate")


def import_tensorflow() -> None:
    """Import TensorFlow without its greeting. Raises MissingDependencyError where it is not installed."""
    try:
        with _stderr_held_back():
            import tensorflow  # noqa: F401
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "tensorflow":
            raise
        raise MissingDependencyError(
            "TensorFlow is not installed: pip install 'regard[cpu]', or 'regard[gpu]' for a GPU"
        ) from error


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
