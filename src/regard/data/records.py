"""What a line of a corpus says, one kind of record a task; `regard.batch` has more, which
corpora give: a pair of texts, an image with its label or its caption, a recording with its text.

`texts` are what a tokenizer learns from, `key` is what a split by hash goes by (records of one key never fall on both
sides), `names` are the labels that it mentions, `group`, where there is one, is what it is scored with. A record is a
NamedTuple of JSON's own types, so that it goes to disk.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from regard.batch import CaptionExample, ImageExample, SpeechExample


class Record(Protocol):
    """What preparation asks of a record."""

    @property
    def texts(self) -> tuple[str, ...]: ...

    @property
    def key(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]: ...


class UnusableError(Exception):
    """Why a line is dropped."""


class TextRecord(NamedTuple):
    """A document."""

    text: str

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.text,)

    @property
    def key(self) -> str:
        return self.text

    @property
    def names(self) -> tuple[str, ...]:
        return ()


class ClassRecord(NamedTuple):
    """A text, or a pair of them, with its labels, or with a number."""

    text: str
    pair: str | None
    labels: Sequence[str]
    value: float = 0.0
    group: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.text,) if self.pair is None else (self.text, self.pair)

    @property
    def key(self) -> str:
        return "\0".join(self.texts)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.labels)


class PairRecord(NamedTuple):
    """Two texts that belong together."""

    text: str
    positive: str

    @property
    def texts(self) -> tuple[str, ...]:
        return self.text, self.positive

    @property
    def key(self) -> str:
        return self.text

    @property
    def names(self) -> tuple[str, ...]:
        return ()


class TagRecord(NamedTuple):
    """Words with a tag each."""

    words: Sequence[str]
    tags: Sequence[str]
    group: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        return (" ".join(self.words),)

    @property
    def key(self) -> str:
        return " ".join(self.words)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.tags)


class AnswerRecord(NamedTuple):
    """A question, its context, and what answers it: texts and the characters of the context where they begin; none
    where the context does not say."""

    question: str
    context: str
    answers: Sequence[str]
    starts: Sequence[int]
    group: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        return self.question, self.context

    @property
    def key(self) -> str:
        return self.context

    @property
    def names(self) -> tuple[str, ...]:
        return ()


Parse = Callable[[Mapping[str, Any]], Record]  # a JSON object -> a record; UnusableError says why not


def json_object(line: str) -> Mapping[str, Any]:
    """One line of JSON Lines."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        raise UnusableError("invalid JSON") from None
    if not isinstance(values, dict):
        raise UnusableError("no JSON object")
    return values


def parse_image(values: Mapping[str, Any]) -> ImageExample:
    """ "image", a path or a data: URI, "label", and optionally "group", as all that labels, tags or answers have."""
    return ImageExample(_text(values, "image"), _name(values.get("label"), '"label"'), group_of(values))


def parse_captioned(values: Mapping[str, Any]) -> CaptionExample:
    """ "image", a path or a data: URI, "caption", and optionally "language" and "group"."""
    named = _language(values)
    return CaptionExample(_text(values, "image"), _text(values, "caption").strip(), named, group_of(values))


def _language(values: Mapping[str, Any]) -> str | None:
    language = values.get("language")
    return None if language is None else _name(language, '"language"')


def parse_spoken(values: Mapping[str, Any]) -> SpeechExample:
    """ "audio", a path or a data: URI, "text", and optionally "group" and "language"."""
    spoken = _language(values) if values.get("language") else None
    return SpeechExample(_text(values, "audio"), _text(values, "text").strip(), group_of(values), spoken or "")


def parse_text(values: Mapping[str, Any]) -> TextRecord:
    """ "text"."""
    return TextRecord(_text(values, "text"))


def parse_labelled(values: Mapping[str, Any]) -> ClassRecord:
    """ "text", optionally "pair", and "label"."""
    labels = (_name(values.get("label"), '"label"'),)
    return ClassRecord(_text(values, "text"), _pair(values), labels, group=group_of(values))


def parse_multi_labelled(values: Mapping[str, Any]) -> ClassRecord:
    """ "text", optionally "pair", and "labels", of which there may be none."""
    labels = _list(values, "labels")
    names = sorted({_name(label, 'an entry of "labels"') for label in labels})
    return ClassRecord(_text(values, "text"), _pair(values), names, group=group_of(values))


def parse_valued(values: Mapping[str, Any]) -> ClassRecord:
    """ "text", optionally "pair", and the number "label"."""
    value = values.get("label")
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
        raise UnusableError('"label" is no number')
    return ClassRecord(_text(values, "text"), _pair(values), (), float(value), group_of(values))


def parse_pair(values: Mapping[str, Any]) -> PairRecord:
    """ "text" and "positive", what belongs to it."""
    return PairRecord(_text(values, "text"), _text(values, "positive"))


def parse_tagged(values: Mapping[str, Any]) -> TagRecord:
    """ "words" and as many "tags"; or "text", whose words are what white space parts."""
    if "words" in values:
        words = [_clean(word, 'an entry of "words"') for word in _list(values, "words")]
    else:
        words = _text(values, "text").split()
    tags = [_name(tag, 'an entry of "tags"') for tag in _list(values, "tags")]
    if not words:
        raise UnusableError("empty text")
    if len(words) != len(tags):
        raise UnusableError("another number of tags than of words")
    return TagRecord(words, tags, group_of(values))


def parse_answered(values: Mapping[str, Any]) -> AnswerRecord:
    """ "question", "context" and "answers": SQuAD's {"text": [...], "answer_start": [...]}, or a list of objects with
    "text" and "answer_start", or empty."""
    question, context = _text(values, "question").strip(), _text(values, "context")
    texts, starts = _answers(values.get("answers"))
    for text, start in zip(texts, starts, strict=True):
        if context[start : start + len(text)] != text:
            raise UnusableError('an answer does not stand at its "answer_start"')
    return AnswerRecord(question, context, texts, starts, group_of(values))


def _answers(given: Any) -> tuple[list[str], list[int]]:
    if isinstance(given, list) and all(isinstance(each, dict) for each in given):
        given = {name: [each.get(name) for each in given] for name in ("text", "answer_start")}
    if not isinstance(given, dict):
        raise UnusableError('no "answers"')
    texts, starts = given.get("text"), given.get("answer_start")
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise UnusableError('"answers" need a "text" and an "answer_start" each')
    if not all(type(start) is int and start >= 0 for start in starts):
        raise UnusableError('an "answer_start" is no place')
    return [_clean(text, 'the "text" of an answer') for text in texts], list(starts)


def _text(values: Mapping[str, Any], name: str) -> str:
    text = values.get(name)
    if not isinstance(text, str):
        raise UnusableError(f'no text "{name}"')
    return _clean(text, f'"{name}"')


def _pair(values: Mapping[str, Any]) -> str | None:
    return None if values.get("pair") is None else _text(values, "pair")


def group_of(values: Mapping[str, Any]) -> str:
    """ "group", optional: what the example is scored with; not "all", for that is every group together."""
    group = "" if values.get("group") is None else _name(values["group"], '"group"')
    if group == "all":
        raise UnusableError('"group" is "all", the name of all groups together')
    return group


def _clean(text: Any, what: str) -> str:
    """Not empty, and of characters: JSON can spell lone surrogates."""
    if not isinstance(text, str):
        raise UnusableError(f"{what} is no text")
    if not text.strip():
        raise UnusableError(f"{what} is empty")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UnusableError("invalid UTF-8") from None
    return text


def _name(value: Any, what: str) -> str:
    """A label: a text or a whole number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _clean(value, what)


def _list(values: Mapping[str, Any], name: str) -> list[Any]:
    found = values.get(name)
    if not isinstance(found, list):
        raise UnusableError(f'no list "{name}"')
    return found
