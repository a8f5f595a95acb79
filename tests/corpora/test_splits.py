"""The split rule, near copies, and that no held-out text leaks into training."""

import hashlib
from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.batch import Example
from regard.corpora import Corpora
from regard.corpora.debian import SCORED_WORDS, split_pairs
from regard.corpora.near_copies import BOUND, grams, jaccard, near_copies
from regard.corpora.splits import Split, bucket, split_of, text_key


@given(st.text(st.characters(codec="utf-8")))
def test_the_split_is_the_documented_hash_of_the_key(key: str) -> None:
    number = int(hashlib.sha1(key.encode()).hexdigest()[:8], 16) % 1000
    assert bucket(key) == number
    assert split_of(key) == ("test" if number < 10 else "validation" if number < 20 else "train")


def test_about_one_key_in_a_hundred_is_test_and_one_validation() -> None:
    counts = Counter(split_of(f"key {number}") for number in range(20_000))
    assert 150 < counts["test"] < 250
    assert 150 < counts["validation"] < 250


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Delete %d files?", "delete %s FILES"),
        ("Chapter 12.1: RAID", "chapter 47-3 raid"),
        ("Open <b>it</b>.", "Open it"),
        ("Hello, $[name]!", "hello"),
        ("Use {0} or %(count)d", "use or"),
    ],
)
def test_texts_that_differ_in_case_numbers_marks_and_placeholders_share_a_key(one: str, other: str) -> None:
    assert text_key(one) == text_key(other)


def test_other_words_make_another_key() -> None:
    assert text_key("Delete the file") != text_key("Delete the files")


words = st.text("ab", max_size=14)  # few grams, so that sets overlap to every degree


@given(st.lists(words, max_size=12), st.lists(words, max_size=12))
def test_near_copies_are_exactly_those_that_comparing_all_pairs_finds(keys: list[str], held_out: list[str]) -> None:
    naive = {key for key in keys if any(jaccard(grams(key), grams(other)) >= BOUND for other in held_out)}
    assert near_copies(keys, held_out) == naive


def test_equal_keys_are_near_copies_and_unrelated_ones_are_not() -> None:
    assert near_copies(["insert a table", "close the door"], ["insert a table", "an apple"]) == {"insert a table"}


def test_one_changed_word_in_a_sentence_makes_a_near_copy() -> None:
    key = "select the format of the cross reference that you want to insert"
    assert near_copies([key], [key.replace("format", "colour")]) == {key}


OPENINGS = ("select", "insert", "delete", "choose")
THINGS = ("table", "picture", "footnote", "chapter", "formula")
ENDINGS = ("that you want to change", "on the current page now", "in it", "and press the key with number 7")
PLACES = ("document", "file", "spreadsheet", "presentation with slides")
SENTENCES = [" ".join(parts) for parts in product(OPENINGS, ("the", "a new"), THINGS, ENDINGS, ("of your",), PLACES)]
corpora = st.lists(st.tuples(st.sampled_from(SENTENCES), st.integers(0, 40).map(str)), max_size=120, unique=True)


@settings(max_examples=60, deadline=None)
@given(corpora)
def test_no_held_out_text_leaks_into_training(pairs: list[tuple[str, str]]) -> None:
    assert_no_leak(split_pairs(dict.fromkeys(pairs), Counter(), 150, 300))


def test_a_corpus_full_of_near_copies_loses_and_counts_them() -> None:
    pairs = [(sentence, str(number)) for number, sentence in enumerate(SENTENCES)]
    counts: Counter[str] = Counter()
    splits = split_pairs(dict.fromkeys(pairs), counts, 30, 60)
    assert_no_leak(splits)
    assert splits["test"]
    assert counts["dropped: validation source nearly equals test"] > 0
    assert counts["dropped: train source nearly equals validation or test"] > 0


def assert_no_leak(splits: dict[Split, list[tuple[str, str]]]) -> None:
    keys = {name: [text_key(source) for source, _ in pairs] for name, pairs in splits.items()}
    assert not near_copies(keys["train"], keys["validation"] + keys["test"])
    assert not near_copies(keys["validation"], keys["test"])
    targets = {target for _, target in splits["train"]}
    held_out = splits["validation"] + splits["test"]
    assert not targets & {target for _, target in held_out}
    assert all(len(source.split()) >= SCORED_WORDS for source, _ in held_out)


@settings(max_examples=60, deadline=None)
@given(corpora)
def test_splitting_keeps_or_counts_every_pair(pairs: list[tuple[str, str]]) -> None:
    counts: Counter[str] = Counter()
    splits = split_pairs(dict.fromkeys(pairs), counts, 150, 300)
    kept = [pair for split in splits.values() for pair in split]
    assert set(kept) <= set(pairs)
    assert len(kept) == len(set(kept))
    assert len(kept) + sum(count for reason, count in counts.items() if reason.startswith("dropped")) == len(pairs)


def test_the_hash_of_pairs_without_a_group_is_that_of_their_texts_and_languages_alone():
    """What is pinned for the translation corpora was so before pairs had groups."""
    lines = '["a", "b", "en", "de"]\n["c", "d", null, null]\n'
    found = Corpora([Example("a", "b", "en", "de")], [], [Example("c", "d")], {}, "")
    assert found.sha256 == hashlib.sha256(lines.encode()).hexdigest()
    grouped = Corpora([Example("a", "b", "en", "de", "g")], [], [Example("c", "d")], {}, "")
    assert grouped.sha256 != found.sha256
