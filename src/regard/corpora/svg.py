"""SVG -> PNG by resvg, pinned, as WebAssembly under Node.js: the same pixels on every machine."""

import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path

from regard.corpora.archives import npm_files
from regard.corpora.fetch import output_of, program
from regard.corpora.npm import NEEDS, NpmFetcher, NpmPackage
from regard.errors import FetchError

PACKAGE = NpmPackage("@resvg/resvg-wasm", "2.6.2", "ff51acbb5ee0074601b75c3bea9226a18d346752af787f6d2d3adcdd98493d71")
_SCRIPT = Path(__file__).with_name("rasterise.cjs")
_FILES = ("index.js", "index_bg.wasm")
_BATCH = 200  # drawings of one process
_TIMEOUT = 1800  # seconds for them


class Rasteriser:
    """`draw` turns SVGs into PNGs; nothing is fetched or unpacked before the first."""

    def __init__(self, npm: NpmFetcher, cache: Path) -> None:
        self._npm, self._place = npm, cache / "resvg" / PACKAGE.version

    def draw(self, svgs: Sequence[bytes], side: int) -> list[bytes]:
        """PNGs with transparency whose longer side has `side` pixels; b"" of what is no SVG.

        Raises FetchError where Node.js or the package cannot be had, or the program fails.
        """
        found: list[bytes] = []
        for first in range(0, len(svgs), _BATCH):
            batch = svgs[first : first + _BATCH]
            found += _parts(self._run([svg.decode("utf-8", "replace") for svg in batch], side), len(batch))
        return found

    def _run(self, svgs: list[str], side: int) -> bytes:
        command = [program("node", NEEDS), str(_SCRIPT), str(self._unpacked()), str(side)]
        return output_of(command, "cannot draw SVG files: node", timeout=_TIMEOUT, input=json.dumps(svgs).encode())

    def _unpacked(self) -> Path:
        """The package's program, in the cache."""
        if not self._place.is_dir():
            unfinished = self._place.with_name(f"{self._place.name}.{os.getpid()}")
            unfinished.mkdir(parents=True, exist_ok=True)
            for path, content in npm_files(self._npm.package(PACKAGE), ("package/",), _FILES).items():
                (unfinished / Path(path).name).write_bytes(content)
            if not self._place.is_dir():
                unfinished.rename(self._place)
        return self._place


def _parts(content: bytes, count: int) -> list[bytes]:
    found, start = [], 0
    while start + 4 <= len(content):
        (size,) = struct.unpack_from(">I", content, start)
        found.append(content[start + 4 : start + 4 + size])
        start += 4 + size
    if len(found) != count or start != len(content):
        raise FetchError(f"cannot draw SVG files: node gave {len(found)} drawings of {count}")
    return found
