"""Corpora of one text each: plain text, whose documents end at a blank line, a line's or a file's end; JSON Lines."""

from collections.abc import Iterator, Sequence

from regard.config import CorpusConfig
from regard.data.records import Parse, Record, UnusableError, json_object, parse_text
from regard.data.sources import (
    MAX_LINE_BYTES,
    DropReport,
    Located,
    Place,
    copies_of,
    corpus_files,
    display_name,
    open_lines,
)

MAX_DOCUMENT_CHARACTERS = 1 << 24  # a longer document is dropped, so that none fills the memory


def read_records(corpora: Sequence[CorpusConfig], report: DropReport, parse: Parse) -> Iterator[Located]:
    """The usable records of all corpora, in order, with their places and the copies that the weights ask for (0: left
    out of every epoch); the rest goes to `report`. `parse` reads JSON; plain text is a `TextRecord` a document."""
    for corpus in corpora:
        for record, place in _documents(corpus, report) if corpus.text is not None else _lines(corpus, report, parse):
            yield Located(record, place, copies_of(record, corpus.weight))


def _lines(corpus: CorpusConfig, report: DropReport, parse: Parse) -> Iterator[tuple[Record, Place]]:
    for (file,) in corpus_files(corpus):
        for number, raw in enumerate(open_lines(file), 1):
            place = Place(display_name(file), number)
            try:
                if raw is None:
                    raise UnusableError(f"line longer than {MAX_LINE_BYTES:,} bytes")
                yield parse(json_object(raw.decode("utf-8"))), place
            except UnicodeDecodeError:
                report.add("invalid UTF-8", place)
            except UnusableError as reason:
                report.add(str(reason), place)


def _documents(corpus: CorpusConfig, report: DropReport) -> Iterator[tuple[Record, Place]]:
    for (file,) in corpus_files(corpus):
        for first, text in _texts(file, corpus.documents or "blank-line", report):
            place = Place(display_name(file), first)
            if len(text) > MAX_DOCUMENT_CHARACTERS:
                report.add(f"document longer than {MAX_DOCUMENT_CHARACTERS:,} characters", place)
                continue
            try:
                yield parse_text({"text": text.strip()}), place
            except UnusableError as reason:  # a file, or a line, of white space
                report.add(str(reason), place)


def _texts(file: str, end: str, report: DropReport) -> Iterator[tuple[int, str]]:
    """Each document with the number of its first line. A line that is no UTF-8 is left out of its document."""
    lines: list[str] = []
    first = size = 0
    for number, raw in enumerate(open_lines(file), 1):
        line = _decoded(raw, Place(display_name(file), number), report)
        if line is None:
            continue
        blank = not line.strip()
        if end == "line" or (end == "blank-line" and blank):
            if lines:
                yield first, "\n".join(lines)
            lines, size = [], 0
        if blank and not lines:
            continue
        first = first if lines else number
        if size <= MAX_DOCUMENT_CHARACTERS + 1:  # beyond, its length alone counts
            lines.append(line)
        size += len(line) + 1
    if lines:
        yield first, "\n".join(lines)


def _decoded(raw: bytes | None, place: Place, report: DropReport) -> str | None:
    if raw is None:
        report.add(f"line longer than {MAX_LINE_BYTES:,} bytes", place)
        return None
    try:
        return raw.decode("utf-8").rstrip("\r")
    except UnicodeDecodeError:
        report.add("invalid UTF-8", place)
        return None
