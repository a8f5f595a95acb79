"""The errors that Regard raises on purpose: each message is one line that names the thing and the way out.

The command line prints the message alone and leaves with `exit_code`; Python users catch `RegardError`.
"""

import os
from collections.abc import Callable


class RegardError(Exception):
    """Base of every error that a user can put right."""

    exit_code = 2


class ConfigError(RegardError, ValueError):
    """A run file, a spec or an option says something that cannot be."""


class DataError(RegardError, ValueError):
    """A corpus, a line of it, or a prepared data set is not usable."""


class InputError(RegardError, ValueError):
    """A request to a model or a task is empty, too long, or of the wrong kind."""


Refused = Callable[[int, InputError], None]  # is told the number of an item, from 1, and why it cannot be read


class CheckpointError(RegardError, ValueError):
    """A model directory or training checkpoint is missing, damaged, or of another model."""


class MissingDependencyError(RegardError, ImportError):
    """An optional package is needed; the message names the extra that brings it."""


class FetchError(RegardError, OSError):
    """A package that a recipe needs cannot be fetched, or its hash is not the pinned one."""


class PartlyDone(RegardError):
    """Some of several files could not be read, and are named; all others are done."""

    exit_code = 1


class TrainingInterrupted(RegardError):
    """Training stopped on a signal after saving; the same command goes on."""

    exit_code = 75  # EX_TEMPFAIL: "try again later"


class WorkerLost(RegardError):
    """Another process of a training cluster is gone, so this one cannot go on; all are to be started again."""

    exit_code = 69  # EX_UNAVAILABLE


def no_file(path: str | os.PathLike[str]) -> str:
    """What is wrong with a path that is no file's."""
    return "it is a directory: name the files in it" if os.path.isdir(path) else "it is no file"
