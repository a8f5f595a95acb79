"""Files out of packages in plain Python: an `ar` archive that holds a compressed `tar` (Debian), or a `tar` (npm)."""

import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from regard.errors import DataError

_MAGIC = b"!<arch>\n"
_HEADER = 60  # bytes: name 16, time 12, owner 6, group 6, mode 8, size 10, end 2


def ar_members(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each member of an `ar` archive.

    Raises:
        DataError: the archive is damaged.
    """
    if not content.startswith(_MAGIC):
        raise DataError("not an ar archive: its first bytes are wrong")
    start = len(_MAGIC)
    while start + _HEADER <= len(content):
        header = content[start : start + _HEADER]
        size = header[48:58].strip()
        if header[58:] != b"`\n" or not size.isdigit() or start + _HEADER + int(size) > len(content):
            raise DataError(f"damaged ar archive: the member at byte {start} does not fit")
        body = start + _HEADER
        yield header[:16].decode("ascii", "replace").rstrip().rstrip("/"), content[body : body + int(size)]
        start = body + int(size) + int(size) % 2  # members begin at even bytes


def package_files(package: Path, prefixes: tuple[str, ...], suffixes: tuple[str, ...]) -> dict[str, bytes]:
    """The regular files of a .deb whose path (`usr/share/...`) has one of the prefixes and one of the suffixes.

    Raises:
        DataError: the package is damaged, or compressed in a way that Python does not read.
    """
    data = [content for name, content in ar_members(package.read_bytes()) if name.startswith("data.tar")]
    if len(data) != 1:
        raise DataError(f"{package.name} has {len(data)} data archives, not 1")
    return _unpacked(package, data[0], prefixes, suffixes)


def npm_files(package: Path, prefixes: tuple[str, ...], suffixes: tuple[str, ...]) -> dict[str, bytes]:
    """The same of a .tgz of npm's, whose paths begin with `package/`. Raises DataError where it is damaged."""
    return _unpacked(package, package.read_bytes(), prefixes, suffixes)


def _unpacked(package: Path, content: bytes, prefixes: tuple[str, ...], suffixes: tuple[str, ...]) -> dict[str, bytes]:
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:*") as archive:
            return dict(_wanted(archive, prefixes, suffixes))
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{package.name} cannot be read: {error}") from error


def _wanted(
    archive: tarfile.TarFile, prefixes: tuple[str, ...], suffixes: tuple[str, ...]
) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        path = member.name.removeprefix("./")
        if member.isfile() and path.startswith(prefixes) and path.endswith(suffixes):
            file = archive.extractfile(member)
            assert file is not None  # a regular file always opens
            yield path, file.read()
