"""Images through a task: their paths as they come, and each result beside its path."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import Any

from regard.commands.directories import IMAGES, with_contents
from regard.commands.lines import FromStdin, are_typed, lines_of
from regard.commands.refusals import Refusals
from regard.errors import InputError


def paths_of(images: Sequence[str], file: Path | None) -> Iterable[str]:
    """The paths, with the images in those that are directories; or the lines of a file or of stdin. Raises InputError
    where there are both, for a directory without images, and for a blank line."""
    paths = lines_of(with_contents(images, IMAGES, "images"), file, "images")
    if isinstance(paths, Sequence):
        return paths
    return FromStdin(_filled(paths)) if isinstance(paths, FromStdin) else _filled(paths)


def _filled(lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise InputError(f"line {number} of the list of images is blank: each must be a path")
        yield line


def with_results(
    paths: Iterable[str], stream: Callable[..., Iterable[Any]], batch_size: int, refusals: Refusals
) -> Iterator[tuple[int, str, Any]]:
    """Each path with its number, from 1, and the task's result for it, as soon as its batch is done; a typed path is a
    batch of its own. Those that cannot be read go to the refusals, but for a path that is given alone.

    stream: paths, batch_size=, refused= -> results.
    """
    read, named = tee(paths)
    alone = isinstance(paths, Sequence) and len(paths) == 1
    size = 1 if are_typed(paths) else batch_size
    return refusals.beside(named, stream(read, batch_size=size, refused=None if alone else refusals))


def print_image(path: str, values: dict[str, Any]) -> None:
    """As JSON, with the path of the image first."""
    print(json.dumps({"image": path, **values}, ensure_ascii=False), flush=True)
