"""A directory among the files of a command: those in it, and below it, whose names end as such files' do."""

import os
from collections.abc import Sequence
from pathlib import Path

from regard.errors import InputError

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
RECORDINGS = (".wav", ".flac", ".ogg", ".oga", ".mp3")


def with_contents(paths: Sequence[str], endings: Sequence[str], what: str) -> list[str]:
    """The paths, with the files of each directory, sorted, in its place; hidden ones are left out. what: "images".

    Raises InputError for a directory without any.
    """
    found: list[str] = []
    for path in paths:
        found += _files_in(Path(path), endings, what) if os.path.isdir(path) else [path]
    return found


def _files_in(directory: Path, endings: Sequence[str], what: str) -> list[str]:
    files = [
        str(file)
        for file in sorted(directory.rglob("*"))
        if file.suffix.lower() in endings and not file.is_dir() and not _is_hidden(file.relative_to(directory))
    ]
    if not files:
        raise InputError(f"there are no {what} in {directory}: none of its files ends in {', '.join(endings)}")
    return files


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
