"""What is dropped, why, and what is not."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.corpora.cleaning import clean, cleaned, flaw, fold, without_accelerators


@given(st.text())
def test_folded_text_has_single_spaces_and_folds_to_itself(text: str) -> None:
    once = fold(text)
    assert fold(once) == once
    assert "  " not in once
    assert once == once.strip()


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        ("_File", "File"),
        ("~Save As...", "Save As..."),
        ("Save &As...", "Save As..."),
        ("E~xit", "Exit"),
        ("文件(_F)", "文件"),
        ("打开(~O)...", "打开..."),
        ("AT&T", "AT&T"),
        ("Cut & Paste", "Cut & Paste"),
        ("&lt; is a tag", "&lt; is a tag"),
        ("a_b_c", "a_b_c"),
    ],
)
def test_the_mark_of_a_key_is_removed_and_nothing_else(marked: str, plain: str) -> None:
    assert without_accelerators(marked) == plain


def test_spaces_between_chinese_characters_go_and_others_stay() -> None:
    assert clean(("a  game\n", "一 个 Linux 游\n戏 ， 好"), "zh") == ("a game", "一个 Linux 游戏，好")
    assert clean(("a", "ein  Spiel"), "de") == ("a", "ein Spiel")


@pytest.mark.parametrize(
    ("source", "target", "language", "reason"),
    [
        ("Open the file.", "Die Datei öffnen.", "de", None),
        ("Open the file.", "打开文件。", "zh", None),
        ("Yes", "Ja", "de", None),
        ("Well-known...", "Bekannt...", "de", None),
        ("", "Ja", "de", "empty side"),
        ("Linux", "linux", "de", "identical"),
        ("12 %", "12 Prozent", "de", "no letters"),
        ("One", "1", "de", "no letters"),
        ("<b>1</b> a", "%s", "de", "no letters"),
        ("par_id31", "Absatz", "de", "key-like"),
        ("a.b.c", "Punkt", "de", "key-like"),
        ("a \\(xy b", "ein b", "de", "markup left over"),
        ("a " * 101, "b " * 101, "de", "too long"),
        ("word " * 60, "长" * 201, "zh", "too long"),
        ("Open it", "Open!", "zh", "no Chinese"),
        ("This is not translated at all", "This is not translated überhaupt", "de", "not translated"),
        ("Yes", "Ja, das ist eine viel zu lange Antwort auf eine Frage, die so kurz war", "de", "length ratio"),
        ("Delete %d files?", "Dateien löschen?", "de", "placeholders differ"),
        ("Delete %d of %s?", "Aus %2$s %1$d löschen?", "de", None),
        ("100% of it", "100 % davon", "de", None),
        ("Use $[officename] now", "Jetzt benutzen", "de", "placeholders differ"),
    ],
)
def test_a_pair_is_dropped_for_the_reason_that_fits(
    source: str, target: str, language: str, reason: str | None
) -> None:
    assert flaw(source, target, language) == reason


pairs = st.lists(st.tuples(st.text("ab %d1_ü", max_size=8), st.text("ab %d1_ü", max_size=8)), max_size=20)


@given(pairs)
def test_every_pair_is_either_kept_or_counted_under_a_reason(found: list[tuple[str, str]]) -> None:
    counts: Counter[str] = Counter()
    kept = cleaned(found, "de", counts)
    dropped = sum(count for reason, count in counts.items() if reason.startswith("dropped: "))
    assert counts["read"] == len(found) == len(kept) + dropped


@given(pairs)
def test_what_is_kept_is_clean_and_stays_so(found: list[tuple[str, str]]) -> None:
    kept = cleaned(found, "de", Counter())
    again: Counter[str] = Counter()
    assert cleaned(kept, "de", again) == kept
    assert again["read"] == len(kept)


def test_a_pair_is_kept_once_and_its_copies_are_counted() -> None:
    counts: Counter[str] = Counter()
    assert list(cleaned([("a b", "c d"), ("a  b", "c d "), ("a b", "e f")], "de", counts)) == [
        ("a b", "c d"),
        ("a b", "e f"),
    ]
    assert counts["dropped: repeated"] == 1
