"""Evaluating a translator: translate held-out examples, and score each direction by itself."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from regard.batch import Example
from regard.errors import DataError
from regard.metrics.translation import TranslationScore, exact_match, score
from regard.tasks.languages import language
from regard.tasks.translate import Translator

RESAMPLES = 1000  # bootstrap samples behind an interval


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
    directions: dict[tuple[str, str], list[Example]] = defaultdict(list)
    for example in examples:
        directions[example.source_lang or "", example.target_lang or ""].append(example)
    if not directions:
        raise DataError("there is nothing to evaluate: no examples")
    return [_evaluate(translator, directions[key], resamples, on_translated, settings) for key in sorted(directions)]


def _evaluate(
    translator: Translator,
    examples: list[Example],
    resamples: int,
    on_translated: Callable[[], object],
    settings: dict[str, Any],
) -> DirectionScore:
    sources = tuple(example.source for example in examples)
    references = tuple(example.target for example in examples)
    source_lang, target_lang = examples[0].source_lang, examples[0].target_lang
    hypotheses, unfinished = [], 0
    translations = translator.stream(
        sources,
        source_lang=source_lang if translator.source_languages else None,
        target_lang=target_lang if translator.languages else None,
        **settings,
    )
    for translation in translations:
        hypotheses.append(translation.text)
        unfinished += not translation.finished
        on_translated()
    return DirectionScore(
        source_lang=source_lang,
        target_lang=target_lang,
        sources=sources,
        references=references,
        hypotheses=tuple(hypotheses),
        score=score(hypotheses, references, language(target_lang or ""), resamples=resamples),
        exact_match=exact_match(hypotheses, references),
        unfinished=unfinished,
    )
