"""The demo's corpus: dates, times, durations, numbers, money, quantities and names between English, German and Chinese.

The texts come from the CLDR data inside `babel`, so nothing is downloaded. A value is in one split with all its
languages and forms; what is held out are the values, never a word: every word of the test occurs in training.
"""

import re
from collections import Counter, defaultdict
from itertools import islice, permutations, zip_longest
from pathlib import Path
from typing import NamedTuple

from regard.batch import Example
from regard.corpora.corpus import Corpora, Report
from regard.corpora.demo_amounts import amount_values
from regard.corpora.demo_times import demo_split, time_values
from regard.corpora.demo_values import LANGUAGES, Form, Value, shuffled
from regard.corpora.splits import Split, bucket

DIRECTIONS = tuple(permutations(LANGUAGES, 2))
HELD_OUT_PER_DIRECTION = 250  # examples of a held-out split

_SOURCE = "Unicode CLDR through the babel package; Unicode-3.0 licence (data), BSD-3-Clause (babel)"
_WORD = re.compile(r"[^\W\d_]+")


class _Item(NamedTuple):
    example: Example
    kind: str
    key: str | None


def build_demo(cache: Path, report: Report) -> Corpora:
    """Build the corpus; `cache` stays unused, since nothing is fetched.

    Returns about 100,000 training pairs over six directions, and 1,500 pairs in each held-out split.
    """
    del cache
    counts: Counter[str] = Counter()
    items = _without_conflicts(_distinct([item for value in _values() for item in _items(value)]), counts)
    splits = _split(items, counts)
    train = _in_order("train", [item.example for item in splits["train"]])
    validation, test = (_balanced(splits[name]) for name in ("validation", "test"))
    counts |= {"train": len(train), "validation": len(validation), "test": len(test)}
    report(f"demo: {len(train):,} training pairs, {len(validation):,} validation, {len(test):,} test")
    return Corpora(train, validation, test, dict(counts), _SOURCE)


def _values() -> list[Value]:
    return [*time_values(), *amount_values()]


def _items(value: Value) -> list[_Item]:
    """One pair a direction, of a form that a hash chooses."""
    items = []
    for source_lang, target_lang in DIRECTIONS:
        pairs = _pairs(value.forms, source_lang, target_lang)
        source, target = pairs[bucket(f"{value.key}{pairs[0]}{source_lang}{target_lang}", len(pairs))]
        items.append(_Item(Example(source, target, source_lang, target_lang), value.kind, value.key))
    return items


def _pairs(forms: tuple[Form, ...], source_lang: str, target_lang: str) -> list[tuple[str, str]]:
    """The pairs of a direction, each source once: the earlier form has precedence."""
    pairs: dict[str, str] = {}
    for form in forms:
        pairs.setdefault(form[source_lang], form[target_lang])
    return list(pairs.items())


def _distinct(items: list[_Item]) -> list[_Item]:
    return list({item.example: item for item in items}.values())


def _without_conflicts(items: list[_Item], counts: Counter[str]) -> list[_Item]:
    """Drop every source that has two targets in one direction."""
    targets: dict[tuple[str, str | None, str | None], set[str]] = defaultdict(set)
    for item in items:
        targets[_question(item.example)].add(item.example.target)
    kept = [item for item in items if len(targets[_question(item.example)]) == 1]
    counts["dropped: two targets"] = len(items) - len(kept)
    return kept


def _question(example: Example) -> tuple[str, str | None, str | None]:
    return example.source, example.source_lang, example.target_lang


def _split(items: list[_Item], counts: Counter[str]) -> dict[Split, list[_Item]]:
    """By key; a value with a word that training lacks in that direction moves to training whole."""
    by_key: dict[str | None, list[_Item]] = defaultdict(list)
    for item in items:
        by_key[item.key].append(item)
    assigned = {key: demo_split(key) if key else "train" for key in by_key}
    known = {word for key, name in assigned.items() if name == "train" for item in by_key[key] for word in _words(item)}
    for key, name in assigned.items():
        words = {word for item in by_key[key] for word in _words(item)}
        if name != "train" and not words <= known:
            counts["moved to training: a word of its own"] += len(by_key[key])
            assigned[key] = "train"
            known |= words
    splits: dict[Split, list[_Item]] = {"train": [], "validation": [], "test": []}
    for key, name in assigned.items():
        splits[name] += by_key[key]
    return splits


def _in_order(label: str, examples: list[Example]) -> list[Example]:
    """As `shuffled`, by all that they say but the group, which none has: the order in which the demo was measured."""
    by_text = {str(example).replace(", group='')", ")"): example for example in examples}
    assert len(by_text) == len(examples)
    return [by_text[text] for text in shuffled(label, by_text)]


def _words(item: _Item) -> set[tuple[str, str | None, str | None, str]]:
    """The words of both sides, each with its direction and side."""
    source, target, source_lang, target_lang, _ = item.example
    return {
        (side, source_lang, target_lang, word)
        for side, text in (("source", source), ("target", target))
        for word in _WORD.findall(text)
    }


def _balanced(items: list[_Item]) -> list[Example]:
    """As many examples of each direction, and within it of each kind as the rarer kinds allow."""
    chosen: list[Example] = []
    for direction in DIRECTIONS:
        by_kind: dict[str, list[Example]] = defaultdict(list)
        for item in items:
            if item.example[2:4] == direction:
                by_kind[item.kind].append(item.example)
        queues = [_in_order("held out", examples) for _, examples in sorted(by_kind.items())]
        rounds = zip_longest(*queues)  # one of each kind, as long as it has any
        chosen += islice((example for one in rounds for example in one if example), HELD_OUT_PER_DIRECTION)
    return _in_order("held out", chosen)
