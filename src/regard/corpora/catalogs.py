"""Parallel text that comes with its alignment: gettext catalogues, and package descriptions by the original's hash."""

import gettext
import io
import re
import struct
from collections.abc import Iterator

from regard.errors import DataError

TextPair = tuple[str, str]

_BULLET = re.compile(r"\s+(?:[*+\-–•]|\d+[.)])\s+")


def catalog_pairs(content: bytes, name: str) -> Iterator[TextPair]:
    """Original and translation of each message of a .mo file; of plurals the singular's original and each form it has.

    Raises:
        DataError: the file is no catalogue.
    """
    try:
        catalog: dict[str | tuple[str, int], str] = gettext.GNUTranslations(io.BytesIO(content))._catalog  # type: ignore[attr-defined]
    except (OSError, ValueError, LookupError, struct.error) as error:
        raise DataError(f"{name} is not a gettext catalogue: {error}") from error
    for message, translation in catalog.items():
        original = message[0] if isinstance(message, tuple) else message
        if original:  # the empty one is the header
            yield original.rpartition("\x04")[2], translation


def description_paragraphs(index: str) -> dict[str, list[str]]:
    """A Translation index as paragraphs by Description-md5: the synopsis first, each bullet by itself."""
    entries = {}
    for stanza in index.split("\n\n"):
        digest, paragraphs = "", []
        for line in stanza.split("\n"):
            field, colon, value = line.partition(": ")
            if field == "Description-md5":
                digest = value
            elif colon and field.startswith("Description-"):
                paragraphs = [value, ""]
            elif paragraphs and line.startswith(" "):
                _add_line(paragraphs, line[1:])
        if digest:
            entries[digest] = [paragraph.strip() for paragraph in paragraphs if paragraph.strip()]
    return entries


def _add_line(paragraphs: list[str], line: str) -> None:
    if line == ".":
        paragraphs.append("")
    elif _BULLET.match(line):
        paragraphs.append(_BULLET.sub("", line, count=1))
    else:
        paragraphs[-1] += f" {line.strip()}"


def description_pairs(original: str, translation: str) -> Iterator[TextPair]:
    """Paragraph pairs of two Translation indexes; where the counts differ, the synopses alone."""
    translated = description_paragraphs(translation)
    for digest, paragraphs in description_paragraphs(original).items():
        others = translated.get(digest, [])
        if len(paragraphs) == len(others):
            yield from zip(paragraphs, others, strict=True)
        elif paragraphs and others:
            yield paragraphs[0], others[0]
