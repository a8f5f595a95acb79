"""Images through a task: their paths as they come, or the bytes of one on stdin, and each result beside its path."""

import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import Any

from regard.commands.directories import IMAGES, with_contents
from regard.commands.lines import FromStdin, are_typed, lines_of
from regard.commands.refusals import Refusals
from regard.errors import InputError
from regard.features.rgb import FORMATS

STDIN = "-"  # the path of the image whose bytes are there
# How a file of each of FORMATS begins. No path has a NUL in it, so a list that begins with BMW.png is no BMP.
_SIGNATURE = re.compile(
    rb"\x89PNG|\xff\xd8\xff|RIFF....WEBP|GIF8[79]a|BM.{10}\0\0|(?:II|MM)(?:[*+]\0|\0[*+])", re.DOTALL
)


def paths_of(images: Sequence[str], file: Path | None) -> Iterable[str]:
    """The paths, with the images in those that are directories; or the lines of a file or of stdin, of which a blank
    one is no image's; or STDIN alone, where stdin is an image. Raises InputError where there are both, for a directory
    without images, and for two images on stdin, or something else that is no list."""
    if (not images or list(images) == [STDIN]) and str(file or STDIN) == STDIN and _is_image_on_stdin():
        return [STDIN]
    if images.count(STDIN) > 1:
        raise InputError("stdin holds one image: give - once")
    paths = lines_of(with_contents(images, IMAGES, "images"), file, "images", errors="surrogateescape")
    if isinstance(paths, Sequence):
        return paths
    return FromStdin(paths_in(paths)) if isinstance(paths, FromStdin) else paths_in(paths)


def _is_image_on_stdin() -> bool:
    """Told by what comes first, which is left there. Where somebody types there is none, and nothing is waited for."""
    stream = sys.stdin.buffer
    if sys.stdin.isatty() or not isinstance(stream, io.BufferedReader):
        return False
    begun = stream.peek()
    if _SIGNATURE.match(begun):
        return True
    if b"\0" in begun:
        raise InputError(f"stdin is none of {', '.join(FORMATS)}, and no list of paths, one a line: it has NUL bytes")
    return False


def paths_in(lines: Iterable[str]) -> Iterator[str]:
    """The paths of a list. A blank line has a name of its own, by which it is refused when it is read."""
    for number, line in enumerate(lines, 1):
        yield line if line.strip() else f"line {number} of the list, which is blank"


def with_results(
    paths: Iterable[str], stream: Callable[..., Iterable[Any]], batch_size: int, refusals: Refusals
) -> Iterator[tuple[int, str, Any]]:
    """Each path with its number, from 1, and the task's result for it, as soon as its batch is done; a typed path is a
    batch of its own. Those that cannot be read go to the refusals.

    stream: images, batch_size=, refused= -> results.
    """
    read, named = tee(paths)
    is_given = isinstance(paths, Sequence)  # in a list - is a file's name
    images = (sys.stdin.buffer.read() if is_given and path == STDIN else path for path in read)
    size = 1 if are_typed(paths) else batch_size
    return refusals.beside(named, stream(images, batch_size=size, refused=refusals))


def print_image(path: str, values: dict[str, Any]) -> None:
    """As JSON, with the path of the image first."""
    print(json.dumps({"image": path, **values}, ensure_ascii=False), flush=True)
