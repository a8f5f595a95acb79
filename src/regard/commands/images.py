"""Images through a task: their paths as they come, and each result beside its path."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import Any

from regard.commands.lines import FromStdin, are_typed, lines_of
from regard.errors import InputError


def paths_of(images: Sequence[str], file: Path | None) -> Iterable[str]:
    """The paths, or the lines of a file or of stdin. Raises InputError where there are both, and for a blank line."""
    paths = lines_of(images, file, "images")
    if isinstance(paths, Sequence):
        return paths
    return FromStdin(_filled(paths)) if isinstance(paths, FromStdin) else _filled(paths)


def _filled(lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise InputError(f"line {number} of the list of images is blank: each must be a path")
        yield line


def with_results(
    paths: Iterable[str], stream: Callable[[Iterable[str], int], Iterable[Any]], batch_size: int
) -> Iterator[tuple[str, Any]]:
    """Each path with the task's result for it, as soon as its batch is done; a typed path is a batch of its own.

    stream: paths and the size of a batch -> results.
    """
    read, named = tee(paths)
    results = stream(read, 1 if are_typed(paths) else batch_size)
    return ((path, result) for result, path in zip(results, named, strict=False))


def print_image(path: str, values: dict[str, Any]) -> None:
    """As JSON, with the path of the image first."""
    print(json.dumps({"image": path, **values}, ensure_ascii=False), flush=True)
