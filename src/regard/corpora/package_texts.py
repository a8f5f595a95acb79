"""Three corpora of Debian's package descriptions: summaries, sections, and pairs for embeddings.

Paragraphs that several source packages share are stripped first. Splits go by a hash of the source package, for the
packages of one source are described alike; held-out texts that still share 13 words in a row with a training text are
dropped.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from regard.batch import Example
from regard.corpora.corpus import Corpora, Item, Pinned, Report, check_pinned
from regard.corpora.descriptions import DESCRIPTIONS_ORIGIN, Description, read_descriptions, without_shared
from regard.corpora.fetch import Fetcher
from regard.corpora.shared_grams import sharing
from regard.corpora.splits import Split, split_of

LEAST_LONG = 30  # words of a long description that has something to summarise
LEAST_TEXT = 10  # words of a text that is classified
LEAST_SECTION = 100  # descriptions of a section that is a class
TEST_BELOW, VALIDATION_BELOW = 30, 45  # of a thousand source packages

PINNED = {
    "package-summaries": Pinned(36_166, 525, 1_039, "a518fbb9b41af1b5a0eede15df42245608bb114f1be3368fa0a679f4719e1fd2"),
    "package-sections": Pinned(56_339, 799, 1_747, "5d4d38a6d86d8e7ef32632bb94adb966e2dc0da2f3caaa67922d2f4037a093fd"),
    "package-pairs": Pinned(36_166, 525, 1_039, "6b3bf2f1d64712b4c0162b6f200280f5201f927d0c9831544f58d1fc3faa56cc"),
}


def build_summaries(cache: Path, report: Report) -> Corpora:
    """Long description -> synopsis, as pairs. Fetches 18 MB of indexes at the first call, as the other two do."""
    return _build("package-summaries", cache, report, _long, lambda text: Example(text.body, text.synopsis))


def build_pairs(cache: Path, report: Report) -> Corpora:
    """Synopsis and long description: {"text", "positive"}."""
    return _build("package-pairs", cache, report, _long, lambda text: {"text": text.synopsis, "positive": text.body})


def build_sections(cache: Path, report: Report) -> Corpora:
    """The section of the archive that a package is in, from its whole description: {"text", "label"}."""
    return _build(
        "package-sections", cache, report, _of_a_class, lambda text: {"text": whole(text), "label": text.section}
    )


def whole(description: Description) -> str:
    """Synopsis and long text as one."""
    return f"{description.synopsis}. {description.body}".strip()


def _long(descriptions: list[Description], counts: Counter[str]) -> list[Description]:
    kept = [text for text in descriptions if len(text.body.split()) >= LEAST_LONG]
    counts[f"dropped: under {LEAST_LONG} words"] = len(descriptions) - len(kept)
    return kept


def _of_a_class(descriptions: list[Description], counts: Counter[str]) -> list[Description]:
    long = [text for text in descriptions if len(whole(text).split()) >= LEAST_TEXT]
    sizes = Counter(text.section for text in long)
    kept = [text for text in long if sizes[text.section] >= LEAST_SECTION]
    counts[f"dropped: under {LEAST_TEXT} words"] = len(descriptions) - len(long)
    counts[f"dropped: in a section of fewer than {LEAST_SECTION}"] = len(long) - len(kept)
    counts["sections"] = len({text.section for text in kept})
    return kept


def _build(
    name: str,
    cache: Path,
    report: Report,
    choose: Callable[[list[Description], Counter[str]], list[Description]],
    item: Callable[[Description], Item],
) -> Corpora:
    counts: Counter[str] = Counter()
    descriptions = read_descriptions(Fetcher(cache))
    counts["read"] = len(descriptions)
    chosen = _distinct(choose(without_shared(descriptions, counts), counts), counts)
    splits = split_by_source(chosen, counts)
    for reason, count in counts.items():
        report(f"{name}: {reason}: {count:,}")
    train, validation, test = ([item(text) for text in splits[split]] for split in ("train", "validation", "test"))
    corpora = Corpora(train, validation, test, dict(counts), DESCRIPTIONS_ORIGIN)
    return check_pinned(name, corpora, PINNED.get(name), "texts")


def _distinct(descriptions: list[Description], counts: Counter[str]) -> list[Description]:
    """Each text once: stripped of what they share, descriptions may have become equal."""
    first = {whole(text): text for text in reversed(descriptions)}
    kept = [text for text in descriptions if first[whole(text)] is text]
    counts["dropped: repeated"] = len(descriptions) - len(kept)
    return kept


def split_by_source(descriptions: list[Description], counts: Counter[str]) -> dict[Split, list[Description]]:
    """By split: all packages of a source in one, and no 13 words in a row of a held-out text in training."""
    splits: dict[Split, list[Description]] = {"train": [], "validation": [], "test": []}
    for text in descriptions:
        splits[split_of(text.source, TEST_BELOW, VALIDATION_BELOW)].append(text)
    counts["source packages"] = len({text.source for text in descriptions})
    trained = [whole(text) for text in splits["train"]]
    for name in ("validation", "test"):
        copied = sharing([whole(text) for text in splits[name]], trained)
        counts[f"dropped: {name} shares 13 words with training"] = len(copied)
        splits[name] = [text for place, text in enumerate(splits[name]) if place not in copied]
    counts.update({split: len(texts) for split, texts in splits.items()})
    return splits
