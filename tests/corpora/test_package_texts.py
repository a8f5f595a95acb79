"""The builders of package descriptions from end to end, on small indexes in the cache under pinned hashes."""

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from regard.batch import Example
from regard.config import parse_run
from regard.corpora import Corpora, build, descriptions, package_texts
from regard.corpora.corpus import Pinned
from regard.corpora.fetch import Index
from regard.corpora.package_texts import whole
from regard.corpora.shared_grams import sharing
from regard.data.built import built_by
from regard.data.objectives.catalog import objective_of
from regard.errors import DataError, FetchError

WORDS = "amber birch cedar dune ember fjord grove heath inlet jetty knoll larch marsh north ocean pines ridge".split()
SHARED = "This paragraph stands in the descriptions of many packages and says nothing of any of them at all."
SECTIONS = ("games", "libs")
ONE_STEP = {"training": {"steps": 1, "schedule": {"name": "constant", "peak": 1e-3}}}


def text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words))


def packages() -> list[dict[str, str]]:
    """Of 600 sources; each third has a second package, whose description is its own but for the first paragraph."""
    rng = random.Random(0)
    made = []
    for number in range(600):
        source, section, body = f"s{number}", SECTIONS[number % 2], text(rng, 40)
        common = {"Source": f"{source} (1.0)", "Section": section}
        long = f"{body}\n.\n{SHARED}"
        made.append({"Package": f"{source}-bin", "synopsis": f"tool {source} {section}", "body": long, **common})
        if number % 3 == 0:
            other = f"{body}\n.\nAlso {text(rng, 35)}"
            made.append({"Package": f"{source}-doc", "synopsis": f"manual {source}", "body": other, **common})
    made.append({"Package": "short", "Section": "games", "synopsis": "short", "body": "Too short to be kept."})
    made.append({"Package": "odd", "Section": "odd", "synopsis": "a section of its own", "body": text(rng, 50)})
    return made


def indexes() -> tuple[str, str]:
    listed, described = [], []
    for package in packages():
        digest = hashlib.md5(package["Package"].encode()).hexdigest()
        fields = {name: package[name] for name in ("Package", "Source", "Section") if name in package}
        listed.append("".join(f"{name}: {value}\n" for name, value in fields.items()) + f"Description-md5: {digest}\n")
        body = "".join(f" {line}\n" for line in package["body"].split("\n"))
        head = f"Package: {package['Package']}\nDescription-md5: {digest}\n"
        described.append(f"{head}Description-en: {package['synopsis']}\n{body}")
    return "\n".join(listed), "\n".join(described)


def pin_indexes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the indexes into a cache, as if they had been fetched; there is no apt."""
    pinned = {}
    (cache / "indexes").mkdir(parents=True, exist_ok=True)
    for variety, kind, content in zip(("amd64", "en"), ("Packages", "Translation"), indexes(), strict=True):
        index = Index(variety, hashlib.sha256(content.encode()).hexdigest(), kind)  # type: ignore[arg-type]
        (cache / "indexes" / f"{index.name}-{index.sha256[:12]}").write_text(content, "utf-8")
        pinned[variety] = index
    monkeypatch.setattr(descriptions, "INDEXES", pinned)
    monkeypatch.setattr(package_texts, "PINNED", {})
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pin_indexes(tmp_path, monkeypatch)
    return tmp_path


def everything(corpus: Corpora) -> list[object]:
    return [*corpus.train, *corpus.validation, *corpus.test]


def test_summaries_are_pairs_of_the_own_paragraphs_and_the_synopsis(cache: Path) -> None:
    corpus = build("package-summaries", cache)
    found = {example.target: example.source for example in everything(corpus) if isinstance(example, Example)}
    bodies = {package["synopsis"]: package["body"].split("\n.\n") for package in packages()}
    assert found["tool s1 libs"] == bodies["tool s1 libs"][0]
    assert found["manual s3"] == " ".join(bodies["manual s3"]), "a paragraph that one source alone has stays"
    assert not any(SHARED in source for source in found.values())
    assert "short" not in found


def test_no_source_package_is_in_two_splits_and_no_held_out_text_shares_thirteen_words_with_training(
    cache: Path,
) -> None:
    corpus = build("package-pairs", cache)
    sources = [{item["text"].split()[1] for item in items} for items in (corpus.train, corpus.validation, corpus.test)]
    assert not sources[0] & sources[1]
    assert not sources[0] & sources[2]
    assert not sources[1] & sources[2]
    assert min(map(len, sources)) > 3
    held_out = [item["positive"] for item in (*corpus.validation, *corpus.test)]
    assert not sharing(held_out, [item["positive"] for item in corpus.train])


def test_sections_with_few_packages_are_no_classes(cache: Path) -> None:
    corpus = build("package-sections", cache)
    assert {item["label"] for item in corpus.train} == set(SECTIONS)
    assert corpus.counts["sections"] == len(SECTIONS)
    assert all(item["text"].split()[2].rstrip(".") == item["label"] for item in corpus.train if "tool" in item["text"])


def test_who_pre_trains_on_sections_reads_no_text_that_is_held_out_from_the_classifier(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    cache.rename(cache.parent / "regard")
    splits = {}
    for task in ("masked-language-model", "classify"):
        objective = objective_of(parse_run({"task": task, "data": {"builder": "package-sections"}, **ONE_STEP}))
        built = built_by("package-sections", task, objective, lambda line: None).splits
        splits[task] = {name: [located.example.texts for located in split] for name, split in built.items()}
    assert splits["masked-language-model"] == splits["classify"]
    held_out = [text for name in ("validation", "test") for (text,) in splits["classify"][name]]
    read = [text for (text,) in splits["masked-language-model"]["train"]]
    assert len(held_out) > 6
    assert not sharing(held_out, read)


def test_a_shared_run_of_thirteen_words_is_found_whatever_its_case_and_punctuation() -> None:
    run = "one two three four five six seven eight nine ten eleven twelve thirteen"
    held_out = [f"Before: {run.upper()}.", run.rpartition(" ")[0], "nothing of the kind"]
    assert sharing(held_out, [f"({run}) and more"]) == {0}


def test_what_was_dropped_is_counted_and_reported(cache: Path) -> None:
    lines: list[str] = []
    corpus = build("package-summaries", cache, lines.append)
    counts = corpus.counts
    dropped = sum(count for reason, count in counts.items() if reason.startswith("dropped: "))
    assert counts["read"] == dropped + len(everything(corpus)) == len(packages())
    assert counts["shared paragraphs stripped"] == 600
    assert {f"package-summaries: {reason}: {count:,}" for reason, count in counts.items()} <= set(lines)


@pytest.mark.parametrize("name", ["package-summaries", "package-sections", "package-pairs"])
def test_another_build_has_the_same_hash(name: str, cache: Path) -> None:
    assert build(name, cache).sha256 == build(name, cache).sha256


def test_a_count_or_a_hash_that_is_not_the_pinned_one_is_an_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = build("package-pairs", cache)
    sizes = len(corpus.train), len(corpus.validation), len(corpus.test)
    monkeypatch.setattr(package_texts, "PINNED", {"package-pairs": Pinned(*sizes, corpus.sha256)})
    assert build("package-pairs", cache) == corpus
    monkeypatch.setattr(package_texts, "PINNED", {"package-pairs": Pinned(*sizes, "0" * 64)})
    with pytest.raises(DataError, match=f"package-pairs has the SHA-256 {corpus.sha256}, but 0+ is pinned"):
        build("package-pairs", cache)
    monkeypatch.setattr(package_texts, "PINNED", {"package-pairs": Pinned(1, 2, 3, "0" * 64)})
    with pytest.raises(DataError, match=r"package-pairs gave .* texts, but 1 and 2 and 3 are pinned"):
        build("package-pairs", cache)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("")])
def test_without_a_cache_a_machine_that_is_no_debian_is_told_so(cache: Path, damage: Callable[[Path], None]) -> None:
    damage(next((cache / "indexes").glob("Packages-amd64-*")))
    with pytest.raises(FetchError, match="apt-get is not on this machine: the first build needs Debian 12"):
        build("package-pairs", cache)


def test_a_whole_description_begins_with_its_synopsis() -> None:
    described = descriptions.Description("a", "a", "games", "a small game", ("It is small.", "It is a game."))
    assert whole(described) == "a small game. It is small. It is a game."
