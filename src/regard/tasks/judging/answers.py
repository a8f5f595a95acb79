"""Answers: SQuAD's exact match and F1, and what becomes of questions that have no answer (Rajpurkar et al. 2018)."""

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from regard.data.records import AnswerRecord
from regard.metrics.answering import answer_f1, best_threshold, exact_match
from regard.tasks.answer import Answer, Answerer
from regard.tasks.judging.judgement import ALL, Evaluation, HeldOut, Judgement, Settings, in_blocks

LONGEST_ANSWER = 30  # tokens, as in BERT's own script
THRESHOLD = "no_answer_threshold"


def _answers(answerer: Answerer, examples: Sequence[AnswerRecord], settings: Settings) -> Iterator[Answer]:
    asked = {**settings, THRESHOLD: math.inf}  # the judgement says where there is none
    return chain.from_iterable(
        answerer([record.question for record in block], [record.context for record in block], **asked)
        for block in in_blocks(examples)
    )


def _settings(answerer: Answerer, held: HeldOut, settings: Settings) -> Settings:
    """Windows as in training; where some questions have no answer, the threshold of the best F1 on validation."""
    length = min(held.run.data.max_tokens, answerer.max_length or held.run.data.max_tokens)
    stride = length // 4 if held.run.objective.stride is None else held.run.objective.stride
    implied = {"max_length": length, "stride": stride, "max_answer_length": LONGEST_ANSWER, **settings}
    if THRESHOLD in implied or not any(not record.answers for record in held.examples()):
        return implied
    return {**implied, THRESHOLD: _tuned(answerer, held, implied)}


def _tuned(answerer: Answerer, held: HeldOut, settings: Settings) -> float:
    """0, the usual threshold, where validation has no question without an answer."""
    examples = held.examples("validation") if held.has("validation") else []
    if all(record.answers for record in examples):
        return 0.0
    answers = list(_answers(answerer, examples, settings))
    gains = [answer_f1(a.text, r.answers) - answer_f1("", r.answers) for a, r in zip(answers, examples, strict=True)]
    return best_threshold([answer.null_difference or 0.0 for answer in answers], gains)


def threshold_note(settings: Settings) -> str | None:
    """From where on there was no answer, and how it is asked for; None where there always was one."""
    threshold = settings.get(THRESHOLD)
    if threshold is None:
        return None
    return (
        f"There is no answer where that is rated more than {threshold:.3g} nats above the best one "
        f"(--{THRESHOLD.replace('_', '-')} {threshold:.3g})."
    )


def given(answer: Answer, threshold: float | None) -> str:
    """The text of the answer, or "" where there is none by the threshold."""
    none = threshold is not None and answer.null_difference is not None and answer.null_difference > threshold
    return "" if none else answer.text


def _judged(examples: Sequence[AnswerRecord], predictions: Sequence[Answer], settings: Settings) -> list[Judgement]:
    threshold = settings.get(THRESHOLD)
    some_have_none = any(not record.answers for record in examples)
    pairs = zip(examples, predictions, strict=True)
    return [judged_answer(record, given(answer, threshold), some_have_none) for record, answer in pairs]


def judged_answer(record: AnswerRecord, text: str, some_have_none: bool = False) -> Judgement:
    """An answer by whatever means. some_have_none: whether questions without an answer are scored apart."""
    match, overlap = exact_match(text, record.answers), answer_f1(text, record.answers)
    statistics: dict[str, Any] = {"exact_match": [match, 1], "f1": [overlap, 1]}
    if some_have_none:
        answerable = float(bool(record.answers))
        statistics |= {
            "exact_match_answerable": [match * answerable, answerable],
            "f1_answerable": [overlap * answerable, answerable],
            "right_unanswerable": [match * (1 - answerable), 1 - answerable],
        }
    return Judgement(
        inputs={"question": record.question, "context": record.context},
        reference=" | ".join(dict.fromkeys(record.answers)),
        output=text,
        statistics=statistics,
        quality=overlap,
        right=bool(match),
        group=record.group or ALL,
        remark="" if match else f"F1 {100 * overlap:.0f}",
    )


ANSWERS = Evaluation("answer", _answers, _judged, prepared=_settings)
