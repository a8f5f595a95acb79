"""What the verbs share of reading and writing: lines of text, tables, the note on unfinished translations."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from rich.console import Console

from regard.errors import InputError

Errors = Literal["strict", "surrogateescape"]  # of decoding
_TABLE_WIDTH = 110  # characters; a narrower terminal wraps a table, and nothing is cut


def open_lines(path: Path | None, errors: Errors = "strict") -> Iterator[str]:
    """The lines of a UTF-8 file, or of stdin where `path` is None or "-", one after the other as they are asked for.

    Only line feeds end a line, so that one line in is one line out; a byte order mark at the start is skipped. errors:
    "surrogateescape" where lines are paths, which may be of any bytes. Raises InputError for a file that cannot be
    read, at once, and for gzip and invalid UTF-8, with its line.
    """
    if path is None or str(path) == "-":
        return _decoded(sys.stdin.buffer, "stdin", errors)
    try:
        return _decoded(path.open("rb"), str(path), errors)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _decoded(stream: BinaryIO, name: str, errors: Errors) -> Iterator[str]:
    with stream:
        for number, line in enumerate(stream, 1):
            if number == 1 and line.startswith(b"\x1f\x8b"):
                raise InputError(f"{name} is compressed by gzip: unpack it first, as in `gzip -dc FILE | regard ...`")
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            try:
                yield line.decode("utf-8", errors).removesuffix("\n").removesuffix("\r")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{name}, line {number}: not UTF-8 (byte {error.object[error.start]:#04x} at {error.start})"
                ) from error


def program() -> str:
    """The command as it was started: `regard` where the search path finds it, else its path."""
    started, found = Path(sys.argv[0]), shutil.which("regard")
    if started.name != "regard" or started.parent == Path() or (found and Path(found).resolve() == started.resolve()):
        return "regard"
    return str(started)


def table_console() -> Console:
    """A console on stdout that is wide enough for a table."""
    return Console(width=max(Console().width, _TABLE_WIDTH), highlight=False)


def warn_of_unfinished(unfinished: int, count: int, what: str = "translations") -> None:
    """Say on stderr how many translations were cut at max_new_tokens, if any were."""
    if unfinished:
        cut = f"{unfinished} of {count} {what} reached max_new_tokens before their end"
        print(f"regard: {cut}: raise --max-new-tokens", file=sys.stderr)
