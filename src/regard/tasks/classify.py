"""The classification task: a text, or a pair of texts, -> labels with their scores."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, overload

import numpy as np

from regard.errors import ConfigError, InputError
from regard.features.encoding import Encoding
from regard.features.tokenizer import Tokenizer
from regard.specs import HeadSpec
from regard.tasks.probabilities import Floats, sigmoid, softmax
from regard.tasks.reading import BATCH_TOKENS, Reader, most_tokens, outputs

HELD = 0.5  # where several labels may hold: the probability above which one does


class LabelScore(NamedTuple):
    label: str
    score: float


@dataclass(frozen=True)
class Ranking:
    """scores: labels, best first."""

    scores: tuple[LabelScore, ...]

    @property
    def label(self) -> str:
        return self.scores[0].label

    @property
    def score(self) -> float:
        return self.scores[0].score

    def as_json(self) -> dict[str, Any]:
        return {"scores": [entry._asdict() for entry in self.scores]}


@dataclass(frozen=True)
class Classification(Ranking):
    """Of a text. cut: how many of its tokens were left out, since the model reads no more. several: whether more than
    one label may hold."""

    cut: int = 0
    several: bool = False

    @property
    def held(self) -> "Classification":
        """With the best label alone, or, where several may hold, those that do: of a probability above 0.5, as they are
        scored; the best where none is."""
        holding = sum(entry.score > HELD for entry in self.scores) if self.several else 1
        return replace(self, scores=self.scores[: max(1, holding)])

    def as_json(self) -> dict[str, Any]:
        return {**super().as_json(), "cut": self.cut}


class TextClassifier:
    """A model with a class head: `classifier("text")`, `classifier(["many", "texts"])`; pairs by `pair=`.

    Scores are probabilities that sum to 1 where one label holds, each for itself where several may (or where there is
    but one), and for a regression the model's numbers: what Transformers' pipeline gives.
    """

    def __init__(self, engine: Reader, tokenizer: Tokenizer, labels: Sequence[str]) -> None:
        self.engine, self.tokenizer, self.labels = engine, tokenizer, tuple(labels)
        self.max_length = most_tokens(engine.spec, tokenizer)

    @overload
    def __call__(self, texts: str, pair: str | None = None, **settings: Any) -> Classification: ...

    @overload
    def __call__(
        self, texts: Sequence[str], pair: Sequence[str] | None = None, **settings: Any
    ) -> list[Classification]: ...

    def __call__(
        self, texts: str | Sequence[str], pair: str | Sequence[str] | None = None, **settings: Any
    ) -> Classification | list[Classification]:
        """A text -> its `Classification`; a sequence -> a list of them. `settings` are those of `classify`."""
        if isinstance(texts, str):
            return self.classify([texts], [pair] if isinstance(pair, str) else pair, **settings)[0]
        return self.classify(texts, pair, **settings)

    def classify(
        self,
        texts: Sequence[str],
        pair: str | Sequence[str] | None = None,
        *,
        top_k: int | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> list[Classification]:
        """The classifications of the texts, in their order.

        pair: the second text of each (a hypothesis, say), one a text. top_k: how many labels; default: all. A text
        longer than `max_length` tokens is cut, of two the longer one first, and `Classification.cut` says by how many.
        """
        check_top_k(top_k)
        encodings = self.encodings(texts, pair)
        several = self.engine.spec.output.problem == "multi_label"
        found: list[Classification | None] = [None] * len(encodings)
        for rows, output in outputs(self.engine, encodings, batch_tokens):
            scores = label_scores(np.asarray(output.logits, np.float64), self.engine.spec.output)
            for place, row in enumerate(rows):
                best = ranked(scores[place], self.labels, top_k)
                found[row] = Classification(best, encodings[row].cut, several)
        return [result for result in found if result is not None]

    def encodings(self, texts: Sequence[str], pair: str | Sequence[str] | None) -> list[Encoding]:
        """The texts, or the pairs, as the model reads them, cut where it reads no more."""
        if pair is None:
            return [self.tokenizer.encode_text(text, max_length=self.max_length) for text in texts]
        if isinstance(pair, str) or len(pair) != len(texts):
            count = "one" if isinstance(pair, str) else len(pair)
            raise InputError(f"pair must be a text for each of the {len(texts)} texts, but there is {count}")
        both = zip(texts, pair, strict=True)
        return [self.tokenizer.encode_pair(text, other, max_length=self.max_length) for text, other in both]


def check_top_k(top_k: int | None) -> None:
    if top_k is not None and top_k < 1:
        raise ConfigError(f"top_k must be at least 1, but is {top_k}")


def label_scores(logits: Floats, head: HeadSpec) -> Floats:
    """(B, C) -> (B, C), as the head's problem has it; by the number of labels where the checkpoint does not say it."""
    if head.problem == "regression":
        return logits
    if head.problem == "multi_label" or head.labels == 1:
        return sigmoid(logits)
    return softmax(logits)


def ranked(scores: Floats, labels: Sequence[str], top_k: int | None) -> tuple[LabelScore, ...]:
    """The best labels of one input, best first, from its scores (C,)."""
    best = np.argsort(-scores, kind="stable")[:top_k]
    return tuple(LabelScore(labels[number], float(scores[number])) for number in best)
