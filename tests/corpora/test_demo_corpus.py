"""The laws of the demo's corpus, over all that it builds."""

import hashlib
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from regard.batch import Example
from regard.corpora import Corpora, build, default_cache
from regard.corpora.demo import DIRECTIONS, HELD_OUT_PER_DIRECTION
from regard.corpora.demo_amounts import CURRENCIES, UNITS, amount_values
from regard.corpora.demo_times import demo_split, time_values
from regard.corpora.demo_values import Value
from regard.errors import ConfigError

WORD = re.compile(r"[^\W\d_]+")


@pytest.fixture(scope="module")
def values() -> list[Value]:
    return [*time_values(), *amount_values()]


@pytest.fixture(scope="module")
def corpus() -> Corpora:
    return build("demo", Path("unused"))


def held_out(corpus: Corpora) -> list[Example]:
    return corpus.validation + corpus.test


def everything(corpus: Corpora) -> list[Example]:
    return corpus.train + held_out(corpus)


def test_no_text_has_two_translations_in_one_direction(corpus: Corpora) -> None:
    targets = defaultdict(set)
    for source, target, source_lang, target_lang, _ in everything(corpus):
        targets[source, source_lang, target_lang].add(target)
    assert not {question: found for question, found in targets.items() if len(found) > 1}


def test_no_value_is_in_two_splits(corpus: Corpora, values: list[Value]) -> None:
    """From the texts back to the values: every key that a held-out text can stand for is of that split."""
    keys = defaultdict(set)
    for value in values:
        for language in ("en", "de", "zh"):
            for form in value.forms:
                keys[form[language], language].add(value.key)
    trained = {(example.source, example.source_lang) for example in corpus.train}
    for split, examples in (("validation", corpus.validation), ("test", corpus.test)):
        for example in examples:
            found = keys[example.source, example.source_lang]
            assert found
            assert all(key is not None and demo_split(key) == split for key in found), example
            assert (example.source, example.source_lang) not in trained


def test_no_text_of_a_held_out_value_is_in_training_in_any_language_or_form(
    corpus: Corpora, values: list[Value]
) -> None:
    trained = {(text, lang) for s, t, sl, tl, _ in corpus.train for text, lang in ((s, sl), (t, tl))}
    texts_of = defaultdict(set)
    for value in values:
        texts_of[value.key] |= {(form[language], language) for form in value.forms for language in form}
    keys = {text: key for key, texts in texts_of.items() for text in texts}
    tested = {keys[example.source, example.source_lang] for example in held_out(corpus) if example.source_lang}
    assert all(not texts_of[key] & trained for key in tested)


def test_a_date_with_a_time_has_both_of_one_split(values: list[Value]) -> None:
    moments = [value for value in values if value.kind == "date and time"]
    for value in moments:
        time = value.forms[0]["zh"].rpartition(" ")[2]
        assert value.key is not None
        assert demo_split(value.key) == demo_split(f"time:{time}:00")
    assert len({demo_split(value.key or "") for value in moments}) == 3


def test_every_word_of_a_held_out_text_occurs_in_training_in_its_direction_and_side(corpus: Corpora) -> None:
    def words(examples: list[Example]) -> set[tuple[str, str | None, str | None, str]]:
        return {
            (side, example.source_lang, example.target_lang, word)
            for example in examples
            for side, text in (("source", example.source), ("target", example.target))
            for word in WORD.findall(text)
        }

    assert not words(held_out(corpus)) - words(corpus.train)


def test_held_out_splits_are_balanced_over_the_six_directions(corpus: Corpora) -> None:
    for examples in (corpus.validation, corpus.test):
        directions = Counter((example.source_lang, example.target_lang) for example in examples)
        assert directions == dict.fromkeys(DIRECTIONS, HELD_OUT_PER_DIRECTION)


def test_training_has_all_directions_alike_and_enough_of_each(corpus: Corpora) -> None:
    directions = Counter((example.source_lang, example.target_lang) for example in corpus.train)
    assert set(directions) == set(DIRECTIONS)
    assert max(directions.values()) - min(directions.values()) < 20
    assert 60_000 < len(corpus.train) < 200_000


def test_every_pair_is_new_short_and_plain(corpus: Corpora) -> None:
    examples = everything(corpus)
    assert len(set(examples)) == len(examples)
    for example in examples:
        for text in (example.source, example.target):
            assert text == " ".join(text.split())
            assert 0 < len(text) <= 80
            assert "\u00a0" not in text
            assert "\u202f" not in text


def test_every_currency_and_unit_is_named_in_training_in_each_language(corpus: Corpora, values: list[Value]) -> None:
    """By the templates: the texts with their numbers out."""

    def template(text: str) -> str:
        return re.sub(r"[\d.,]+", "#", text)

    trained = {(template(example.target), example.target_lang) for example in corpus.train}
    for kind, expected in (("money", len(CURRENCIES)), ("quantity", len(UNITS))):
        for language in ("en", "de", "zh"):
            names = {template(value.forms[0][language]) for value in values if value.kind == kind}
            assert len(names) >= expected * 0.9  # some are written alike: 12 $
            assert {(name, language) for name in names} <= trained


def test_numbers_apart_a_template_has_one_translation_but_for_singular_and_plural(values: list[Value]) -> None:
    """That a unit's or a currency's sign means one thing in its language."""
    number = re.compile(r"\d[\d.,]*")
    translations = defaultdict(set)
    for value in values:
        if value.kind in ("money", "quantity", "percentage"):
            for source, target in DIRECTIONS:
                first = {}
                for form in value.forms:
                    first.setdefault(form[source], form[target])
                if value.key != "number:1":
                    for text, translation in first.items():
                        translations[number.sub("#", text), source, target].add(number.sub("#", translation))
    assert not {template: found for template, found in translations.items() if len(found) > 1}


def test_the_corpus_is_the_one_that_the_demo_was_measured_on(corpus: Corpora) -> None:
    """Equal on every machine and in every process; a change on purpose means to measure the demo again."""
    digest = hashlib.sha256(repr((corpus.train, corpus.validation, corpus.test)).encode()).hexdigest()
    assert digest == "1071d2b971597d7219d34b0783b4320a7085b8a04fd55ba907b7c092902330d0"


@pytest.mark.parametrize(
    "example",
    [
        Example("Tuesday, March 4, 2025", "Dienstag, 4. März 2025", "en", "de"),
        Example("下午3:45", "15:45", "zh", "de"),
        Example("vor 3 Tagen", "3 days ago", "de", "en"),
        Example("1,23 Millionen", "123万", "de", "zh"),
        Example("French (Canada)", "法语（加拿大）", "en", "zh"),
    ],
)
def test_values_are_written_as_cldr_writes_them(values: list[Value], example: Example) -> None:
    """Of the kind if not of the very value: the form is found for some value."""
    kinds = {"Tuesday, March 4, 2025": "date", "下午3:45": "time", "vor 3 Tagen": "relative time"}
    kind = kinds.get(example.source, "compact number" if "Mill" in example.source else "language and place")

    def shape(text: str) -> str:
        return re.sub(r"[^\W\d_]", "x", re.sub(r"\d+", "0", text))

    shapes = {
        (
            re.sub("x+", "x", shape(form[example.source_lang or ""])),
            re.sub("x+", "x", shape(form[example.target_lang or ""])),
        )
        for value in values
        if value.kind == kind
        for form in value.forms
    }
    assert (re.sub("x+", "x", shape(example.source)), re.sub("x+", "x", shape(example.target))) in shapes


def test_a_corpus_of_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no corpus is called 'wmt'; there are demo, debian-en-de, debian-en-zh"):
        build("wmt")


def test_the_cache_follows_the_xdg_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "regard"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache() == tmp_path / "home" / ".cache" / "regard"
