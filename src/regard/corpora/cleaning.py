"""Which pairs of a parallel corpus are worth learning from; each drop has a reason and is counted."""

import re
from collections import Counter
from collections.abc import Iterable

from regard.corpora.catalogs import TextPair
from regard.corpora.splits import without_placeholders

MAX_WORDS = 100
MAX_HAN = 200  # characters of a Chinese side
MAX_RATIO = 2.5  # longer over shorter side, in characters, with _SLACK added to both
_SLACK = 20
_CHARACTERS_PER_HAN = 3.2  # English characters that one Chinese character stands for
MAX_SHARED = 0.6  # share of a target's words that also stand in the source; above, it is not translated
_SHARED_FROM = 5  # words: below this, names make up too much

_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\u3000-\u303f\uff00-\uffef"
_HAN_CHARACTER = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_SPACE_BETWEEN_HAN = re.compile(rf"(?<=[{_HAN}]) +(?=[{_HAN}])")
_INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u2060\ufeff\x00-\x08\x0e-\x1f\x7f]")
_ACCELERATOR_KEY = re.compile(r"\s*[(（][&_~]\w[)）]")
_ACCELERATOR = re.compile(r"(?<![\w&_~])[&_~](?=\w)(?!\w+;)|(?<=\w)[_~](?=\w)")
_WORD = re.compile(r"[^\W\d_]+")
_KEY_LIKE = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*[.:!?…]*|[^\W\d_]+(?:…|\.\.\.)")
_DIRECTIVE = re.compile(
    r"%(?:\d+\$)?[-+#0]*\d*(?:\.\d+)?(?:hh|h|ll|l|z)?[diouxXeEfgGcspq](?![A-Za-z])|%\([^()]*\)[sd]|%[A-Z]{4,}|\$\[\w+\]|\$\{\w+\}|\$\(\w+\)|\{\d+\}"
)
_POSITION = re.compile(r"(?<=%)\d+\$")


def fold(text: str) -> str:
    """White space to single spaces, invisible characters out."""
    return " ".join(_INVISIBLE.sub("", text).split())


def without_accelerators(text: str) -> str:
    """A menu's or a button's text without the mark of its key: `_File`, `~File`, `&File`, `文件(_F)`."""
    text = _ACCELERATOR_KEY.sub("", text)
    marks = _ACCELERATOR.findall(text)
    return _ACCELERATOR.sub("", text) if len(marks) == 1 and len(text) < 80 else text


def clean(pair: TextPair, language: str, *, accelerators: bool = False) -> TextPair:
    """Both sides folded; accelerators removed where the pair comes from a program's surface."""
    source, target = (fold(without_accelerators(text) if accelerators else text) for text in pair)
    return source, _SPACE_BETWEEN_HAN.sub("", target) if language == "zh" else target


def flaw(source: str, target: str, language: str) -> str | None:
    """Why the pair is dropped, or None. `language` is the target's, "de" or "zh"; the source is English."""
    if not source or not target:
        return "empty side"
    if source.casefold() == target.casefold():
        return "identical"
    if not _has_words(source) or not _has_words(target):
        return "no letters"
    if " " not in source and not _KEY_LIKE.fullmatch(source):
        return "key-like"
    if "\\" in source + target:
        return "markup left over"
    if (
        len(source.split()) > MAX_WORDS
        or len(target.split()) > MAX_WORDS
        or (language == "zh" and len(target) > MAX_HAN)
    ):
        return "too long"
    if language == "zh" and not _HAN_CHARACTER.search(target):
        return "no Chinese"
    if _shared(source, target) > MAX_SHARED:
        return "not translated"
    if _ratio(source, target, language) > MAX_RATIO:
        return "length ratio"
    if _directives(source) != _directives(target):
        return "placeholders differ"
    return None


def _has_words(text: str) -> bool:
    return _WORD.search(without_placeholders(text)) is not None


def _shared(source: str, target: str) -> float:
    words = [word.casefold() for word in _WORD.findall(without_placeholders(target))]
    known = {word.casefold() for word in _WORD.findall(source)}
    return sum(word in known for word in words) / len(words) if len(words) >= _SHARED_FROM else 0.0


def _ratio(source: str, target: str, language: str) -> float:
    weight = _CHARACTERS_PER_HAN if language == "zh" else 1.0
    han = len(_HAN_CHARACTER.findall(target)) if language == "zh" else 0
    one, other = len(source) + _SLACK, han * weight + len(target) - han + _SLACK
    return max(one / other, other / one)


def _directives(text: str) -> Counter[str]:
    return Counter(_POSITION.sub("", directive) for directive in _DIRECTIVE.findall(text))


def cleaned(
    pairs: Iterable[TextPair], language: str, counts: Counter[str], *, accelerators: bool = False
) -> dict[TextPair, None]:
    """The clean pairs in order, each once; `counts` gains "read" and "dropped: reason" for all others."""
    kept: dict[TextPair, None] = {}
    for pair in pairs:
        counts["read"] += 1
        source, target = clean(pair, language, accelerators=accelerators)
        reason = flaw(source, target, language) or ("repeated" if (source, target) in kept else None)
        if reason:
            counts[f"dropped: {reason}"] += 1
        else:
            kept[source, target] = None
    return kept
