"""Evaluating a translator: translate held-out examples, and score each direction by itself."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from regard.batch import Example
from regard.errors import DataError
from regard.metrics.resampling import RESAMPLES
from regard.metrics.translation import TranslationScore, exact_match, score
from regard.tasks.judging.translation import direction_of, translated
from regard.tasks.languages import language
from regard.tasks.translate import Translation, Translator


@dataclass(frozen=True)
class DirectionScore:
    """One language direction: what was translated, and how well. Scores are percentages."""

    source_lang: str | None
    target_lang: str | None
    sources: tuple[str, ...]
    references: tuple[str, ...]
    hypotheses: tuple[str, ...]
    score: TranslationScore
    exact_match: float
    unfinished: int  # translations that reached max_new_tokens before their end

    def record(self) -> dict[str, Any]:
        """The scores without the texts, as JSON takes them."""
        return {
            "source_lang": self.source_lang,
            "target_lang": self.target_lang,
            "count": len(self.sources),
            **asdict(self.score),
            "exact_match": self.exact_match,
            "unfinished": self.unfinished,
        }


def evaluate(
    translator: Translator,
    examples: Iterable[Example],
    *,
    resamples: int = RESAMPLES,
    on_translated: Callable[[], object] = lambda: None,
    **settings: Any,
) -> list[DirectionScore]:
    """Translate the examples' sources and score them, a `DirectionScore` a direction, ordered by name.

    `on_translated` is called once an example; `settings` are those of `Translator.stream`. Raises DataError where there
    are no examples, InputError as `Translator.stream` does.
    """
    ordered = sorted(examples, key=direction_of)
    if not ordered:
        raise DataError("there is nothing to evaluate: no examples")
    translations = []
    for translation in translated(translator, ordered, settings):
        translations.append(translation)
        on_translated()
    pairs = groupby(zip(ordered, translations, strict=True), lambda pair: direction_of(pair[0]))
    return [_scored(list(own), resamples) for _, own in pairs]


def _scored(pairs: Sequence[tuple[Example, Translation]], resamples: int) -> DirectionScore:
    """Of one direction."""
    sources = tuple(example.source for example, _ in pairs)
    references = tuple(example.target for example, _ in pairs)
    hypotheses = tuple(translation.text for _, translation in pairs)
    target_lang = pairs[0][0].target_lang
    return DirectionScore(
        source_lang=pairs[0][0].source_lang,
        target_lang=target_lang,
        sources=sources,
        references=references,
        hypotheses=hypotheses,
        score=score(hypotheses, references, language(target_lang or ""), resamples=resamples),
        exact_match=exact_match(hypotheses, references),
        unfinished=sum(not translation.finished for _, translation in pairs),
    )
