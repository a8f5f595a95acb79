"""Builders of the data sets that the demo and the recipes use: fetch, extract, clean, split."""

import os
from pathlib import Path

from regard.corpora.corpus import Builder, Corpora, Report
from regard.corpora.debian import build_english_chinese, build_english_german
from regard.corpora.demo import build_demo
from regard.corpora.emoji import build_emoji
from regard.corpora.english import build_english
from regard.corpora.fashion import build_fashion_mnist
from regard.corpora.four_ways import build_chinese_english, build_four_ways, build_german_english
from regard.corpora.package_texts import build_pairs, build_sections, build_summaries
from regard.corpora.question_sets import (
    build_all_questions,
    build_man_questions,
    build_package_questions,
    build_python_questions,
    build_written_answers,
)
from regard.corpora.speech import build_speech
from regard.errors import ConfigError

__all__ = ["BUILDERS", "Corpora", "build", "default_cache"]

BUILDERS: dict[str, Builder] = {
    "demo": Builder(build_demo, ("translate",)),
    "debian-en-de": Builder(build_english_german, ("translate",)),
    "debian-en-zh": Builder(build_english_chinese, ("translate",)),
    "debian-de-en": Builder(build_german_english, ("translate",)),
    "debian-zh-en": Builder(build_chinese_english, ("translate",)),
    "debian-four-ways": Builder(build_four_ways, ("translate",)),
    "fashion-mnist": Builder(build_fashion_mnist, ("classify-image",)),
    "package-summaries": Builder(build_summaries, ("summarise", "text-to-text")),
    "package-sections": Builder(build_sections, ("classify", "masked-language-model")),
    "package-pairs": Builder(build_pairs, ("embed",)),
    "questions-manpages": Builder(build_man_questions, ("answer",)),
    "questions-python": Builder(build_python_questions, ("answer",)),
    "questions-packages": Builder(build_package_questions, ("answer",)),
    "questions": Builder(build_all_questions, ("answer",)),
    "written-answers": Builder(build_written_answers, ("text-to-text",)),
    "speech": Builder(build_speech, ("transcribe", "transcribe-ctc")),
    "emoji": Builder(build_emoji, ("caption",)),
    "english": Builder(build_english, ("language-model", "masked-language-model", "span-corruption")),
}


def default_cache() -> Path:
    """Where fetched packages stay: $XDG_CACHE_HOME/regard, or ~/.cache/regard."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "regard"


def build(name: str, cache: Path | None = None, report: Report = lambda line: None) -> Corpora:
    """Build a corpus by name; a second call gives the same examples in the same order.

    Args:
        name: a key of `BUILDERS`.
        cache: directory for what is fetched; absent: `default_cache()`.
        report: receives lines of progress.

    Raises:
        ConfigError: no builder has this name.
        FetchError: a package cannot be had, or is not the pinned one.
    """
    if name not in BUILDERS:
        raise ConfigError(f"no corpus is called {name!r}; there are {', '.join(BUILDERS)}")
    return BUILDERS[name].build(cache or default_cache(), report)
