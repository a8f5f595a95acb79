"""Translations: BLEU, chrF and exact match, each direction by itself."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from regard.batch import Example
from regard.metrics.translation import bleu_statistics, chrf_statistics, sentence_chrf, signatures
from regard.tasks.judging.judgement import ALL, SEARCH, Evaluation, Judgement, Settings
from regard.tasks.languages import language
from regard.tasks.translate import Translation, Translator


def direction_of(example: Example) -> tuple[str, str]:
    return example.source_lang or "", example.target_lang or ""


def direction_name(source_lang: str | None, target_lang: str | None) -> str:
    """ "en → de"; "all" where the data names no languages."""
    return ALL if not source_lang and not target_lang else f"{source_lang or '?'} → {target_lang or '?'}"


def scored_with(example: Example) -> str:
    """ "en → de"; "manuals, en → de" where the data has groups of its own."""
    direction = direction_name(*direction_of(example))
    if not example.group:
        return direction
    return example.group if direction == ALL else f"{example.group}, {direction}"


def translated(translator: Translator, examples: Sequence[Example], settings: Settings) -> Iterator[Translation]:
    """The translations of examples that are sorted by direction."""
    for (source_lang, target_lang), own in groupby(examples, direction_of):
        yield from translator.stream(
            [example.source for example in own],
            source_lang=source_lang or None if translator.source_languages else None,
            target_lang=target_lang or None if translator.languages else None,
            **settings,
        )


def _judged(examples: Sequence[Example], predictions: Sequence[Translation], settings: Settings) -> list[Judgement]:
    found: list[Judgement] = []
    pairs = zip(examples, predictions, strict=True)
    for _, own in groupby(pairs, lambda pair: direction_of(pair[0])):
        found += _of_direction(list(own))
    return found


def _of_direction(pairs: Sequence[tuple[Example, Translation]]) -> list[Judgement]:
    outputs = [translation.text for _, translation in pairs]
    references = [example.target for example, _ in pairs]
    bleu = bleu_statistics(outputs, references, language(pairs[0][0].target_lang or ""))
    chrf = chrf_statistics(outputs, references)
    found = []
    for place, (example, translation) in enumerate(pairs):
        right = translation.text.strip() == example.target.strip()
        found.append(
            Judgement(
                inputs={"source": example.source},
                reference=example.target,
                output=translation.text,
                statistics={
                    "bleu": bleu[place].tolist(),
                    "chrf": chrf[place].tolist(),
                    "exact_match": [float(right), 1],
                },
                quality=sentence_chrf(translation.text, example.target) / 100,
                right=right,
                group=scored_with(example),
                remark="" if right else f"chrF {sentence_chrf(translation.text, example.target):.0f}",
                finished=translation.finished,
                languages=(example.source_lang, example.target_lang),
            )
        )
    return found


def bleu_signatures(judgements: Sequence[Judgement]) -> dict[str, str]:
    """By group, where their outputs are cut into words in several ways."""
    found: dict[str, Any] = {}
    for judgement in judgements:
        if judgement.group not in found:
            found[judgement.group] = signatures(language(judgement.languages[1] or ""))
    bleu = {own["bleu"] for own in found.values()}
    return {"bleu": bleu.pop()} if len(bleu) == 1 else {f"bleu {name}": own["bleu"] for name, own in found.items()}


def _signatures(judgements: Sequence[Judgement]) -> dict[str, str]:
    return {**bleu_signatures(judgements), "chrf": signatures()["chrf"]}


TRANSLATION = Evaluation(
    "translate",
    translated,
    _judged,
    signatures=_signatures,
    order=direction_of,
    options=SEARCH | {"batch_tokens", "long"},
    pooled=False,
)
