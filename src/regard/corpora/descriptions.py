"""Debian's packages as texts: the index says which package is of which source and section, and names its description
by a hash; the English Translation list holds the descriptions."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from regard.corpora.cleaning import fold
from regard.corpora.debian_pins import INDEXES
from regard.corpora.fetch import Fetcher

DESCRIPTIONS_ORIGIN = (
    "Debian 12.15 (bookworm, main, amd64): package index and English descriptions; the index states no licence of "
    "its own, a description is licensed as its package"
)


class Description(NamedTuple):
    """A package's description: the synopsis, of one line, and the paragraphs of the long text."""

    package: str
    source: str  # the source package, of which several packages are made
    section: str
    synopsis: str
    paragraphs: tuple[str, ...]

    @property
    def body(self) -> str:
        return " ".join(self.paragraphs)


def read_descriptions(fetcher: Fetcher) -> list[Description]:
    """Each distinct description once, of the first package of the index that has it."""
    packages, texts = (fetcher.index(INDEXES[name]).read_text("utf-8") for name in ("amd64", "en"))
    return list(join(packages, texts))


def join(packages: str, texts: str) -> Iterator[Description]:
    """The descriptions of a Packages index whose texts stand in a Translation index."""
    described = dict(_described(texts))
    for fields in map(_fields, packages.split("\n\n")):
        found = described.pop(fields.get("Description-md5", ""), None)
        if found is not None:
            package = fields["Package"]
            source = fields.get("Source", package).partition(" ")[0]  # a version may follow
            yield Description(package, source, fields.get("Section", ""), *found)


def _fields(stanza: str) -> dict[str, str]:
    """The fields of one line each."""
    lines = (line.partition(": ") for line in stanza.split("\n") if not line.startswith(" "))
    return {name: value for name, colon, value in lines if colon}


def _described(index: str) -> Iterator[tuple[str, tuple[str, tuple[str, ...]]]]:
    """Description-md5 -> synopsis and paragraphs, which lines of a single full stop part."""
    for stanza in index.split("\n\n"):
        fields = _fields(stanza)
        lines = [line[1:] for line in stanza.split("\n") if line.startswith(" ")]
        paragraphs = "\n".join("" if line == "." else line for line in lines).split("\n\n")
        if "Description-md5" in fields and fields.get("Description-en"):
            folded = tuple(text for text in map(fold, paragraphs) if text)
            yield fields["Description-md5"], (fold(fields["Description-en"]), folded)


def without_shared(descriptions: list[Description], counts: Counter[str]) -> list[Description]:
    """The descriptions without the paragraphs that two or more source packages share: boilerplate says nothing of a
    package, and would stand on both sides of a split by source."""
    sources: dict[str, set[str]] = defaultdict(set)
    for description in descriptions:
        for paragraph in description.paragraphs:
            sources[paragraph].add(description.source)
    kept = [
        description._replace(paragraphs=tuple(text for text in description.paragraphs if len(sources[text]) == 1))
        for description in descriptions
    ]
    counts["shared paragraphs stripped"] = sum(len(each.paragraphs) for each in descriptions) - sum(
        len(each.paragraphs) for each in kept
    )
    return kept
