"""English to and from German and Chinese: what is held out in one direction is trained in none.

A pair stands in both of its directions, so each side is a source in one and a target in the other; and one English
sentence may stand beside a German and a Chinese one. So training loses every pair whose English side nearly equals a
held-out English side of either language, or whose other side nearly equals a held-out text of its own language, and
validation loses what is so near to test. The test pairs are those of debian-en-de and debian-en-zh: scores compare.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest
from pathlib import Path

from regard.batch import Example
from regard.corpora.corpus import Corpora, Pinned, Report, check_pinned
from regard.corpora.debian import CHINESE, GERMAN, ORIGIN, Splits, read_splits
from regard.corpora.near_copies import near_copies
from regard.corpora.splits import Split, text_key

ENGLISH = "en"
LANGUAGES = (GERMAN, CHINESE)
WAYS = tuple(way for other in LANGUAGES for way in ((ENGLISH, other.code), (other.code, ENGLISH)))

PINNED = {
    "debian-four-ways": Pinned(
        310_710, 1_616, 3_026, "fb01c66626ad1be7a338cf7a41579642ea9e1f5e7d3ba2e92913d5a21b0bc3fd"
    ),
    "debian-de-en": Pinned(108_908, 540, 803, "e46606f92d3a5e0f8007725d1b4f6a757ec53c00250f4574eea081db20d6a1ce"),
    "debian-zh-en": Pinned(46_447, 268, 710, "8416d074b62955648e41ea40341b6b682ddca47d01a43d9e2d92be2e787f4d08"),
}


def build_four_ways(cache: Path, report: Report) -> Corpora:
    """All four directions; fetches about 80 MB at the first call."""
    return _build("debian-four-ways", WAYS, cache, report)


def build_german_english(cache: Path, report: Report) -> Corpora:
    """Of `build_four_ways` German to English alone."""
    return _build("debian-de-en", ((GERMAN.code, ENGLISH),), cache, report)


def build_chinese_english(cache: Path, report: Report) -> Corpora:
    """Of `build_four_ways` Chinese to English alone."""
    return _build("debian-zh-en", ((CHINESE.code, ENGLISH),), cache, report)


def _build(name: str, ways: tuple[tuple[str, str], ...], cache: Path, report: Report) -> Corpora:
    counts: Counter[str] = Counter()
    splits = held_apart({other.code: read_splits(other, cache, report)[0] for other in LANGUAGES}, counts)
    train, validation, test = (
        [_examples(splits, split, way) for way in ways] for split in ("train", "validation", "test")
    )
    parts = {f"{source}-{target}": len(examples) for (source, target), examples in zip(ways, train, strict=True)}
    counts.update({f"{way} train": count for way, count in parts.items()})
    for reason, count in counts.items():
        report(f"{name}: {reason}: {count:,}")
    corpora = Corpora([*chain(*train)], _in_turn(validation), _in_turn(test), dict(counts), ORIGIN, parts)
    return check_pinned(name, corpora, PINNED.get(name), "pairs")


def held_apart(splits: Mapping[str, Splits], counts: Counter[str]) -> dict[str, Splits]:
    """Splits of pairs of English and a language, by language, as they may be trained and tested in both directions of
    all of them; `counts` gains what that takes away."""
    apart = {code: Splits(own) for code, own in splits.items()}
    _drop_near_copies(apart, "validation", ("test",), counts)
    _drop_near_copies(apart, "train", ("validation", "test"), counts)
    return apart


def _drop_near_copies(
    splits: dict[str, Splits], name: Split, held_out: tuple[Split, ...], counts: Counter[str]
) -> None:
    everywhere = _near(splits.values(), name, held_out, side=0)
    for code, own in splits.items():
        here = _near([own], name, held_out, side=1)
        kept = [pair for pair in own[name] if text_key(pair[0]) not in everywhere and text_key(pair[1]) not in here]
        counts[f"dropped: {name} of {ENGLISH} and {code} nearly equals {' or '.join(held_out)}"] = len(own[name]) - len(
            kept
        )
        own[name] = kept


def _near(splits: Iterable[Splits], name: Split, held_out: tuple[Split, ...], side: int) -> set[str]:
    """The keys of one side of a split that are near copies of a held-out one."""
    splits = list(splits)
    keys = [text_key(pair[side]) for own in splits for pair in own[name]]
    return near_copies(keys, [text_key(pair[side]) for own in splits for split in held_out for pair in own[split]])


def _examples(splits: Mapping[str, Splits], split: Split, way: tuple[str, str]) -> list[Example]:
    source_lang, target_lang = way
    if source_lang == ENGLISH:
        return [Example(english, other, *way) for english, other in splits[target_lang][split]]
    return [Example(other, english, *way) for english, other in splits[source_lang][split]]


def _in_turn(ways: list[list[Example]]) -> list[Example]:
    """One of each direction after another, so that the first ones, which training scores, are of all."""
    return [example for one in zip_longest(*ways) for example in one if example is not None]
