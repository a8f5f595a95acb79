"""F1 of entities, as seqeval defines it (Nakayama 2018, after conlleval): an entity is right where its type, its first
and its last word are."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

_OUTSIDE = "O"


class Entity(NamedTuple):
    """Words from `first` to `last`, which is one of them."""

    kind: str
    first: int
    last: int


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of one text's tags, B-PER, I-PER and so on: I- without a beginning begins one, too; E- and S- (of
    the schemes that have them) end one."""
    found = []
    first, before, kind_before = 0, _OUTSIDE, ""
    for place, tag in enumerate([*tags, _OUTSIDE]):
        prefix, kind = tag[:1], tag.partition("-")[2] or tag
        if _ends(before, prefix, kind_before, kind):
            found.append(Entity(kind_before, first, place - 1))
        if _begins(before, prefix, kind_before, kind):
            first = place
        before, kind_before = prefix, kind
    return found


def _ends(before: str, prefix: str, kind_before: str, kind: str) -> bool:
    if before in ("E", "S"):
        return True
    return before not in (_OUTSIDE, ".") and (prefix in ("B", "S", _OUTSIDE) or kind_before != kind)


def _begins(before: str, prefix: str, kind_before: str, kind: str) -> bool:
    if prefix in ("B", "S"):
        return True
    if prefix in ("E", "I") and before in ("E", "S", _OUTSIDE):
        return True
    return prefix not in (_OUTSIDE, ".") and kind_before != kind


def entity_counts(predicted: Sequence[str], actual: Sequence[str]) -> tuple[int, int]:
    """Of one text: twice its right entities, and how many were predicted and are there, together; F1 is the ratio of
    their sums."""
    one, other = set(entities(predicted)), set(entities(actual))
    return 2 * len(one & other), len(one) + len(other)


def entity_f1(predicted: Iterable[Sequence[str]], actual: Iterable[Sequence[str]]) -> float:
    """2 P R / (P + R) over the entities of all texts together, 0..1; 0 where there is none."""
    counts = [entity_counts(*tags) for tags in zip(predicted, actual, strict=True)]
    shown = sum(count for _, count in counts)
    return sum(hits for hits, _ in counts) / shown if shown else 0.0
