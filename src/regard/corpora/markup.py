"""Parallel text from pages that differ in the language alone: HTML by id, HTML and Mallard by equal block sequences."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import NamedTuple
from xml.etree import ElementTree

from regard.corpora.catalogs import TextPair
from regard.errors import DataError

Block = tuple[str, str]  # kind, text

_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_SILENT = {"script", "style", "pre", "head"}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_MALLARD_BLOCKS = {"title", "desc", "p", "cell"}


class _HtmlBlock(NamedTuple):
    tag: str
    identity: str
    kind: str  # the class
    text: str


@dataclass
class _Element:
    """An open element; `texts` collects what a block says itself, without the blocks inside it."""

    tag: str
    identity: str
    kind: str
    is_block: bool
    is_silent: bool
    texts: list[str] = field(default_factory=list)


class _Blocks(HTMLParser):
    """Collects the elements that hold running text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[_HtmlBlock] = []
        self._open: list[_Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID:
            return
        values = {name: value or "" for name, value in attrs}
        kind = values.get("class", "")
        is_block = tag == "p" or tag in _HEADINGS or (tag, kind) == ("div", "para")
        # LibreOffice shows one of several wordings, by system and module
        is_variant = tag == "span" and values.get("hidden") == "true" and bool(kind)
        self._open.append(_Element(tag, values.get("id", ""), kind, is_block, is_variant or tag in _SILENT))

    def handle_endtag(self, tag: str) -> None:
        if not any(element.tag == tag for element in self._open):
            return
        while True:
            closed = self._open.pop()
            if closed.is_block:
                self.blocks.append(_HtmlBlock(closed.tag, closed.identity, closed.kind, "".join(closed.texts)))
            if closed.tag == tag:
                return

    def handle_data(self, data: str) -> None:
        blocks = [element for element in self._open if element.is_block]
        if blocks and not any(element.is_silent for element in self._open):
            blocks[-1].texts.append(data)


def _html_blocks(page: str) -> list[_HtmlBlock]:
    parser = _Blocks()
    parser.feed(page)
    parser.close()
    return parser.blocks


def html_pairs_by_id(original: str, translation: str) -> Iterator[TextPair]:
    """Paragraphs and headings of two pages that share tag and id; repeated ids pair up in order."""
    blocks, translated = (_by_id(_html_blocks(page)) for page in (original, translation))
    for place, texts in blocks.items():
        others = translated.get(place, [])
        if len(texts) == len(others):
            yield from zip(texts, others, strict=True)


def _by_id(blocks: list[_HtmlBlock]) -> dict[tuple[str, str], list[str]]:
    texts: dict[tuple[str, str], list[str]] = defaultdict(list)
    for block in blocks:
        if block.identity:
            texts[block.tag, block.identity].append(block.text)
    return texts


def handbook_blocks(page: str) -> list[Block]:
    """Titles and paragraphs of a DocBook page rendered to HTML."""
    blocks = _html_blocks(page)
    return [(block.tag, block.text) for block in blocks if block.tag in _HEADINGS or block.kind in ("para", "title")]


def mallard_blocks(page: str) -> list[Block]:
    """Titles, descriptions, paragraphs and table cells of a Mallard page.

    Raises:
        DataError: the page is not well-formed.
    """
    try:
        return list(_mallard_element(ElementTree.fromstring(page)))
    except ElementTree.ParseError as error:
        raise DataError(f"a Mallard page is not well-formed: {error}") from error


def _mallard_element(element: ElementTree.Element) -> Iterator[Block]:
    tag = _local(element)
    inside = (_local(child) for child in element.iter() if child is not element)
    if tag in _MALLARD_BLOCKS and _MALLARD_BLOCKS.isdisjoint(inside):
        yield tag, "".join(element.itertext())
        return
    for child in element:
        yield from _mallard_element(child)


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def aligned_blocks(original: list[Block], translation: list[Block]) -> Iterator[TextPair]:
    """Texts of two block lists, one to one, if their kinds are the same sequence; else nothing."""
    if [kind for kind, _ in original] == [kind for kind, _ in translation]:
        yield from ((text, other) for (_, text), (_, other) in zip(original, translation, strict=True))
