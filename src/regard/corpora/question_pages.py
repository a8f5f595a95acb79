"""Pages that explain terms: man pages explain constants, errors and options, Python's documentation what it offers,
package descriptions what their program is."""

import gzip
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import dropwhile, takewhile
from pathlib import PurePosixPath

from regard.corpora.archives import package_files
from regard.corpora.cleaning import fold
from regard.corpora.debian_pins import PACKAGES
from regard.corpora.descriptions import Description
from regard.corpora.fetch import Fetcher
from regard.corpora.manpages import man_sections
from regard.corpora.questions import Entry, Page, Question, question

PYTHON_SOURCES = "usr/share/doc/python3.11/html/_sources/"

_TAG = re.compile(r"(?:[A-Z][A-Z0-9_]{2,}|--?[A-Za-z][\w-]*)(?=$|[\s,(=\[])")
_MOST_OF_A_TAG = 5  # words
_LEAST_EXPLAINED = 4  # words of an explanation
_OBJECTS = "function|method|class|data|exception|attribute|classmethod|staticmethod"
_DIRECTIVE = re.compile(rf"^( *)\.\. (?:{_OBJECTS}):: +(.+)$")
_MODULE = re.compile(r"^\.\. (?:currentmodule|module):: +(\S+)", re.MULTILINE)
_ROLE = re.compile(r":[\w:+-]+:`[!~]?([^`<]*?)(?: *<[^`>]*>)?`")
_MARKUP = re.compile(r"``([^`]*)``|\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*")
_NAME = re.compile(r"[\w.]+")
_NO_NAMES = frozenset(
    "This That These Those It Its He She They We You One What Which Here There Such Each Note".split()
)
_DEFINITION = re.compile(r"(?:^|(?<=[.!?] ))([A-Z][\w.+-]*) is ((?:an?|the) [^.!?]{20,}?[.!?])(?=\s|$)")


def man_page_entries(page: str) -> Iterator[Entry]:
    """What follows a constant, an error or an option that stands by itself."""
    for paragraphs in man_sections(page):
        for tag, text in zip(map(fold, paragraphs), map(fold, paragraphs[1:]), strict=False):
            found = _TAG.match(tag)
            explained = len(text.split()) >= _LEAST_EXPLAINED and not _TAG.match(text)
            if found and explained and len(tag.split()) <= _MOST_OF_A_TAG:
                yield Entry(found.group(), text)


def man_pages(fetcher: Fetcher) -> Iterator[Page]:
    """The pages of the Linux manual, "open(2)" and so on, by their name."""
    files = {
        path: content
        for package in ("manpages", "manpages-dev")
        for path, content in package_files(fetcher.package(PACKAGES[package]), ("usr/share/man/man",), (".gz",)).items()
    }
    for path, content in sorted(files.items()):
        name, section = PurePosixPath(path).name.removesuffix(".gz").rsplit(".", 1)
        entries = tuple(man_page_entries(gzip.decompress(content).decode("utf-8", "replace")))
        if entries:
            yield Page(name, f"{name}({section})", entries)


def python_entries(source: str) -> Iterator[Entry]:
    """Each described object of a reStructuredText page, with its first paragraph; a method's name has its class's."""
    module = _MODULE.search(source)
    lines = source.split("\n")
    for place, line in enumerate(lines):
        found = _DIRECTIVE.match(line)
        if found is None:
            continue
        name = _NAME.match(found.group(2).strip())
        text = _paragraph(lines[place + 1 :], len(found.group(1)))
        if name and len(text.split()) >= _LEAST_EXPLAINED:
            prefix = f"{module.group(1)}." if module and not found.group(1) and "." not in name.group() else ""
            yield Entry(prefix + name.group(), text)


def _paragraph(lines: Sequence[str], indent: int) -> str:
    """The first paragraph below a directive, past its other signatures and options; "" where another directive comes
    first, or nothing."""
    below = list(dropwhile(str.strip, lines))
    first = next((place for place, line in enumerate(below) if line.strip()), len(below))
    found = list(takewhile(str.strip, below[first:]))
    if not found or len(found[0]) - len(found[0].lstrip()) <= indent or found[0].lstrip().startswith(".. "):
        return ""
    return fold(plain_rst(" ".join(found))).replace("::", ":")


def plain_rst(text: str) -> str:
    """Roles and emphasis as a reader sees them."""
    return _MARKUP.sub(lambda match: next(filter(None, match.groups()), ""), _ROLE.sub(r"\1", text))


def python_sources(fetcher: Fetcher) -> dict[str, str]:
    """The documentation's pages as they were written, by path."""
    found = package_files(fetcher.package(PACKAGES["python3.11-doc"]), (PYTHON_SOURCES,), (".rst.txt",))
    pages = {path.removeprefix(PYTHON_SOURCES).removesuffix(".rst.txt"): content for path, content in found.items()}
    return {path: content.decode("utf-8", "replace") for path, content in sorted(pages.items())}


def python_pages(fetcher: Fetcher) -> Iterator[Page]:
    """Pages of Python's documentation that describe functions, classes and the like."""
    for path, source in python_sources(fetcher).items():
        entries = tuple(python_entries(source))
        if entries:
            yield Page(path, path, entries)


def definition_questions(descriptions: Iterable[Description]) -> Iterator[tuple[str, list[Question]]]:
    """By source package: what something is, from descriptions that say "NAME is a ..."; and every third time, what the
    thing is that the description before was about, which this one does not say.

    The packages of a source repeat one another, so each answer is asked for once a source; and of a name that a
    description defines twice the first time, for which one is right?
    """
    before = ""
    told: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for number, text in enumerate(descriptions):
        defined: dict[str, tuple[str, int]] = {}
        for match in _DEFINITION.finditer(text.body):
            if match.group(1) not in _NO_NAMES:
                defined.setdefault(match.group(1), (match.group(2), match.start(2)))
        found = [(name, *said) for name, said in defined.items() if (name, said[0]) not in told[text.source]]
        if not found:
            continue
        told[text.source] |= {(name, what) for name, what, _ in found}
        asked = [question(text.package, text.body, f"What is {name}?", what, place) for name, what, place in found]
        if before and before not in text.body and number % 3 == 0:
            asked.append(question(text.package, text.body, f"What is {before}?"))
        before = found[0][0]
        yield text.source, asked
