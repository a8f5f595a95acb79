"""Pictures of emoji with their names in English, German and Chinese, to caption; and what training never drew.

Three artists draw for training and validation. To test: a fourth one, whose style no training picture has; combinations
of a person and a tone of skin whose words are all known, but not together; both at once; and Tux Paint's stamps, which
are no emoji at all. Each is scored by itself.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from regard.batch import CaptionExample
from regard.corpora.archives import npm_files
from regard.corpora.corpus import Corpora, Pinned, Report, check_pinned
from regard.corpora.emoji_names import LANGUAGES, read_names, sequence
from regard.corpora.fetch import Fetcher
from regard.corpora.npm import NpmFetcher, NpmPackage
from regard.corpora.pictures import Shelf, inline, pixels_hash
from regard.corpora.splits import Split, bucket, split_of
from regard.corpora.stamps import PACKAGE as STAMPS_PACKAGE
from regard.corpora.stamps import read_stamps
from regard.corpora.svg import Rasteriser


class Style(NamedTuple):
    """An artist's emoji: files that are named by their characters, 1f44b-1f3fd.png."""

    name: str
    package: NpmPackage
    folder: str
    suffix: str


TRAINED = (
    Style(
        "google",
        NpmPackage(
            "emoji-datasource-google", "16.0.0", "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"
        ),
        "package/img/google/64/",
        ".png",
    ),
    Style(
        "twitter",
        NpmPackage(
            "emoji-datasource-twitter", "16.0.0", "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877"
        ),
        "package/img/twitter/64/",
        ".png",
    ),
    Style(
        "fluent-3d",
        NpmPackage(
            "@lobehub/fluent-emoji-3d", "1.1.0", "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"
        ),
        "package/assets/",
        ".webp",
    ),
)
UNSEEN = Style(
    "openmoji",
    NpmPackage("openmoji", "17.0.0", "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68"),
    "package/color/svg/",
    ".svg",
)
STYLE, COMBINATION, BOTH, STAMPS = "unseen style", "unseen combination", "unseen style and combination", "stamps"
TONES = frozenset(range(0x1F3FB, 0x1F400))  # of skin
COMBINATIONS_BELOW = (130, 160)  # test and validation, of a thousand emoji with a tone
VALIDATION_BELOW = 20  # of a thousand pictures of the others, each of which other artists draw too
UNSEEN_BELOW = 400  # of a thousand of the fourth artist's: a test split that two cores caption in minutes
PINNED: Pinned | None = Pinned(29_787, 876, 9_752, "9448a5f393ec68a4dfb9351334f9358e77351b29b52ac97427372ebe5dc79423")
_ORIGIN = (
    "names of Unicode CLDR 48.2 (Unicode-3.0); pictures of emoji-datasource-google (Noto, Apache-2.0) and -twitter "
    "(Twemoji, CC-BY-4.0), @lobehub/fluent-emoji-3d (Fluent, MIT), openmoji (CC-BY-SA-4.0), and of Debian 12.15's "
    "tuxpaint-stamps-default (GPL-2)"
)


class Picture(NamedTuple):
    """A drawing and its captions by language. name: of an emoji its characters."""

    name: str
    path: Path
    captions: Mapping[str, str]
    group: str = ""

    def examples(self, *, inlined: bool) -> Iterator[CaptionExample]:
        """One a language. What is scored goes along with the data, wherever the cache is then."""
        image = inline(self.path) if inlined else str(self.path)
        for language in LANGUAGES:
            if language in self.captions:
                yield CaptionExample(image, self.captions[language], language, self.group)


Splits = dict[Split, list[Picture]]


def build_emoji(cache: Path, report: Report) -> Corpora:
    """Fetches 330 MB at the first call, of which 160 MB are the stamps, and draws for some minutes."""
    npm, counts = NpmFetcher(cache), Counter[str]()
    shelf = Shelf(cache / "emoji", Rasteriser(npm, cache))
    names = read_names(npm)
    counts["emoji with a name in each language"] = len(names)
    splits: Splits = {"train": [], "validation": [], "test": []}
    for style in TRAINED:
        report(f"emoji: drawings by {style.name}")
        for emoji, path in _drawings(style, npm, shelf, names.keys(), counts).items():
            group = COMBINATION if has_tone(emoji) else ""
            splits[split_of_drawing(style.name, emoji)].append(Picture(emoji, path, names[emoji], group))
    _drop_unknown_words(splits, counts)
    report(f"emoji: drawings by {UNSEEN.name}")
    groups = _unseen_groups(splits)
    for emoji, path in _drawings(UNSEEN, npm, shelf, groups.keys(), counts).items():
        splits["test"].append(Picture(emoji, path, names[emoji], groups[emoji]))
    report("emoji: stamps")
    splits["test"] += _stamps(cache, shelf, counts)
    _drop_copies(splits, counts)
    return _corpora(splits, counts, report)


def has_tone(emoji: str) -> bool:
    """Whether it has a tone of skin."""
    return not TONES.isdisjoint(int(code, 16) for code in emoji.split("-"))


def split_of_drawing(style: str, emoji: str) -> Split:
    """A combination is in one split whoever draws it; of the other emoji, a few drawings validate."""
    if has_tone(emoji):
        return split_of(f"combination {emoji}", *COMBINATIONS_BELOW)
    return split_of(f"{style} {emoji}", 0, VALIDATION_BELOW)


def _drawings(
    style: Style, npm: NpmFetcher, shelf: Shelf, wanted: Collection[str], counts: Counter[str]
) -> dict[str, Path]:
    """An artist's drawings of the wanted emoji."""
    files: dict[str, bytes] = {}
    found = npm_files(npm.package(style.package), (style.folder,), (style.suffix,))
    for path in sorted(found):
        emoji = _sequence_of(path.removeprefix(style.folder).removesuffix(style.suffix))
        if emoji not in wanted:
            counts[f"left out: {style.name}'s, of no name or not asked for"] += 1
        elif emoji in files:
            counts[f"left out: {style.name}'s second of an emoji"] += 1
        else:
            files[emoji] = found[path]
    counts[style.name] = len(files)
    return shelf.pictures(f"{style.name}-{style.package.version}", files, svg=style.suffix == ".svg")


def _sequence_of(stem: str) -> str:
    try:
        return sequence(int(code, 16) for code in stem.split("-"))
    except ValueError:
        return stem  # which is nobody's name


def _unseen_groups(splits: Splits) -> dict[str, str]:
    """The emoji whose drawings by the fourth artist are scored, and in which group."""
    trained = {picture.name for picture in splits["train"]}
    held = {picture.name for picture in splits["test"]}
    chosen = {emoji for emoji in trained if bucket(f"{UNSEEN.name} {emoji}") < UNSEEN_BELOW}
    return {**dict.fromkeys(chosen, STYLE), **dict.fromkeys(held, BOTH)}


def _stamps(cache: Path, shelf: Shelf, counts: Counter[str]) -> Iterator[Picture]:
    stamps = list(read_stamps(Fetcher(cache), counts))
    counts[STAMPS] = len(stamps)
    paths: dict[str, Path] = {}
    for is_svg in (False, True):
        files = {stamp.name: stamp.content for stamp in stamps if stamp.is_svg == is_svg}
        paths |= shelf.pictures(f"stamps-{STAMPS_PACKAGE.version}", files, svg=is_svg)
    return (Picture(stamp.name, paths[stamp.name], stamp.captions, STAMPS) for stamp in stamps)


def _drop_unknown_words(splits: Splits, counts: Counter[str]) -> None:
    """Of the held-out combinations those with a word that no training caption has."""
    known = {
        (language, word)
        for picture in splits["train"]
        for language, caption in picture.captions.items()
        for word in words(caption, language)
    }
    for split in ("validation", "test"):
        kept = [
            picture
            for picture in splits[split]
            if all((each, word) in known for each, said in picture.captions.items() for word in words(said, each))
        ]
        counts[f"dropped: {split} name with a word that training does not have"] = len(splits[split]) - len(kept)
        splits[split] = kept


def words(caption: str, language: str) -> list[str]:
    """Of Chinese the characters."""
    found = re.findall(r"\w+", caption.casefold())
    return [character for word in found for character in word] if language == "zh" else found


def _drop_copies(splits: Splits, counts: Counter[str]) -> None:
    """Of the held-out drawings those whose pixels equal a training drawing's."""
    trained = {pixels_hash(picture.path) for picture in splits["train"]}
    for split in ("validation", "test"):
        kept = [picture for picture in splits[split] if pixels_hash(picture.path) not in trained]
        counts[f"dropped: {split} drawing that training has"] = len(splits[split]) - len(kept)
        splits[split] = kept


def _corpora(splits: Splits, counts: Counter[str], report: Report) -> Corpora:
    """The hash is of the pixels and what is said of them, for the paths in the corpora are those of a machine."""
    digest, examples = hashlib.sha256(), dict[Split, list[CaptionExample]]()
    for split, pictures in splits.items():
        if split != "train":  # so that the first ones, which training scores, are of all groups
            pictures = sorted(pictures, key=lambda picture: bucket(f"order {picture.path.parent.name} {picture.name}"))
        for picture in pictures:
            said = json.dumps([split, picture.name, picture.group, dict(picture.captions)], ensure_ascii=False)
            digest.update(f"{said} {pixels_hash(picture.path)}\n".encode())
        examples[split] = [each for picture in pictures for each in picture.examples(inlined=split != "train")]
        counts[f"{split}: pictures"], counts[f"{split}: captions"] = len(pictures), len(examples[split])
    for group, number in sorted(Counter(picture.group for picture in splits["test"]).items()):
        counts[f"test: pictures, {group}"] = number
    for what, count in counts.items():
        report(f"emoji: {what}: {count:,}")
    corpora = Corpora(examples["train"], examples["validation"], examples["test"], dict(counts), _ORIGIN)
    report(f"emoji: SHA-256 {digest.hexdigest()}")
    return check_pinned("emoji", corpora, PINNED, "captions", sha256=digest.hexdigest(), tool="Pillow")
