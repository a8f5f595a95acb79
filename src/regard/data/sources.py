"""Corpora -> examples, read as streams: aligned files, TSV, JSON Lines; plain or gzip, globs, `-` for stdin.

A line ends with \\n or \\r\\n, a byte order mark at the start of a file is skipped, white space around a text is
stripped. A line that cannot be used is dropped and counted; a file that cannot be used is a DataError.
"""

import glob
import gzip
import hashlib
import io
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple, cast

from regard.batch import Example
from regard.config import CorpusConfig
from regard.data.records import Record, UnusableError, group_of, json_object
from regard.errors import DataError

MAX_LINE_BYTES = 1 << 20  # a longer line is dropped unread, so that no line fills the memory
SHOWN_PLACES = 3  # of each reason, in a report
STDIN = "-"
STDIN_COPY = "stdin.copy"  # `prepare` reads twice, so from a copy; reports still say <stdin>


class Place(NamedTuple):
    """Where a line stands; lines count from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Located(NamedTuple):
    """An example, where it was read, and how often an epoch repeats it."""

    example: Record
    place: Place
    copies: int = 1
    corpus: int = 0  # its number in the run file


@dataclass
class DropReport:
    """How many lines were dropped for each reason, and where the first ones stand."""

    counts: dict[str, int] = field(default_factory=dict)
    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, place: Place) -> None:
        """Count one more line."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        places = self.places.setdefault(reason, [])
        if len(places) < SHOWN_PLACES:
            places.append(str(place))

    def merge(self, other: "DropReport") -> None:
        """Take in a report on later lines."""
        for reason, count in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
            places = self.places.setdefault(reason, [])
            places += other.places[reason][: SHOWN_PLACES - len(places)]

    @property
    def total(self) -> int:
        """Lines dropped in all."""
        return sum(self.counts.values())

    def text(self, what: str = "dropped") -> str:
        """One line a reason, the most frequent first; empty where nothing was dropped."""
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return "\n".join(f"{what} {self._line(reason, count)}" for reason, count in ordered)

    def _line(self, reason: str, count: int) -> str:
        more = ", ..." if count > SHOWN_PLACES else ""
        return f"{count:,}: {reason} ({', '.join(self.places[reason])}{more})"


def read_corpora(corpora: Sequence[CorpusConfig], report: DropReport) -> Iterator[Example]:
    """The usable examples of all corpora, in order, each once whatever the weights; the rest goes to `report`."""
    for corpus in corpora:
        for example, _ in _examples(corpus, report):
            yield example


def read_located(corpora: Sequence[CorpusConfig], report: DropReport) -> Iterator[Located]:
    """As `read_corpora`, with places and with the copies that the weights ask for (0: left out of every epoch)."""
    for corpus in corpora:
        for example, place in _examples(corpus, report):
            yield Located(example, place, copies_of(example, corpus.weight))


def copies_of(example: Record, weight: float) -> int:
    """`weight` as a whole number: its fraction becomes one more copy of a fixed part, chosen by hash."""
    whole = int(weight)
    fraction = weight - whole
    return whole + (fraction > 0 and hash_share("weight", *example.texts) < fraction)


def hash_share(purpose: str, *texts: str) -> float:
    """A number in [0, 1) that depends on the texts alone; different purposes choose independently."""
    content = "\0".join(texts).encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(content, digest_size=8, person=purpose.encode()[:16]).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53  # a double holds 53 bits exactly


def corpus_files(corpus: CorpusConfig) -> list[tuple[str, ...]]:
    """The files of a corpus, in reading order: (source, target) pairs, or single files."""
    if corpus.source is None or corpus.target is None:
        return [(file,) for file in _matches(str(corpus.tsv or corpus.jsonl or corpus.text))]
    sources, targets = _matches(corpus.source), _matches(corpus.target)
    if len(sources) != len(targets):
        raise DataError(
            f"{corpus.source} matches {len(sources)} files, but {corpus.target} matches {len(targets)}: "
            f"sorted by name, they are read in pairs"
        )
    if STDIN in sources and STDIN in targets:
        raise DataError("source and target cannot both be stdin (-): pipe a TSV in, with tsv = '-'")
    return list(zip(sources, targets, strict=True))


def open_lines(file: str) -> Iterator[bytes | None]:
    """The lines of a file without line feeds (a \\r goes with other white space); None: over MAX_LINE_BYTES."""
    try:
        with _opened(file) as stream:
            line = _without_mark(stream.readline(MAX_LINE_BYTES), file)
            while line:
                if len(line) >= MAX_LINE_BYTES and not line.endswith(b"\n"):
                    _skip_line(stream)
                    yield None
                else:
                    yield line.removesuffix(b"\n")
                line = stream.readline(MAX_LINE_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {display_name(file)}: {getattr(error, 'strerror', None) or error}") from error


def _examples(corpus: CorpusConfig, report: DropReport) -> Iterator[tuple[Example, Place]]:
    languages = (corpus.source_lang, corpus.target_lang)
    for files in corpus_files(corpus):
        lines = _aligned(*files) if len(files) == 2 else _single(*files)
        parse: _Parse = _parse_aligned if len(files) == 2 else _parse_tsv if corpus.tsv is not None else _parse_json
        for place, raw in lines:
            example = _usable(parse, raw, languages)
            if isinstance(example, str):
                report.add(example, place)
            else:
                yield example, place


_RawLines = tuple[bytes | None, ...]  # one line, or one of each side


def _single(file: str) -> Iterator[tuple[Place, _RawLines]]:
    name = display_name(file)
    for number, line in enumerate(open_lines(file), 1):
        yield Place(name, number), (line,)


def _aligned(source: str, target: str) -> Iterator[tuple[Place, _RawLines]]:
    sources, targets = open_lines(source), open_lines(target)
    name, number = display_name(source), 0
    for number, line in enumerate(sources, 1):
        try:
            other = next(targets)
        except StopIteration:
            longer = number + sum(1 for _ in sources)
            raise _unequal(source, longer, target, number - 1) from None
        yield Place(name, number), (line, other)
    rest = sum(1 for _ in targets)
    if rest:
        raise _unequal(source, number, target, number + rest)


def _unequal(source: str, source_count: int, target: str, target_count: int) -> DataError:
    return DataError(
        f"{display_name(source)} has {source_count:,} lines, but {display_name(target)} has {target_count:,}: aligned "
        f"files have one line for each line of the other"
    )


_Parse = Callable[..., Example]  # takes the text of a line, or of two aligned ones


def _usable(parse: _Parse, raw: _RawLines, languages: tuple[str | None, str | None]) -> Example | str:
    """The example of a line, or the reason to drop it."""
    if None in raw:
        return f"line longer than {MAX_LINE_BYTES:,} bytes"
    try:
        example = parse(*(line.decode("utf-8") for line in raw if line is not None))
    except UnicodeError:
        return "invalid UTF-8"
    except UnusableError as reason:
        return str(reason)
    source, target = example.source.strip(), example.target.strip()
    if not source or not target:
        return "empty side"
    source_lang, target_lang = example.source_lang or languages[0], example.target_lang or languages[1]
    return Example(source, target, source_lang, target_lang, example.group)


def _parse_aligned(source: str, target: str) -> Example:
    return Example(source, target)


def _parse_tsv(line: str) -> Example:
    columns = line.split("\t")
    if len(columns) == 2:
        return Example(columns[0], columns[1])
    if len(columns) == 4:
        return Example(columns[0], columns[1], columns[2].strip(), columns[3].strip())
    raise UnusableError("wrong number of columns, a TSV has 2 or 4")


def _parse_json(line: str) -> Example:
    record = json_object(line)
    source, target = record.get("source"), record.get("target")
    languages = record.get("source_lang"), record.get("target_lang")
    if not isinstance(source, str) or not isinstance(target, str):
        raise UnusableError('no texts "source" and "target"')
    if not all(language is None or isinstance(language, str) for language in languages):
        raise UnusableError('"source_lang" or "target_lang" is no text')
    (source + target).encode("utf-8")  # JSON can spell lone surrogates; UnicodeEncodeError then
    return Example(source, target, *languages, group_of(record))


def _matches(pattern: str) -> list[str]:
    if pattern == STDIN or Path(pattern).is_file():
        return [pattern]
    found = sorted(file for file in glob.glob(pattern, recursive=True) if Path(file).is_file())
    if not found:
        kind = "is a directory, not a file" if Path(pattern).is_dir() else "matches no file"
        raise DataError(f"data: {pattern} {kind}; paths are relative to the working directory, {Path.cwd()}")
    return found


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    """The bytes of a file or of stdin, unpacked if they are gzip's."""
    with nullcontext(sys.stdin.buffer) if file == STDIN else Path(file).open("rb") as raw:
        if cast(io.BufferedReader, raw).peek(2)[:2] != b"\x1f\x8b":
            yield raw
        else:
            with io.BufferedReader(cast(io.RawIOBase, gzip.open(raw))) as stream:
                yield stream


def _without_mark(line: bytes, file: str) -> bytes:
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{display_name(file)} is in UTF-16: convert it to UTF-8")
    return line.removeprefix(b"\xef\xbb\xbf")


def _skip_line(stream: IO[bytes]) -> None:
    while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
        pass


def display_name(file: str) -> str:
    """What a report calls a file."""
    return "<stdin>" if file == STDIN or Path(file).name == STDIN_COPY else file


def hash_files(files: Iterable[str]) -> list[str]:
    """SHA-256 of the bytes of each file."""
    digests = []
    for file in files:
        try:
            with open(file, "rb") as stream:
                digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
        except OSError as error:
            raise DataError(f"cannot read {file}: {error.strerror}") from error
    return digests
