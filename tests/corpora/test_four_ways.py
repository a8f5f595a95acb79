"""What is held out in one direction is trained in none: neither turned round nor beside the other language."""

from collections import Counter
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from regard.batch import Example
from regard.corpora.debian import Splits, split_pairs
from regard.corpora.four_ways import LANGUAGES, WAYS, _examples, held_apart
from regard.corpora.near_copies import BOUND, grams, jaccard
from regard.corpora.splits import text_key

ENGLISH = [
    " ".join(words)
    for words in product(
        ("select", "insert", "delete", "choose"),
        ("the table", "a picture", "the footnote", "a new chapter"),
        ("that you want to change", "on the current page now", "of your own document"),
    )
]
OTHERS = {
    "de": [
        " ".join(words)
        for words in product(
            ("Wählen Sie", "Löschen Sie", "Wir öffnen jetzt"),
            ("die Tabelle", "ein Bild", "die Fußnote", "das Kapitel"),
            ("auf dieser Seite", "in Ihrem eigenen Dokument", "wie oben beschrieben"),
        )
    ],
    "zh": [
        "".join(words)
        for words in product("选删插", ("表格", "图片", "脚注"), ("在当前页面上", "在您的文档中"), "吧了。")
    ],
}
# The corpora of both languages, of few sentences each: so they often share or nearly share a side.
corpora = st.fixed_dictionaries(
    {
        code: st.lists(st.tuples(st.sampled_from(ENGLISH), st.sampled_from(texts)), max_size=40, unique=True)
        for code, texts in OTHERS.items()
    }
)


def split(pairs: dict[str, list[tuple[str, str]]]) -> dict[str, Splits]:
    """Each language as its own builder splits it, with more held out."""
    bounds = {"de": (100, 200), "zh": (150, 300)}
    return {code: split_pairs(dict.fromkeys(own), Counter(), *bounds[code]) for code, own in pairs.items()}


def texts_of(example: Example) -> dict[str | None, frozenset[str]]:
    """Both texts by their languages, as what is compared."""
    return {
        example.source_lang: grams(text_key(example.source)),
        example.target_lang: grams(text_key(example.target)),
    }


def alike(one: dict[str | None, frozenset[str]], other: dict[str | None, frozenset[str]]) -> bool:
    """Whether they nearly share the text of any language."""
    return any(jaccard(one[code], other[code]) >= BOUND for code in one.keys() & other.keys())


def in_all_directions(splits: dict[str, Splits], name: str) -> list[dict[str | None, frozenset[str]]]:
    return [texts_of(example) for way in WAYS for example in _examples(splits, name, way)]


@settings(max_examples=40, deadline=None)
@given(corpora)
def test_nothing_held_out_in_one_direction_stands_nearly_so_in_the_training_of_any(pairs) -> None:
    splits = held_apart(split(pairs), Counter())
    train, validation, test = (in_all_directions(splits, name) for name in ("train", "validation", "test"))
    assert not any(alike(one, other) for one in train for other in [*validation, *test])
    assert not any(alike(one, other) for one in validation for other in test)


@settings(max_examples=40, deadline=None)
@given(corpora)
def test_the_test_pairs_are_those_of_each_language_alone_and_every_other_pair_is_kept_or_counted(pairs) -> None:
    alone, counts = split(pairs), Counter()
    splits = held_apart(alone, counts)
    for code, own in splits.items():
        assert own["test"] == alone[code]["test"]
        for name in ("train", "validation"):
            assert set(own[name]) <= set(alone[code][name])
    sizes = [sum(len(kept) for own in which.values() for kept in own.values()) for which in (alone, splits)]
    assert sizes[0] - sizes[1] == sum(counts.values())


def test_each_kind_of_leak_is_found_and_counted() -> None:
    cells = "Select the cells that you want to copy"
    far = ("Print a page", "Eine Seite drucken"), ("Close this window", "关闭此窗口")
    turned_round = ("Mark what shall be duplicated", "Wählen Sie die Zellen, die Sie kopieren wollen")
    counts: Counter[str] = Counter()
    splits = held_apart(
        {
            "de": {
                "train": [far[0], turned_round],
                "validation": [("Insert a row above the current one, please", "Zeile einfügen")],
                "test": [(cells, "Wählen Sie die Zellen, die Sie kopieren möchten")],
            },
            "zh": {
                "train": [far[1], (f"{cells}!", "复制单元格")],
                "validation": [("Nothing like it is anywhere else", "别处没有")],
                "test": [("Insert a row above the current one", "在当前行上方插入一行")],
            },
        },
        counts,
    )
    assert (splits["de"]["train"], splits["zh"]["train"]) == ([far[0]], [far[1]])
    assert (splits["de"]["validation"], len(splits["zh"]["validation"])) == ([], 1)
    assert +counts == {
        "dropped: train of en and de nearly equals validation or test": 1,
        "dropped: train of en and zh nearly equals validation or test": 1,
        "dropped: validation of en and de nearly equals test": 1,
    }


def test_each_language_has_both_directions() -> None:
    assert {frozenset(way) for way in WAYS} == {frozenset(("en", language.code)) for language in LANGUAGES}
    assert len(set(WAYS)) == len(WAYS) == 4
