"""Texts written for texts, as answers to questions are: exact match and F1 of words, as SQuAD has them."""

from collections.abc import Iterator, Sequence
from itertools import chain

from regard.batch import Example
from regard.metrics.answering import answer_f1, exact_match
from regard.tasks.generate import GeneratedText, TextGenerator
from regard.tasks.judging.judgement import ALL, SEARCH, Evaluation, Judgement, Settings, in_blocks


def _texts(generator: TextGenerator, examples: Sequence[Example], settings: Settings) -> Iterator[GeneratedText]:
    blocks = in_blocks([example.source for example in examples])
    return chain.from_iterable(generator.generate(block, **settings) for block in blocks)


def _judged(examples: Sequence[Example], predictions: Sequence[GeneratedText], settings: Settings) -> list[Judgement]:
    return [_judgement(example, text) for example, text in zip(examples, predictions, strict=True)]


def _judgement(example: Example, text: GeneratedText) -> Judgement:
    match, overlap = exact_match(text.text, [example.target]), answer_f1(text.text, [example.target])
    return Judgement(
        inputs={"source": example.source},
        reference=example.target,
        output=text.text,
        statistics={"exact_match": [match, 1], "f1": [overlap, 1]},
        quality=overlap,
        right=bool(match),
        group=example.group or ALL,
        remark="" if match else f"F1 {100 * overlap:.0f}",
        finished=text.finished,
    )


TEXTS = Evaluation("generate", _texts, _judged, options=SEARCH | {"batch_tokens"})
