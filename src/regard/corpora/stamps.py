"""The stamps of Tux Paint: 950 pictures, many of them photographs, with what people say of them in many languages."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from regard.corpora.archives import package_files
from regard.corpora.fetch import Fetcher, Package

PACKAGE = Package(
    "tuxpaint-stamps-default", "2022.06.04-1", "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
)
_STAMPS = "usr/share/tuxpaint/stamps/"
_LINES = {"de.utf8": "de", "zh_CN.utf8": "zh"}  # how a line of a translation begins; the first line is English


class Stamp(NamedTuple):
    """A picture with its captions by language. name: its path below the stamps, without its end."""

    name: str
    content: bytes
    is_svg: bool
    captions: dict[str, str]


def read_stamps(fetcher: Fetcher, counts: Counter[str]) -> Iterator[Stamp]:
    """Those that have a text, in the order of their names; of a drawing that comes as PNG and SVG the PNG."""
    files = package_files(fetcher.package(PACKAGE), (_STAMPS,), (".png", ".svg", ".txt"))
    pictures = {path.removesuffix(end): end for end in (".svg", ".png") for path in files if path.endswith(end)}
    for stem, end in sorted(pictures.items()):
        captions = captions_of(files.get(f"{stem}.txt", b"").decode("utf-8", "replace"))
        if captions:
            yield Stamp(stem.removeprefix(_STAMPS), files[f"{stem}{end}"], end == ".svg", captions)
        else:
            counts["dropped: stamp without a text"] += 1


def captions_of(text: str) -> dict[str, str]:
    """The English line, and those of the translations."""
    first, *rest = text.splitlines() or [""]
    found = {"en": first.strip()}
    for line in rest:
        code, _, caption = line.partition("=")
        if code in _LINES:
            found[_LINES[code]] = caption.strip()
    return {language: caption for language, caption in found.items() if caption} if found["en"] else {}
