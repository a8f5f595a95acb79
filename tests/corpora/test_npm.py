"""Packages of npm: from the cache without a network, from the machine's npm otherwise, never with another hash.

Scripts stand in for npm and node, so that nothing is downloaded.
"""

import hashlib
import io
import os
import tarfile

import pytest

from regard.corpora import svg
from regard.corpora.archives import npm_files
from regard.corpora.npm import NpmFetcher, NpmPackage
from regard.corpora.svg import Rasteriser
from regard.errors import DataError, FetchError


def tgz(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


CONTENT = tgz({"assets/a.png": b"A", "assets/b.svg": b"B", "package.json": b"{}"})
PACKAGE = NpmPackage("@some/pictures", "1.2.0", hashlib.sha256(CONTENT).hexdigest())

NPM = """#!/bin/sh
echo "$PWD $@" >> "$LOG"
[ -n "$OFFER" ] || { printf 'npm error code E404\\nnpm error 404 No match found for version 1.2.0\\n' >&2; exit 1; }
cp "$OFFER" some-pictures-1.2.0.tgz
"""


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A stand-in for npm; the file returned logs its calls."""
    programs, log, offer = tmp_path / "bin", tmp_path / "log", tmp_path / "offer"
    programs.mkdir()
    log.touch()
    offer.write_bytes(CONTENT)
    (programs / "npm").write_text(NPM)
    (programs / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("LOG", str(log))
    monkeypatch.setenv("OFFER", str(offer))
    return log


def test_a_package_is_asked_of_npm_once_and_then_comes_from_the_cache(npm, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    path = NpmFetcher(cache).package(PACKAGE)
    assert (path.name, path.read_bytes()) == ("some-pictures-1.2.0.tgz", CONTENT)
    (call,) = npm.read_text().splitlines()
    assert call.startswith(f"{cache}/packages/")
    assert call.endswith(" pack --ignore-scripts --loglevel=error @some/pictures@1.2.0")
    monkeypatch.setenv("PATH", "")  # no npm at all from here
    assert NpmFetcher(cache).package(PACKAGE) == path
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_npm_cannot_bring_or_brings_with_another_hash_is_one_line(npm, tmp_path, monkeypatch):
    fetcher = NpmFetcher(tmp_path / "cache")
    with pytest.raises(FetchError, match=r"pictures 1\.2\.0 has the SHA-256 .*, but 00 is pinned"):
        fetcher.package(PACKAGE._replace(sha256="00"))
    monkeypatch.setenv("OFFER", "")
    with pytest.raises(FetchError, match=r"cannot fetch @some/pictures@1\.2\.0: npm error 404 No match found"):
        fetcher.package(PACKAGE)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FetchError, match=r"npm is not on this machine: the first build needs Node\.js with npm"):
        fetcher.package(PACKAGE)
    assert list((tmp_path / "cache" / "packages").iterdir()) == []


def test_a_package_gives_its_files_under_the_prefix_with_the_suffix_and_a_damaged_one_is_refused(tmp_path):
    path = tmp_path / "p.tgz"
    path.write_bytes(CONTENT)
    assert npm_files(path, ("package/assets/",), (".png",)) == {"package/assets/a.png": b"A"}
    for damaged in (b"<html>404</html>", CONTENT[: len(CONTENT) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"p\.tgz cannot be read"):
            npm_files(path, ("package/",), ("",))


# Draws each SVG as its first letter and the side; nothing of one that is empty.
NODE = """#!/usr/bin/env python3
import json, struct, sys
assert sys.argv[1].endswith("rasterise.cjs")
assert open(sys.argv[2] + "/index.js").read() == "program"
if "broken" in sys.argv[3]:
    sys.exit("no such side")
for svg in json.load(sys.stdin):
    drawn = (svg[:1] + sys.argv[3]).encode() if svg else b""
    sys.stdout.buffer.write(struct.pack(">I", len(drawn)) + drawn)
"""


def test_drawings_come_in_their_order_from_a_program_that_is_unpacked_once(tmp_path, monkeypatch):
    content = tgz({"index.js": b"program", "index_bg.wasm": b"code", "README.md": b"no"})
    cache, programs = tmp_path / "cache", tmp_path / "bin"
    (cache / "packages").mkdir(parents=True)
    (cache / "packages" / "drawer-1.tgz").write_bytes(content)
    programs.mkdir()
    (programs / "node").write_text(NODE)
    (programs / "node").chmod(0o755)
    monkeypatch.setattr(svg, "PACKAGE", NpmPackage("drawer", "1", hashlib.sha256(content).hexdigest()))
    monkeypatch.setattr(svg, "_BATCH", 2)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    rasteriser = Rasteriser(NpmFetcher(cache), cache)
    assert not (cache / "resvg").exists()
    assert rasteriser.draw([b"one", b"", b"two"], 64) == [b"o64", b"", b"t64"]
    (cache / "packages" / "drawer-1.tgz").unlink()
    assert rasteriser.draw([b"three"], 8) == [b"t8"]
    with pytest.raises(FetchError, match="cannot draw SVG files: node: no such side"):
        rasteriser.draw([b"x"], "broken")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FetchError, match="node is not on this machine"):
        rasteriser.draw([b"x"], 8)
