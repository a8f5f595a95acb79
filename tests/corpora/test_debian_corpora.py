"""The Debian builders from end to end, on tiny packages in the cache under pinned hashes: no apt is called."""

import gzip
import hashlib
import io
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from regard.batch import Example
from regard.corpora import Corpora, build, debian, four_ways
from regard.corpora.corpus import Pinned
from regard.corpora.fetch import Index, Package
from regard.errors import DataError, FetchError

WORDS = "amber birch cedar dune ember fjord grove heath inlet jetty knoll larch marsh north ocean pines ridge".split()


def package_bytes(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    data = buffer.getvalue()
    header = f"{'data.tar.xz':<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
    return b"!<arch>\n" + header + data + b"\n" * (len(data) % 2)


def catalogue(original: str, translation: str) -> bytes:
    texts = [b"", original.encode(), b"Content-Type: text/plain; charset=UTF-8\n", translation.encode()]
    start, tables, strings = 28 + 32, b"", b""
    for text in texts:
        tables += struct.pack("<II", len(text), start + len(strings))
        strings += text + b"\0"
    return struct.pack("<7I", 0x950412DE, 0, 2, 28, 44, 0, start) + tables + strings


def help_page(*paragraphs: str) -> bytes:
    return "".join(f'<p id="par_{number}">{text}</p>' for number, text in enumerate(paragraphs)).encode()


HELP = "usr/share/libreoffice/help"
SURFACE = "usr/lib/libreoffice/program/resource"
BOOK = "usr/share/doc/debian-handbook/html"
MALLARD = '<page xmlns="http://projectmallard.org/1.0/"><title>{}</title></page>'
MAN = ".TH A 1\n.SH NAME\n{}\n"

FILES: dict[str, dict[str, bytes]] = {
    "libreoffice-help-en-us": {
        f"{HELP}/en-US/text/a/b.html": help_page("Open a document.", *(f"word {w}" for w in WORDS))
    },
    "libreoffice-help-de": {
        f"{HELP}/de/text/a/b.html": help_page("Ein Dokument öffnen.", *(f"Wort {w}" for w in WORDS))
    },
    "libreoffice-help-zh-cn": {f"{HELP}/zh-CN/text/a/b.html": help_page("打开文档。", *(f"词{w}" for w in WORDS))},
    "libreoffice-l10n-de": {f"{SURFACE}/de/LC_MESSAGES/sw.mo": catalogue("menu\x04_Save", "~Speichern")},
    "libreoffice-l10n-zh-cn": {f"{SURFACE}/zh_CN/LC_MESSAGES/sw.mo": catalogue("menu\x04_Save", "保存(_S)")},
    "gcc-12-locales": {
        "usr/share/locale/de/LC_MESSAGES/gcc-12.mo": catalogue("bad use of %qs", "%qs falsch benutzt"),
        "usr/share/locale/zh_CN/LC_MESSAGES/gcc-12.mo": catalogue("bad use of %qs", "%qs 误用"),
    },
    "debian-handbook": {
        f"{BOOK}/en-US/a.html": b'<div class="para">The book.</div>',
        f"{BOOK}/de-DE/a.html": b'<div class="para">Das Buch.</div>',
        f"{BOOK}/zh-CN/a.html": '<div class="para">这 本书。</div>'.encode(),
    },
    "gnome-user-docs": {
        "usr/share/help/C/gnome-help/a.page": MALLARD.format("Sound volume").encode(),
        "usr/share/help/de/gnome-help/a.page": MALLARD.format("Lautstärke").encode(),
        "usr/share/help/zh_CN/gnome-help/a.page": MALLARD.format("音量").encode(),
    },
    "manpages": {"usr/share/man/man1/a.1.gz": gzip.compress(MAN.format("a \\- list files").encode())},
    "manpages-dev": {},
    "manpages-de": {"usr/share/man/de/man1/a.1.gz": gzip.compress(MAN.format("a \\- Dateien auflisten").encode())},
    "manpages-de-dev": {},
}
DESCRIPTION = "Package: a\nDescription-md5: 1\nDescription-{}: {}\n"
INDEXES = {
    "en": DESCRIPTION.format("en", "a small game"),
    "de": DESCRIPTION.format("de", "ein kleines Spiel"),
    "zh_CN": DESCRIPTION.format("zh_CN", "一个小 游戏"),
}


def pin_packages(
    cache: Path, monkeypatch: pytest.MonkeyPatch, contents: Mapping[str, dict[str, bytes]] = FILES
) -> None:
    """Put packages of these contents, and indexes, into a cache, as if they had been fetched; there is no apt."""
    packages, indexes = {}, {}
    (cache / "packages").mkdir(parents=True, exist_ok=True)
    (cache / "indexes").mkdir(exist_ok=True)
    for name, files in contents.items():
        content = package_bytes(files)
        packages[name] = Package(name, "1:0", hashlib.sha256(content).hexdigest())
        (cache / "packages" / f"{name}_1%3a0_all.deb").write_bytes(content)
    for language, text in INDEXES.items():
        digest = hashlib.sha256(text.encode()).hexdigest()
        indexes[language] = Index(language, digest)
        (cache / "indexes" / f"Translation-{language}-{digest[:12]}").write_text(text, "utf-8")
    monkeypatch.setattr(debian, "PACKAGES", packages)
    monkeypatch.setattr(debian, "INDEXES", indexes)
    monkeypatch.setattr(debian, "EXPECTED", {})
    monkeypatch.setattr(debian, "EXPECTED_SPLITS", {})
    monkeypatch.setattr(debian, "PINNED", {})
    monkeypatch.setattr(four_ways, "PINNED", {})
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pin_packages(tmp_path, monkeypatch)
    return tmp_path


def everything(corpus: Corpora) -> list[Example]:
    return corpus.train + corpus.validation + corpus.test


def test_english_german_is_read_from_every_source(cache: Path) -> None:
    corpus = build("debian-en-de", cache)
    assert {(example.source, example.target) for example in everything(corpus)} >= {
        ("Open a document.", "Ein Dokument öffnen."),
        ("Save", "Speichern"),
        ("a small game", "ein kleines Spiel"),
        ("bad use of %qs", "%qs falsch benutzt"),
        ("The book.", "Das Buch."),
        ("Sound volume", "Lautstärke"),
        ("a - list files", "a - Dateien auflisten"),
    }
    assert {example[2:4] for example in everything(corpus)} == {("en", "de")}


def test_english_chinese_is_read_from_every_source_but_man_pages(cache: Path) -> None:
    corpus = build("debian-en-zh", cache)
    assert {(example.source, example.target) for example in everything(corpus)} >= {
        ("Open a document.", "打开文档。"),
        ("Save", "保存"),
        ("a small game", "一个小游戏"),
        ("bad use of %qs", "%qs 误用"),
        ("The book.", "这本书。"),
        ("Sound volume", "音量"),
    }
    assert not any("man pages" in reason for reason in corpus.counts)
    assert {example[2:4] for example in everything(corpus)} == {("en", "zh")}


def test_what_was_read_kept_and_dropped_is_counted_and_reported(cache: Path) -> None:
    lines: list[str] = []
    corpus = build("debian-en-de", cache, lines.append)
    counts = corpus.counts
    dropped = sum(count for reason, count in counts.items() if reason.startswith("dropped: "))
    assert counts["read"] == dropped + len(everything(corpus))
    assert counts["libreoffice-help: pairs"] == 1 + len(WORDS)
    assert any(line.startswith("debian-en-de: man pages: 1 pairs read, 1 kept") for line in lines)
    assert {f"debian-en-de: {reason}: {count:,}" for reason, count in counts.items()} <= set(lines)
    assert "MPL-2.0" in corpus.source


def test_another_build_of_the_same_files_is_equal(cache: Path) -> None:
    assert build("debian-en-de", cache) == build("debian-en-de", cache)


@pytest.mark.parametrize(
    ("table", "pins", "complaint"),
    [
        (
            "EXPECTED",
            {"debian-en-de": {"gcc messages": (1, 2)}},
            "gcc messages gave 1 and 1 pairs, but 1 and 2 are pinned",
        ),
        ("EXPECTED_SPLITS", {"debian-en-de": (9, 9, 9)}, "splitting gave .* pairs, but 9 and 9 and 9 are pinned"),
    ],
)
def test_a_count_that_is_not_the_pinned_one_names_its_source(
    cache: Path, monkeypatch: pytest.MonkeyPatch, table: str, pins: object, complaint: str
) -> None:
    monkeypatch.setattr(debian, table, pins)
    with pytest.raises(DataError, match=f"debian-en-de: {complaint}"):
        build("debian-en-de", cache)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_missing_or_damaged_package_is_never_read(cache: Path, damage: Callable[[Path], None]) -> None:
    damage(cache / "packages" / "gnome-user-docs_1%3a0_all.deb")
    with pytest.raises(FetchError, match="apt-get is not on this machine"):
        build("debian-en-de", cache)


def test_every_pinned_file_has_a_whole_hash_and_every_source_a_pinned_count() -> None:
    from regard.corpora.debian_pins import EXPECTED, EXPECTED_SPLITS, INDEXES, PACKAGES

    pinned = [*PACKAGES.values(), *INDEXES.values()]
    assert all(len(bytes.fromhex(entry.sha256)) == 32 for entry in pinned)
    for code, sources in debian._SOURCES.items():
        assert list(EXPECTED[f"debian-en-{code}"]) == [source.name for source in sources]
    assert set(EXPECTED_SPLITS) == set(EXPECTED)


def test_other_pairs_of_the_same_number_are_not_what_is_pinned(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = build("debian-en-de", cache)
    sizes = (len(found.train), len(found.validation), len(found.test))
    monkeypatch.setattr(debian, "PINNED", {"debian-en-de": Pinned(*sizes, found.sha256)})
    assert build("debian-en-de", cache) == found
    monkeypatch.setattr(debian, "PINNED", {"debian-en-de": Pinned(*sizes, 64 * "0")})
    with pytest.raises(DataError, match=r"debian-en-de has the SHA-256 .*, but 0000"):
        build("debian-en-de", cache)


def test_four_ways_are_the_pairs_of_both_languages_in_both_directions(cache: Path) -> None:
    corpus = build("debian-four-ways", cache)
    assert list(corpus.parts) == ["en-de", "de-en", "en-zh", "zh-en"]
    assert sum(corpus.parts.values()) == len(corpus.train)
    begin = 0
    for name, size in corpus.parts.items():  # part after part, as `data.temperature` needs them
        part = corpus.train[begin : begin + size]
        assert size
        assert {f"{example.source_lang}-{example.target_lang}" for example in part} == {name}
        begin += size
    ways = {(example.source, example.target) for example in everything(corpus)}
    assert {(target, source) for source, target in ways} == ways
    assert {("Open a document.", "打开文档。"), ("Ein Dokument öffnen.", "Open a document.")} <= ways
    single = build("debian-zh-en", cache)
    assert single.train == [example for example in corpus.train if example[2:4] == ("zh", "en")]
    assert single.parts == {"zh-en": len(single.train)}


def test_the_first_held_out_examples_are_of_all_directions() -> None:
    ways = [
        [Example(f"{way} {number}", "", "en", way) for number in range(count)] for way, count in (("de", 3), ("zh", 1))
    ]
    assert [example.source for example in four_ways._in_turn(ways)] == ["de 0", "zh 0", "de 1", "de 2"]


def test_what_four_ways_are_made_of_is_pinned(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(four_ways, "PINNED", {"debian-de-en": Pinned(1, 2, 3, "")})
    with pytest.raises(DataError, match=r"debian-de-en gave .* pairs, but 1 and 2 and 3 are pinned"):
        build("debian-de-en", cache)
