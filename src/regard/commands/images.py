"""Images through a task: their paths as they come, and each result beside its path."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import Any

from regard.commands.directories import IMAGES, with_contents
from regard.commands.lines import FromStdin, are_typed, lines_of
from regard.commands.refusals import Refusals


def paths_of(images: Sequence[str], file: Path | None) -> Iterable[str]:
    """The paths, with the images in those that are directories; or the lines of a file or of stdin, of which a blank
    one is no image's. Raises InputError where there are both, and for a directory without images."""
    paths = lines_of(with_contents(images, IMAGES, "images"), file, "images", errors="surrogateescape")
    if isinstance(paths, Sequence):
        return paths
    return FromStdin(_filled(paths)) if isinstance(paths, FromStdin) else _filled(paths)


def _filled(lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        yield line if line.strip() else f"line {number} of the list, which is blank"


def with_results(
    paths: Iterable[str], stream: Callable[..., Iterable[Any]], batch_size: int, refusals: Refusals
) -> Iterator[tuple[int, str, Any]]:
    """Each path with its number, from 1, and the task's result for it, as soon as its batch is done; a typed path is a
    batch of its own. Those that cannot be read go to the refusals.

    stream: paths, batch_size=, refused= -> results.
    """
    read, named = tee(paths)
    size = 1 if are_typed(paths) else batch_size
    return refusals.beside(named, stream(read, batch_size=size, refused=refusals))


def print_image(path: str, values: dict[str, Any]) -> None:
    """As JSON, with the path of the image first."""
    print(json.dumps({"image": path, **values}, ensure_ascii=False), flush=True)
