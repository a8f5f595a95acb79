"""English-German and English-Chinese text from Debian packages: help, programs' messages, descriptions, manuals.

Pairs are cleaned (`cleaning`), split by a key of the English side (`splits`), and training loses whatever equals or
nearly equals a held-out source (`near_copies`). Held-out splits keep sentences of `SCORED_WORDS` English words or more.
"""

import gzip
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from regard.batch import Example
from regard.corpora.archives import package_files
from regard.corpora.catalogs import TextPair, catalog_pairs, description_pairs
from regard.corpora.cleaning import cleaned
from regard.corpora.corpus import Corpora, Report, check_counts, check_pinned
from regard.corpora.debian_pins import EXPECTED, EXPECTED_SPLITS, INDEXES, PACKAGES, PINNED
from regard.corpora.fetch import Fetcher
from regard.corpora.manpages import man_pairs
from regard.corpora.markup import aligned_blocks, handbook_blocks, html_pairs_by_id, mallard_blocks
from regard.corpora.near_copies import near_copies
from regard.corpora.splits import Split, split_of, text_key

SCORED_WORDS = 6  # shorter held-out pairs are dropped: menu entries say little about translation

ORIGIN = (
    "Debian 12.15 packages; licences: LibreOffice help and l10n MPL-2.0, package descriptions as each package, "
    "gcc GPL-3+, man pages mixed (German GPL-3+), debian-handbook GPL-2+ or CC-BY-SA-3.0, gnome-user-docs CC-BY-SA-3.0"
)


class Language(NamedTuple):
    """How the packages spell a target language."""

    code: str  # ours
    package: str  # in libreoffice-help-*
    locale: str  # in gettext paths and indexes
    page: str  # in the help's and the handbook's paths
    book: str
    test_below: int = 10  # of a thousand keys
    validation_below: int = 20


GERMAN = Language("de", "de", "de", "de", "de-DE")
CHINESE = Language("zh", "zh-cn", "zh_CN", "zh-CN", "zh-CN", test_below=25, validation_below=35)  # half as much text


class Source(NamedTuple):
    """One kind of text: how its pairs are read, and whether they come from menus and buttons."""

    name: str
    read: Callable[[Fetcher, Language], Iterator[TextPair]]
    accelerators: bool = False


Splits = dict[Split, list[TextPair]]


def build_english_german(cache: Path, report: Report) -> Corpora:
    """English to German; fetches about 80 MB at the first call."""
    return _one_way(GERMAN, cache, report)


def build_english_chinese(cache: Path, report: Report) -> Corpora:
    """English to simplified Chinese; fetches about 70 MB at the first call. Its man pages do not align."""
    return _one_way(CHINESE, cache, report)


def _one_way(language: Language, cache: Path, report: Report) -> Corpora:
    splits, counts = read_splits(language, cache, report)
    train, validation, test = (_examples(splits[split], language) for split in ("train", "validation", "test"))
    name = f"debian-en-{language.code}"
    corpora = Corpora(train, validation, test, dict(counts), ORIGIN)
    return check_pinned(name, corpora, PINNED.get(name), "pairs")


def read_splits(language: Language, cache: Path, report: Report) -> tuple[Splits, Counter[str]]:
    """The pairs of English and a language by split, and what was read, dropped and kept."""
    name, fetcher = f"debian-en-{language.code}", Fetcher(cache)
    counts: Counter[str] = Counter()
    pairs: dict[TextPair, None] = {}
    for source in _SOURCES[language.code]:
        found, found_counts = _read(name, source, fetcher, language, report)
        new = found.keys() - pairs.keys()
        counts.update(found_counts)
        counts[f"{source.name}: pairs"] = len(new)
        counts["dropped: in another source"] += len(found) - len(new)
        pairs |= found
    splits = split_pairs(pairs, counts, language.test_below, language.validation_below)
    for reason, count in counts.items():
        report(f"{name}: {reason}: {count:,}")
    sizes = (len(splits["train"]), len(splits["validation"]), len(splits["test"]))
    check_counts(f"{name}: splitting", sizes, EXPECTED_SPLITS.get(name))
    return splits, counts


def _read(
    name: str, source: Source, fetcher: Fetcher, language: Language, report: Report
) -> tuple[dict[TextPair, None], Counter[str]]:
    counts: Counter[str] = Counter()
    pairs = cleaned(source.read(fetcher, language), language.code, counts, accelerators=source.accelerators)
    report(f"{name}: {source.name}: {counts['read']:,} pairs read, {len(pairs):,} kept")
    check_counts(f"{name}: {source.name}", (counts["read"], len(pairs)), EXPECTED.get(name, {}).get(source.name))
    return pairs, counts


def _examples(pairs: list[TextPair], language: Language) -> list[Example]:
    return [Example(source, target, "en", language.code) for source, target in pairs]


def split_pairs(pairs: dict[TextPair, None], counts: Counter[str], test_below: int, validation_below: int) -> Splits:
    """Pairs by split: no training source nearly equals a held-out one, and no held-out target stands in training."""
    splits: Splits = {"train": [], "validation": [], "test": []}
    for pair in pairs:
        split = split_of(text_key(pair[0]), test_below, validation_below)
        if split != "train" and len(pair[0].split()) < SCORED_WORDS:
            counts[f"dropped: {split} source under {SCORED_WORDS} words"] += 1
        else:
            splits[split].append(pair)
    _drop_near_copies(splits, "validation", ("test",), counts)
    _drop_near_copies(splits, "train", ("validation", "test"), counts)
    trained = {target for _, target in splits["train"]}
    for name in ("validation", "test"):
        kept = [pair for pair in splits[name] if pair[1] not in trained]
        counts[f"dropped: {name} target in training"] = len(splits[name]) - len(kept)
        splits[name] = kept
    counts.update({name: len(kept) for name, kept in splits.items()})
    return splits


def _drop_near_copies(splits: Splits, name: Split, held_out: tuple[Split, ...], counts: Counter[str]) -> None:
    keys = [text_key(source) for source, _ in splits[name]]
    copies = near_copies(keys, [text_key(source) for split in held_out for source, _ in splits[split]])
    kept = [pair for pair, key in zip(splits[name], keys, strict=True) if key not in copies]
    counts[f"dropped: {name} source nearly equals {' or '.join(held_out)}"] = len(splits[name]) - len(kept)
    splits[name] = kept


def _files(fetcher: Fetcher, package: str, prefix: str, *suffixes: str) -> dict[str, bytes]:
    """Files below a directory of a package, by their path from there."""
    found = package_files(fetcher.package(PACKAGES[package]), (prefix,), suffixes)
    return {path.removeprefix(prefix): content for path, content in sorted(found.items())}


def _shared(original: dict[str, bytes], translation: dict[str, bytes]) -> Iterator[tuple[str, str]]:
    """Both texts of each file that both have."""
    for path in sorted(original.keys() & translation.keys()):
        yield original[path].decode("utf-8", "replace"), translation[path].decode("utf-8", "replace")


def _libreoffice_help(fetcher: Fetcher, language: Language) -> Iterator[TextPair]:
    root = "usr/share/libreoffice/help"
    original = _files(fetcher, "libreoffice-help-en-us", f"{root}/en-US/text/", ".html")
    translation = _files(fetcher, f"libreoffice-help-{language.package}", f"{root}/{language.page}/text/", ".html")
    for page, translated in _shared(original, translation):
        yield from html_pairs_by_id(page, translated)


def _libreoffice_surface(fetcher: Fetcher, language: Language) -> Iterator[TextPair]:
    root = f"usr/lib/libreoffice/program/resource/{language.locale}/LC_MESSAGES/"
    for path, content in _files(fetcher, f"libreoffice-l10n-{language.package}", root, ".mo").items():
        yield from catalog_pairs(content, path)


def _package_descriptions(fetcher: Fetcher, language: Language) -> Iterator[TextPair]:
    original, translation = (fetcher.index(INDEXES[code]).read_text("utf-8") for code in ("en", language.locale))
    yield from description_pairs(original, translation)


def _compiler(fetcher: Fetcher, language: Language) -> Iterator[TextPair]:
    for path, content in _files(fetcher, "gcc-12-locales", f"usr/share/locale/{language.locale}/", ".mo").items():
        yield from catalog_pairs(content, path)


def _handbook(fetcher: Fetcher, language: Language) -> Iterator[TextPair]:
    root = "usr/share/doc/debian-handbook/html"
    original, translation = (
        _files(fetcher, "debian-handbook", f"{root}/{book}/", ".html") for book in ("en-US", language.book)
    )
    for page, translated in _shared(original, translation):
        yield from aligned_blocks(handbook_blocks(page), handbook_blocks(translated))


def _gnome_help(fetcher: Fetcher, language: Language) -> Iterator[TextPair]:
    original, translation = (
        _files(fetcher, "gnome-user-docs", f"usr/share/help/{code}/", ".page") for code in ("C", language.locale)
    )
    for page, translated in _shared(original, translation):
        yield from aligned_blocks(mallard_blocks(page), mallard_blocks(translated))


def _man_pages(fetcher: Fetcher, language: Language) -> Iterator[TextPair]:
    original, translation = (
        {
            path: gzip.decompress(content)
            for package in packages
            for path, content in _files(fetcher, package, root, ".gz").items()
        }
        for packages, root in (
            (("manpages", "manpages-dev"), "usr/share/man/man"),
            (
                (f"manpages-{language.package}", f"manpages-{language.package}-dev"),
                f"usr/share/man/{language.locale}/man",
            ),
        )
    )
    for page, translated in _shared(original, translation):
        yield from man_pairs(page, translated)


_OF_BOTH = (
    Source("libreoffice-help", _libreoffice_help),
    Source("libreoffice-l10n", _libreoffice_surface, accelerators=True),
    Source("package descriptions", _package_descriptions),
    Source("gcc messages", _compiler),
    Source("debian-handbook", _handbook),
    Source("gnome-user-docs", _gnome_help),
)
_SOURCES = {GERMAN.code: (*_OF_BOTH, Source("man pages", _man_pages)), CHINESE.code: _OF_BOTH}
