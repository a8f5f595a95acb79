"""Summaries: ROUGE, and how much of them is copied from what they summarise."""

from collections.abc import Iterator, Sequence
from itertools import chain

from regard.batch import Example
from regard.metrics.summaries import copied, rouge, rouge_signature
from regard.tasks.judging.judgement import ALL, SEARCH, Evaluation, HeldOut, Judgement, Settings, in_blocks
from regard.tasks.summarise import Summariser, Summary


def _summaries(summariser: Summariser, examples: Sequence[Example], settings: Settings) -> Iterator[Summary]:
    texts = in_blocks([example.source for example in examples])
    return chain.from_iterable(summariser(block, **settings) for block in texts)


def _judged(examples: Sequence[Example], predictions: Sequence[Summary], settings: Settings) -> list[Judgement]:
    return [_judgement(example, summary) for example, summary in zip(examples, predictions, strict=True)]


def _judgement(example: Example, summary: Summary) -> Judgement:
    scores = rouge(summary.text, example.target)
    right = summary.text.strip() == example.target.strip()
    return Judgement(
        inputs={"text": example.source},
        reference=example.target,
        output=summary.text,
        statistics={
            "rouge1": [scores.rouge1, 1],
            "rouge2": [scores.rouge2, 1],
            "rouge_l": [scores.rouge_l, 1],
            "exact_match": [float(right), 1],
            **{f"copied{order}": list(copied(summary.text, example.source, order)) for order in (1, 2, 4)},
        },
        quality=scores.rouge1,
        right=right,
        group=example.group or ALL,
        remark=f"ROUGE-1 {100 * scores.rouge1:.0f}" + (f", {summary.cut} tokens not read" if summary.cut else ""),
        finished=summary.finished,
        languages=(example.source_lang, example.target_lang),
    )


def _settings(summariser: Summariser, held: HeldOut, settings: Settings) -> Settings:
    """A text that is too long for the model is read as far as it goes, as everybody's summarisers are scored."""
    return {"long": "cut", **settings}


SUMMARIES = Evaluation(
    "summarise",
    _summaries,
    _judged,
    prepared=_settings,
    signatures=lambda judgements: {"rouge": rouge_signature()},
    options=SEARCH | {"batch_tokens", "long"},
)
