"""English text for language models: Python's documentation, a page a document, and Debian's package descriptions."""

from collections import Counter
from pathlib import Path

from regard.corpora.corpus import Corpora, Pinned, Report, check_pinned
from regard.corpora.descriptions import DESCRIPTIONS_ORIGIN, read_descriptions, without_shared
from regard.corpora.fetch import Fetcher
from regard.corpora.package_texts import split_by_source, whole
from regard.corpora.question_pages import python_sources
from regard.corpora.splits import Split, split_of

LEAST_WORDS = 10  # of a description
PAGES_BELOW = (30, 60)  # test and validation, of a thousand pages

PINNED = {
    "english": Pinned(57_359, 825, 1_767, "5aa01a25e2ce7da700afb5b592db500eb50fbf3f3eb6667c3a9c63e79e6a1f22"),
}


def build_english(cache: Path, report: Report) -> Corpora:
    """Documents, {"text"}, split by page and by source package; fetches 30 MB at the first call."""
    fetcher, counts = Fetcher(cache), Counter[str]()
    splits = _pages(fetcher, counts)
    described = without_shared(read_descriptions(fetcher), counts)
    long = [text for text in described if len(whole(text).split()) >= LEAST_WORDS]
    counts[f"dropped: description under {LEAST_WORDS} words"] = len(described) - len(long)
    of_packages: Counter[str] = Counter()
    for split, texts in split_by_source(long, of_packages).items():
        splits[split] += [{"text": whole(text)} for text in texts]
    counts.update({f"descriptions, {reason}": count for reason, count in of_packages.items()})
    for split, documents in splits.items():
        counts[f"{split}: bytes"] = sum(len(document["text"].encode()) for document in documents)
    for reason, count in counts.items():
        report(f"english: {reason}: {count:,}")
    origin = f"Debian 12.15: python3.11-doc, PSF licence; {DESCRIPTIONS_ORIGIN}"
    corpora = Corpora(splits["train"], splits["validation"], splits["test"], dict(counts), origin)
    return check_pinned("english", corpora, PINNED.get("english"), "documents")


def _pages(fetcher: Fetcher, counts: Counter[str]) -> dict[Split, list[dict[str, str]]]:
    splits: dict[Split, list[dict[str, str]]] = {"train": [], "validation": [], "test": []}
    for path, source in python_sources(fetcher).items():
        if source.strip():
            splits[split_of(path, *PAGES_BELOW)].append({"text": source.strip()})
            counts["pages of Python's documentation"] += 1
    return splits
