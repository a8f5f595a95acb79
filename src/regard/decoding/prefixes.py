"""What frames say, searched: the likeliest text over all of its paths, among words that a language model knows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from regard.decoding.ngrams import BEGIN, END, UNKNOWN, Gram, NGrams

LEAST = -12.0  # nats: a token less likely than this is no candidate at its place
NEVER = -math.inf


class Spelling(NamedTuple):
    """How tokens make words: the bytes that each adds to one, and whether it begins one; an entry an id."""

    pieces: Sequence[bytes]
    begins: Sequence[bool]

    @classmethod
    def of(cls, pieces: Sequence[str | bytes]) -> Self:
        """pieces: what each id adds to a text that goes on, where a space begins a word."""
        spelled = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
        return cls([piece.lstrip(b" ") for piece in spelled], [piece.startswith(b" ") for piece in spelled])


@dataclass(frozen=True)
class WordModel:
    """What a text's words count beside what is heard: `alpha` times their log-probability, and `beta` nats each, for
    every word makes a text less likely (Hannun et al. 2014, equation 2)."""

    ngrams: NGrams
    alpha: float
    beta: float
    stems: frozenset[bytes] = field(init=False, repr=False, compare=False)  # what known words begin with

    def __post_init__(self) -> None:
        words = [gram[0].encode() for gram in self.ngrams.entries if len(gram) == 1]
        stems = frozenset(word[:end] for word in words for end in range(len(word) + 1))
        object.__setattr__(self, "stems", stems)

    def word(self, context: Gram, part: bytes) -> tuple[float, Gram]:
        """What a whole word counts, and the context with it."""
        word = part.decode("utf-8", "replace")
        return self.alpha * self.ngrams.score(context, word) + self.beta, (*context, word)[-self.ngrams.order :]

    def begun(self, context: Gram, part: bytes) -> float:
        """What a word that is not whole counts so far: nothing, or as much as one that nobody knows."""
        return 0.0 if part in self.stems else self.alpha * self.ngrams.score(context, UNKNOWN)

    def end(self, context: Gram, part: bytes) -> float:
        """What the text's last word, and that it ends, count."""
        last, context = self.word(context, part) if part else (0.0, context)
        return last + self.alpha * self.ngrams.score(context, END)


class _Prefix:
    """A text that frames may have begun with."""

    __slots__ = ("begun", "children", "context", "parent", "part", "token", "words")

    def __init__(self, parent: "_Prefix | None", token: int, context: Gram, part: bytes) -> None:
        self.parent, self.token, self.context, self.part = parent, token, context, part
        self.children: dict[int, _Prefix] = {}
        self.words = 0.0  # what its whole words count
        self.begun = 0.0  # and the one that is not whole

    def extended(self, token: int, spelling: Spelling, model: WordModel | None) -> "_Prefix":
        known = self.children.get(token)
        if known is not None:
            return known
        context, part, words = self.context, self.part, self.words
        if model is not None:
            if spelling.begins[token] and part:
                counted, context = model.word(context, part)
                words, part = words + counted, b""
            part += spelling.pieces[token]
        child = self.children[token] = _Prefix(self, token, context, part)
        child.words = words
        child.begun = 0.0 if model is None else model.begun(context, part)
        return child

    def ids(self) -> list[int]:
        found, prefix = [], self
        while prefix.parent is not None:
            found.append(prefix.token)
            prefix = prefix.parent
        return found[::-1]


def prefix_search(
    frames: NDArray[np.floating[Any]], blank: int, spelling: Spelling, num_beams: int, model: WordModel | None = None
) -> list[int]:
    """The ids of the best text of frames (S, V), log-probabilities in nats (Hannun et al. 2014, algorithm 1).

    Each place keeps the `num_beams` best prefixes, whose paths that end in the blank and those that do not are summed
    apart: after a blank the same token is said anew, without one it goes on. model: of the words; None: what is heard
    alone counts.
    """
    root = _Prefix(None, -1, (BEGIN,), b"")
    kept: dict[_Prefix, tuple[float, float]] = {root: (0.0, NEVER)}
    for frame in frames:
        candidates = [(int(token), float(frame[token])) for token in np.flatnonzero(frame > LEAST) if token != blank]
        silent = float(frame[blank])
        found: dict[_Prefix, list[float]] = {}
        for prefix, (after_blank, after_token) in kept.items():
            total = _sum(after_blank, after_token)
            own = found.setdefault(prefix, [NEVER, NEVER])
            own[0] = _sum(own[0], total + silent)
            for token, likely in candidates:
                if token == prefix.token:
                    own[1] = _sum(own[1], after_token + likely)
                    said = after_blank + likely
                else:
                    said = total + likely
                if said > NEVER:
                    longer = found.setdefault(prefix.extended(token, spelling, model), [NEVER, NEVER])
                    longer[1] = _sum(longer[1], said)
        ranked = sorted(found.items(), key=lambda item: -(_sum(*item[1]) + item[0].words + item[0].begun))
        kept = {prefix: (ways[0], ways[1]) for prefix, ways in ranked[:num_beams]}

    def whole(item: tuple[_Prefix, tuple[float, float]]) -> float:
        prefix, ways = item
        ended = 0.0 if model is None else prefix.words + model.end(prefix.context, prefix.part)
        return _sum(*ways) + ended

    return max(kept.items(), key=whole)[0].ids()


def _sum(one: float, other: float) -> float:
    """log(e^one + e^other)."""
    if one < other:
        one, other = other, one
    return one if other == NEVER else one + math.log1p(math.exp(other - one))
