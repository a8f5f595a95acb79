"""The answering task: a question and a text -> the stretch of it that answers (Devlin et al. 2019, section 4.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from regard.errors import ConfigError, InputError
from regard.features.tokenizer import Tokenizer
from regard.tasks.characters import whole_characters
from regard.tasks.probabilities import Floats, softmax
from regard.tasks.reading import BATCH_TOKENS, Reader, Window, bounded, most_tokens, outputs, windows

MAX_LENGTH, STRIDE, MAX_ANSWER = 384, 128, 15  # tokens: of a window, in two of them, of an answer


class Span(NamedTuple):
    """text == context[start:end]. score: the probability that an answer begins there, times that it ends there."""

    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Answer:
    """The best answer, or with `text` "" and no span that there is none.

    null_score: the probability that the context holds no answer, the least over its windows. null_difference: how much
    higher, in nats, the model rates no answer than the best one; above a threshold, commonly 0, there is none (Devlin
    et al. 2019, section 4.3). Both are None where the tokenizer has no class token. alternatives: the next best spans.
    """

    text: str
    start: int | None
    end: int | None
    score: float
    null_score: float | None
    null_difference: float | None
    alternatives: tuple[Span, ...] = ()
    windows: int = 1

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "alternatives": [span._asdict() for span in self.alternatives]}


class _Found(NamedTuple):
    """What one window holds."""

    spans: list[tuple[Span, float]]  # with the sum of the two logits
    null_score: float | None
    null_logit: float | None


class _Request(NamedTuple):
    top_k: int
    max_answer_length: int
    no_answer_threshold: float | None


class Answerer:
    """A model with a span head: `answerer("Who?", "a context")`, or lists of both, or one context for many questions.

    Scores are as Transformers' pipeline gave them: within a window the start's and the end's softmax over the tokens of
    the context and the class token, multiplied; over several windows they are compared as they are. A long context is
    read in windows that share tokens, so that every answer stands whole in one of them.
    """

    def __init__(self, engine: Reader, tokenizer: Tokenizer, no_answer_threshold: float | None = None) -> None:
        """no_answer_threshold: where nobody asks for another; None: there always is an answer."""
        self.engine, self.tokenizer, self.no_answer_threshold = engine, tokenizer, no_answer_threshold
        self.max_length = most_tokens(engine.spec, tokenizer)

    @overload
    def __call__(self, question: str, context: str, **settings: Any) -> Answer: ...

    @overload
    def __call__(self, question: Sequence[str], context: str | Sequence[str], **settings: Any) -> list[Answer]: ...

    def __call__(
        self, question: str | Sequence[str], context: str | Sequence[str], **settings: Any
    ) -> Answer | list[Answer]:
        """A question and its context -> an `Answer`; several -> a list of them. `settings` are those of `answer`."""
        if isinstance(question, str):
            return self.answer([question], context, **settings)[0]
        return self.answer(question, context, **settings)

    def answer(
        self,
        questions: Sequence[str],
        contexts: str | Sequence[str],
        *,
        top_k: int = 1,
        max_length: int | None = None,
        stride: int | None = None,
        max_answer_length: int = MAX_ANSWER,
        no_answer_threshold: float | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> list[Answer]:
        """The answers to the questions, in their order; `contexts` is one for all, or one a question.

        top_k: the answer and top_k - 1 alternatives. max_length: tokens of a window, question and special ones
        included; default: 384 or what the model reads. stride: how many tokens neighbours share; default: 128, or a
        third of the window. max_answer_length: in tokens. no_answer_threshold: above this `null_difference` there is no
        answer; default: the model's, which a run chooses on validation where some questions have none; else, as with
        math.inf, there always is one. Raises InputError where the question leaves no room for the context.
        """
        for name, value in (("top_k", top_k), ("max_answer_length", max_answer_length)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, but is {value}")
        limit = bounded(max_length, self.max_length)
        if max_length is None:
            limit = min(limit or MAX_LENGTH, MAX_LENGTH)
        threshold = self.no_answer_threshold if no_answer_threshold is None else no_answer_threshold
        request = _Request(top_k, max_answer_length, threshold)
        contexts = [contexts] * len(questions) if isinstance(contexts, str) else contexts
        if len(questions) != len(contexts):
            raise InputError(f"there must be a context for each of the {len(questions)} questions, not {len(contexts)}")
        encoded = [self.windows(*pair, limit, stride) for pair in zip(questions, contexts, strict=True)]
        found = self._read(encoded, contexts, request, batch_tokens)
        return [_best(own, request) for own in found]

    def windows(self, question: str, context: str, limit: int | None, stride: int | None = None) -> list[Window]:
        """What is read of a context, as `answer` has it: windows of at most `limit` tokens, question included."""
        if not question.strip() or not context.strip():
            raise InputError(f"the {'context' if question.strip() else 'question'} is empty")
        encoding = self.tokenizer.encode_pair(question, context)
        others = sum(segment != 1 for segment in encoding.segments)
        room = max((limit or 0) - others, 0)
        return windows(encoding, limit, min(STRIDE, room // 3) if stride is None else stride, segment=1)

    def _read(
        self, encoded: Sequence[list[Window]], contexts: Sequence[str], request: _Request, batch_tokens: int
    ) -> list[list[_Found]]:
        """What each window of each question holds."""
        flat = [(number, window) for number, own in enumerate(encoded) for window in own]
        found: list[list[_Found]] = [[] for _ in encoded]
        for rows, output in outputs(self.engine, [window.encoding for _, window in flat], batch_tokens):
            starts, ends = np.asarray(output.start_logits), np.asarray(output.end_logits)
            for place, row in enumerate(rows):
                number, window = flat[row]
                logits = np.stack([starts[place], ends[place]])[:, : len(window.encoding.ids)].astype(np.float64)
                found[number].append(self._within(window, logits, contexts[number], request))
        return found

    def _within(self, window: Window, logits: Floats, context: str, request: _Request) -> _Found:
        """The answers of one window. logits: (2, T), of starts and ends."""
        first, last = window.before, window.before + window.length
        ids, cls = window.encoding.ids, self.tokenizer.cls_id
        null = ids.index(cls) if cls is not None and cls in ids[:first] else None
        seen = np.arange(first, last) if null is None else np.array([null, *range(first, last)])
        scores = softmax(logits[:, seen])
        begin = scores.shape[1] - window.length  # of the context among what is seen
        spans = []
        for start, end in best_spans(scores[0, begin:], scores[1, begin:], request.top_k, request.max_answer_length):
            characters = whole_characters(
                context, window.encoding.offsets[first + start][0], window.encoding.offsets[first + end][1]
            )
            score = float(scores[0, begin + start] * scores[1, begin + end])
            logit = float(logits[0, first + start] + logits[1, first + end])
            spans.append((Span(context[slice(*characters)], *characters, score), logit))
        if null is None:
            return _Found(spans, None, None)
        return _Found(spans, float(scores[:, 0].prod()), float(logits[:, null].sum()))


def best_spans(starts: NDArray[Any], ends: NDArray[Any], count: int, max_length: int) -> list[tuple[int, int]]:
    """The `count` best (start, end), end included, of at most `max_length` tokens: (T,), (T,) probabilities."""
    length = len(starts)
    width = min(max_length, length)
    products = np.full((length, width), -1.0)  # [start, tokens - 1]
    for more in range(width):
        products[: length - more, more] = starts[: length - more] * ends[more:]
    order = np.argsort(-products, axis=None, kind="stable")[:count].tolist()
    places = [divmod(place, width) for place in order]
    return [(start, start + more) for start, more in places if products[start, more] >= 0]


def _best(found: Sequence[_Found], request: _Request) -> Answer:
    """Over the windows; a span that two of them show counts once, where it scores higher."""
    spans: dict[tuple[int, int], Span] = {}
    for own in found:
        for span, _ in own.spans:
            known = spans.get((span.start, span.end))
            if span.text and (known is None or span.score > known.score):
                spans[span.start, span.end] = span
    ranked = sorted(spans.values(), key=lambda span: (-span.score, span.start, span.end))[: request.top_k]
    null_scores = [own.null_score for own in found if own.null_score is not None]
    null_logits = [own.null_logit for own in found if own.null_logit is not None]
    logits = [logit for own in found for span, logit in own.spans if span.text]
    null_score = min(null_scores, default=None)
    difference = min(null_logits) - max(logits) if null_logits and logits else None
    none = (
        request.no_answer_threshold is not None and difference is not None and difference > request.no_answer_threshold
    )
    if none or not ranked:
        return Answer("", None, None, null_score or 0.0, null_score, difference, tuple(ranked), len(found))
    best, *others = ranked
    return Answer(*best, null_score, difference, tuple(others), len(found))
