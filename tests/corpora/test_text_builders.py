"""The builders of questions and of English text, on pages and descriptions that stand in for Debian's."""

import random
from pathlib import Path

import pytest

from regard.corpora import build, english, question_sets
from regard.corpora.descriptions import Description
from regard.corpora.questions import Entry, Page

WORDS = "amber birch cedar dune ember fjord grove heath inlet jetty knoll larch marsh north ocean pines ridge".split()


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=18)) + "."


def pages(kind: str) -> list[Page]:
    rng = random.Random(kind)
    return [
        Page(f"{kind}{n}", f"{kind}{n}", tuple(Entry(f"{kind}_{n}_{m}", sentence(rng)) for m in range(4)))
        for n in range(80)
    ]


def descriptions() -> list[Description]:
    rng = random.Random(0)
    bodies = [f"Tool{n} is a program for {sentence(rng)} {sentence(rng)}" for n in range(300)]
    return [Description(f"p{n}", f"s{n}", "games", f"tool {n}", (body,)) for n, body in enumerate(bodies)]


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the builders read these pages and descriptions, and fetch nothing."""
    for module in (question_sets, english):
        monkeypatch.setattr(module, "PINNED", {})
        monkeypatch.setattr(module, "read_descriptions", lambda fetcher: descriptions())
    monkeypatch.setattr(question_sets, "man_pages", lambda fetcher: iter(pages("man")))
    monkeypatch.setattr(question_sets, "python_pages", lambda fetcher: iter(pages("python")))
    documents = {f"library/{n}": sentence(random.Random(n)) for n in range(120)}
    monkeypatch.setattr(english, "python_sources", lambda fetcher: documents)


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)


def test_all_questions_are_those_of_the_three_families_and_texts_are_made_of_each(tmp_path: Path) -> None:
    families = [build(f"questions-{name}", tmp_path) for name in ("manpages", "python", "packages")]
    together, written = build("questions", tmp_path), build("written-answers", tmp_path)
    for split in ("train", "validation", "test"):
        found = getattr(together, split)
        named = zip(("man pages", "Python documentation", "package descriptions"), families, strict=True)
        assert found == [{**item, "group": name} for name, family in named for item in getattr(family, split)]
        assert min(len(getattr(family, split)) for family in families) > 0
        for item, example in zip(found, getattr(written, split), strict=True):
            assert item["question"] in example.source
            assert item["context"] in example.source
            assert example.target == (item["answers"]["text"] or [question_sets.NO_ANSWER])[0]
    assert build("questions", tmp_path).sha256 == together.sha256


def test_english_text_is_split_by_page_and_by_source_and_its_bytes_are_counted(tmp_path: Path) -> None:
    corpus = build("english", tmp_path)
    splits = [[item["text"] for item in split] for split in (corpus.train, corpus.validation, corpus.test)]
    assert all(splits)
    assert sum(map(len, splits)) == len({text for split in splits for text in split}) == 120 + 300
    assert corpus.counts["train: bytes"] == sum(len(text.encode()) for text in splits[0])
    assert build("english", tmp_path).sha256 == corpus.sha256
