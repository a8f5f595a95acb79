"""Lines through a task: read ahead in blocks, answered in order, and what was cut said on stderr."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from regard.commands.engine import import_tensorflow, require_openvino
from regard.commands.text import Errors, open_lines
from regard.errors import InputError
from regard.tasks.blocks import blocks
from regard.tasks.locate import engine_of, model_place

READ_AHEAD = 512  # lines


def load_task(
    model: str,
    task: str,
    engine: str | None = None,
    dtype: str = "float32",
    assistant: str | None = None,
    shortlist: str | None = None,
) -> Any:
    """`regard.load`; a path without a model fails before TensorFlow is imported, which OpenVINO does without."""
    place = model_place(model)
    if engine_of(place, engine, dtype) == "openvino":
        require_openvino()
    else:
        import_tensorflow()
    from regard.tasks.loading import load

    return load(place, dtype, task, engine, assistant, shortlist)  # type: ignore[arg-type]  # the verbs' choices


def lines_of(texts: Sequence[str], file: Path | None, what: str = "texts", errors: Errors = "strict") -> Iterable[str]:
    """The texts, or the lines of a file or of stdin. Raises InputError where there are both."""
    if list(texts) == ["-"]:
        texts, file = (), Path("-")
    if texts and file is not None:
        raise InputError(f"give either {what} or --file, and not both")
    if texts:
        return texts
    lines = open_lines(file, errors)
    return FromStdin(lines) if file is None or str(file) == "-" else lines


class FromStdin(Iterator[str]):
    """Lines that come from stdin, where somebody may sit; a file's never do."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def __next__(self) -> str:
        return next(self._lines)


def whole_text(file: Path | None) -> str:
    """A file, or stdin, as one text, its line ends as line feeds."""
    return "\n".join(open_lines(file))


def are_typed(lines: Iterable[str]) -> bool:
    """Whether somebody types them, and waits for an answer to each."""
    return isinstance(lines, FromStdin) and sys.stdin.isatty()


def in_blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """The lines as they come: many at a time, and one where somebody types them. One that cannot be read is an
    InputError after those before it."""
    size = 1 if are_typed(lines) else READ_AHEAD
    return blocks(iter(lines), lambda _: size)


def answered(lines: Iterable[str], task: Callable[[list[str]], Sequence[Any]]) -> Iterator[tuple[int, Any]]:
    """Each line's number, from 1, and the task's result for it."""
    return enumerate(chain.from_iterable(task(block) for block in in_blocks(lines)), 1)


def print_json(result: Any) -> None:
    print(as_json_line(result), flush=True)


def as_json_line(result: Any) -> str:
    return json.dumps(result.as_json(), ensure_ascii=False)


def print_columns(*values: object) -> None:
    """See `in_columns`."""
    print(in_columns(*values), flush=True)


def in_columns(*values: object) -> str:
    """With tabs between; line ends and tabs in a value become spaces, floats have four digits."""
    shown = (f"{value:.4f}" if isinstance(value, float) else str(value) for value in values)
    return "\t".join(value.translate(_FLAT) for value in shown)


_FLAT = str.maketrans("\t\r\n", "   ")


def warn_of_cut(number: int, cut: int, what: str = "line") -> None:
    """Say on stderr that a line was longer than the model reads, if it was."""
    for note in notes_of_cut(number, cut, what):
        print(f"regard: {note}", file=sys.stderr)


def notes_of_cut(number: int, cut: int, what: str = "line") -> list[str]:
    return [f"{what} {number} was cut: its last {cut} tokens were not read"] if cut else []
