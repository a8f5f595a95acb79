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

_OF_DEMO = "It has read dates, times, amounts and names that follow rules, and no sentences."
_OF_PAIRS = "It has read manuals, messages of programs and descriptions of packages: no speech, no letters and no news."
_OF_CLOTHES = (
    "It has seen grey pictures of single garments, 28 pixels a side: no photographs of scenes, and nothing else."
)
_OF_PACKAGES = "It has read English descriptions of Debian's packages, and no other kind of text."
_OF_SECTIONS = f"{_OF_PACKAGES} A section is where a maintainer put a package: several would often do."
_OF_QUESTIONS = (
    "Its questions were made by rules out of terms and their explanations, and asked by nobody who wanted to know: how "
    "well it finds a term's explanation is no measure of how well it understands prose."
)
_OF_VOICES = (
    "It has heard the synthetic voices of espeak-ng alone, in English. What it makes of human beings is the score of "
    "the human prompts, and not that of the unseen voices."
)
_OF_DRAWINGS = (
    "It has seen drawings on white, 64 pixels a side, and their names: of photographs it says what a drawing would be."
)
_OF_ENGLISH = "It has read 32 MB of manuals and descriptions: what it writes has their style, and no facts to rely on."

BUILDERS: dict[str, Builder] = {
    "demo": Builder(build_demo, ("translate",), _OF_DEMO),
    "debian-en-de": Builder(build_english_german, ("translate",), _OF_PAIRS),
    "debian-en-zh": Builder(build_english_chinese, ("translate",), _OF_PAIRS),
    "debian-de-en": Builder(build_german_english, ("translate",), _OF_PAIRS),
    "debian-zh-en": Builder(build_chinese_english, ("translate",), _OF_PAIRS),
    "debian-four-ways": Builder(build_four_ways, ("translate",), _OF_PAIRS),
    "fashion-mnist": Builder(build_fashion_mnist, ("classify-image",), _OF_CLOTHES),
    "package-summaries": Builder(build_summaries, ("summarise", "text-to-text"), _OF_PACKAGES),
    "package-sections": Builder(build_sections, ("classify", "masked-language-model"), _OF_SECTIONS),
    "package-pairs": Builder(build_pairs, ("embed",), _OF_PACKAGES),
    "questions-manpages": Builder(build_man_questions, ("answer",), _OF_QUESTIONS),
    "questions-python": Builder(build_python_questions, ("answer",), _OF_QUESTIONS),
    "questions-packages": Builder(build_package_questions, ("answer",), _OF_QUESTIONS),
    "questions": Builder(build_all_questions, ("answer",), _OF_QUESTIONS),
    "written-answers": Builder(build_written_answers, ("text-to-text",), _OF_QUESTIONS),
    "speech": Builder(build_speech, ("transcribe", "transcribe-ctc"), _OF_VOICES),
    "emoji": Builder(build_emoji, ("caption",), _OF_DRAWINGS),
    "english": Builder(build_english, ("language-model", "masked-language-model", "span-corruption"), _OF_ENGLISH),
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
