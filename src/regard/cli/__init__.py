"""The command line: `regard VERB`. Results go to stdout, progress and errors to stderr; TensorFlow is imported late.

Exit codes: 0 done, 1 an unexpected error, or some of several files could not be read, 2 usage or input that must be put
right, 69 a worker of a training cluster is gone, 75 training was stopped as it was asked to (its line says from where
it goes on), 130 interrupted, 141 the reader of stdout went away.
"""

import errno
import inspect
import io
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from regard import __version__
from regard.cli import (
    checkpoint_verbs,
    evaluate_verb,
    export_verb,
    finding_verbs,
    hearing_verbs,
    reading_verbs,
    run_verbs,
    seeing_verbs,
    summarise_verb,
    sweep_verbs,
    writing_verbs,
)
from regard.errors import RegardError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")

INTERRUPTED = 130  # 128 + SIGINT
CLOSED_PIPE = 141  # 128 + SIGPIPE
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}  # those that only writing meets
_INACCESSIBLE = {*_FULL, errno.EACCES, errno.EPERM, errno.EIO}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every error is one line on stderr."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = _take_debug(arguments)
    _prepare_process()
    try:
        with _logging_to_stderr():
            code = app(args=arguments, prog_name="regard", standalone_mode=False)
        sys.stdout.flush()
        return _interrupted() if code == INTERRUPTED else int(code or 0)
    except (BrokenPipeError, SystemExit):  # Typer turns a closed pipe into SystemExit
        return _closed_pipe()
    except Exception as error:
        return _explain(error, debug)


def _take_debug(arguments: list[str]) -> bool:
    """Remove --debug, which may stand before or after the verb."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    found = "--debug" in options
    if found:
        arguments[: len(options)] = [argument for argument in options if argument != "--debug"]
    return found


def _prepare_process() -> None:
    """Keep TensorFlow's chatter off stderr, and make the streams take any text."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    for name in ("absl", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def _logging_to_stderr() -> Iterator[None]:
    logger = logging.getLogger("regard")
    before = logger.level, logger.handlers
    logger.setLevel(logging.INFO)
    logger.handlers = [logging.StreamHandler(sys.stderr)]
    try:
        yield
    finally:
        logger.level, logger.handlers = before


def _explain(error: Exception, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    if isinstance(error, RegardError):
        return _complain(str(error), error.exit_code)
    if isinstance(error, typer.TyperException):
        return _complain(_usage(error), error.exit_code)
    if isinstance(error, OSError) and error.errno in _INACCESSIBLE:
        what = "cannot write" if error.errno in _FULL else "cannot read or write"
        where = f"{what} {error.filename}" if error.filename else what
        return _complain(f"{where}: {error.strerror}", RegardError.exit_code)
    hint = "" if debug else " (run again with --debug for the traceback)"
    return _complain(f"unexpected {type(error).__name__}: {error}{hint}", 1)


def _usage(error: typer.TyperException) -> str:
    """The complaint and where to read on; empty where Typer has shown the help already."""
    message = error.format_message()
    context = getattr(error, "ctx", None)
    return f"{message} See {context.command_path} --help." if message and context else message


def _complain(message: str, code: int) -> int:
    if message:
        print("regard: " + " ".join(message.split()), file=sys.stderr)
    return code


def _interrupted() -> int:
    return _complain("interrupted", INTERRUPTED)


def _closed_pipe() -> int:
    # Python flushes stdout once more when it exits: give it somewhere to go.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return CLOSED_PIPE


def _version(wanted: bool) -> None:
    if wanted:
        print(f"regard {__version__}")
        raise typer.Exit()


@app.callback()
def regard(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; also after the verb.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    """Regard trains, evaluates and explains Transformers for TensorFlow and Keras 3.

    \b
    regard demo                                 learn a small translation, in minutes
    regard train recipes/translate/en-de.toml   prepare the data and train
    regard translate runs/en-de "Hello world"   translate
    regard embed minilm "Hello world"           use a checkpoint of Hugging Face's layout
    """


def unwrapped(text: str) -> str:
    """Each paragraph on one line, for a terminal of any width; but those that begin with \\b stay as they are."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(part if part.startswith("\b") else " ".join(part.split()) for part in paragraphs)


for module in (
    run_verbs,
    evaluate_verb,
    finding_verbs,
    sweep_verbs,
    summarise_verb,
    reading_verbs,
    writing_verbs,
    seeing_verbs,
    hearing_verbs,
    export_verb,
    checkpoint_verbs,
):  # in the order of the help
    for verb in module.verbs.registered_commands:
        verb.help = unwrapped(inspect.getdoc(verb.callback) or "")
    app.add_typer(module.verbs)
