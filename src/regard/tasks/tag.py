"""The tagging task: a text -> the entities in it, each with its label, its score and its characters."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args, overload

import numpy as np

from regard.errors import ConfigError
from regard.features.encoding import Encoding
from regard.features.first_tokens import first_tokens
from regard.features.tokenizer import Tokenizer
from regard.tasks.characters import whole_characters
from regard.tasks.probabilities import Floats, softmax
from regard.tasks.reading import (
    BATCH_TOKENS,
    Reader,
    Window,
    bounded,
    most_tokens,
    outputs,
    widest_context,
    windows,
)

Aggregation = Literal["simple", "first", "max"]
NO_ENTITY = "O"


class Entity(NamedTuple):
    """text == source[start:end]; score: the mean probability of its tokens."""

    label: str
    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Tags:
    """The entities of a text, in its order; windows: how many stretches it was read in."""

    entities: tuple[Entity, ...]
    windows: int = 1

    def as_json(self) -> dict[str, Any]:
        return {"entities": [entity._asdict() for entity in self.entities], "windows": self.windows}


class _Token(NamedTuple):
    start: int
    end: int
    scores: Floats  # (C,)


class TokenTagger:
    """A model with a tag for each token: `tagger("text")`, `tagger(["many", "texts"])`.

    Tokens of one label that follow each other are an entity; B- begins a new one, as in Transformers' pipeline. A long
    text is read in windows, and each token is tagged where most of what stands around it is seen.
    """

    def __init__(self, engine: Reader, tokenizer: Tokenizer, labels: Sequence[str]) -> None:
        self.engine, self.tokenizer, self.labels = engine, tokenizer, tuple(labels)
        self.max_length = most_tokens(engine.spec, tokenizer)

    @overload
    def __call__(self, texts: str, **settings: Any) -> Tags: ...

    @overload
    def __call__(self, texts: Sequence[str], **settings: Any) -> list[Tags]: ...

    def __call__(self, texts: str | Sequence[str], **settings: Any) -> Tags | list[Tags]:
        """A text -> its `Tags`; a sequence -> a list of them. `settings` are those of `tag`."""
        return self.tag([texts], **settings)[0] if isinstance(texts, str) else self.tag(texts, **settings)

    def tag(
        self,
        texts: Sequence[str],
        *,
        aggregation: Aggregation = "simple",
        ignore_labels: Sequence[str] = (NO_ENTITY,),
        max_length: int | None = None,
        stride: int | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> list[Tags]:
        """The tags of the texts, in their order.

        aggregation: "simple" lets each token say its tag; "first" and "max" let a word's first or surest token speak
        for the word. ignore_labels: tags that are no entities. max_length: tokens of a window, special ones included;
        stride: how many tokens neighbours share; default: a quarter.
        """
        if aggregation not in get_args(Aggregation):
            known = ", ".join(get_args(Aggregation))
            raise ConfigError(f"aggregation must be one of {known}, but is {aggregation!r}")
        limit = bounded(max_length, self.max_length)
        overlap = (limit or 0) // 4 if stride is None else stride
        encodings = [self.tokenizer.encode_text(text) for text in texts]
        found = [windows(encoding, limit, overlap) for encoding in encodings]
        scores = self._scores(found, batch_tokens)
        tagged = []
        for text, encoding, own, values in zip(texts, encodings, found, scores, strict=True):
            tokens = _tokens(encoding, values)
            if aggregation != "simple":
                tokens = [_spoken_for(word, aggregation) for word in self._words(text, encoding, tokens)]
            entities = [entity for entity in self._grouped(text, tokens) if entity.label not in ignore_labels]
            tagged.append(Tags(tuple(entities), len(own)))
        return tagged

    def word_tags(
        self,
        words: Sequence[Sequence[str]],
        *,
        max_length: int | None = None,
        stride: int | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> list[list[str]]:
        """The tag of each word of each text, which is that of its first token, as it is learnt; O for a word without a
        token. `max_length` and `stride` are those of `tag`."""
        limit = bounded(max_length, self.max_length)
        overlap = (limit or 0) // 4 if stride is None else stride
        encodings = [self.tokenizer.encode_text(" ".join(own)) for own in words]
        scores = self._scores([windows(encoding, limit, overlap) for encoding in encodings], batch_tokens)
        return [self._first(*text) for text in zip(words, encodings, scores, strict=True)]

    def _first(self, words: Sequence[str], encoding: Encoding, scores: Floats) -> list[str]:
        tags = [NO_ENTITY] * len(words)
        own = first_tokens(encoding, words, range(1, len(words) + 1))
        inside = [number for number, segment in zip(own, encoding.segments, strict=True) if segment == 0]
        for number, values in zip(inside, scores, strict=True):
            if number:
                tags[number - 1] = self.labels[int(values.argmax())]
        return tags

    def _scores(self, found: Sequence[list[Window]], batch_tokens: int) -> list[Floats]:
        """The probabilities of the tags of each text's tokens, (T, C) a text."""
        flat = [window for own in found for window in own if window.length]
        logits: list[Any] = [None] * len(flat)
        for rows, output in outputs(self.engine, [window.encoding for window in flat], batch_tokens):
            values = np.asarray(output.logits)
            for place, row in enumerate(rows):
                logits[row] = softmax(values[place, : len(flat[row].encoding.ids)])
        rest = iter(logits)
        scores = []
        for own in found:
            read = [next(rest) for window in own if window.length]
            chosen = [read[number][place] for number, place in widest_context(own)]
            scores.append(np.array(chosen, np.float64).reshape(-1, len(self.labels)))
        return scores

    def _words(self, text: str, encoding: Encoding, tokens: Sequence[_Token]) -> Iterator[list[_Token]]:
        """The tokens of each word: what WordPiece marks by ##, and else what no white space parts."""
        own = [place for place, segment in enumerate(encoding.segments) if segment == 0]
        pieces = self.tokenizer.tokens([encoding.ids[place] for place in own])
        marked = self.tokenizer.algorithm == "WordPiece"
        word: list[_Token] = []
        for piece, token in zip(pieces, tokens, strict=True):
            adjacent = bool(word) and token.start <= word[-1].end and not text[token.start : token.start + 1].isspace()
            goes_on = piece.startswith("##") if marked else adjacent
            if word and not goes_on:
                yield word
                word = []
            word.append(token)
        if word:
            yield word

    def _grouped(self, text: str, tokens: Sequence[_Token]) -> Iterator[Entity]:
        """Runs of one label, those without an entity included."""
        group: list[_Token] = []
        last = ""
        for token in tokens:
            begins, label = _parted(self.labels[int(token.scores.argmax())])
            if group and (begins or label != last):
                yield _entity(text, last, group)
                group = []
            group.append(token)
            last = label
        if group:
            yield _entity(text, last, group)


def _tokens(encoding: Encoding, scores: Floats) -> list[_Token]:
    offsets = [offset for offset, segment in zip(encoding.offsets, encoding.segments, strict=True) if segment == 0]
    return [_Token(start, end, values) for (start, end), values in zip(offsets, scores, strict=True)]


def _spoken_for(word: Sequence[_Token], aggregation: Aggregation) -> _Token:
    """A word as one token."""
    speaker = word[0] if aggregation == "first" else max(word, key=lambda token: float(token.scores.max()))
    return _Token(word[0].start, word[-1].end, speaker.scores)


def _parted(label: str) -> tuple[bool, str]:
    """Whether a tag begins an entity, and the label in it: B-PER -> (True, PER); a plain label only goes on."""
    if label[:2] in ("B-", "I-"):
        return label.startswith("B-"), label[2:]
    return False, label


def _entity(text: str, label: str, group: Sequence[_Token]) -> Entity:
    start, end = whole_characters(text, group[0].start, group[-1].end)
    score = float(np.mean([token.scores.max() for token in group]))
    return Entity(label, text[start:end], start, end, score)
