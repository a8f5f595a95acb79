"""`regard translate`: lines in, lines out."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from regard.commands.lines import READ_AHEAD, are_typed, lines_of, load_task
from regard.commands.text import warn_of_unfinished
from regard.tasks.translate import Translation


def translate_texts(
    model: str,
    texts: Sequence[str],
    file: Path | None,
    *,
    as_json: bool,
    runtime: Mapping[str, str],
    window: int | None,
    options: Mapping[str, Any],
    **settings: Any,
) -> None:
    """Translate `texts`, a file, or stdin, and print each translation as soon as its window is done."""
    lines = lines_of(texts, file)
    translator = load_task(model, "translate", **runtime)
    translations = translator.stream(
        lines,
        window=window if window is not None else 1 if are_typed(lines) else READ_AHEAD,
        return_scores=as_json or "num_return_sequences" in options,
        **settings,
        **options,
    )
    _print(translations, as_json, n_best=options.get("num_return_sequences"))


def _print(translations: Iterable[Translation], as_json: bool, n_best: int | None) -> None:
    count = unfinished = 0
    try:
        for count, translation in enumerate(translations, 1):
            for line in _rendered(count, translation, as_json, n_best):
                print(line, flush=True)
            unfinished += not translation.finished
            if translation.sentences > 1:
                print(f"regard: line {count} was split into {translation.sentences} sentences", file=sys.stderr)
    finally:
        warn_of_unfinished(unfinished, count)


def _rendered(number: int, translation: Translation, as_json: bool, n_best: int | None) -> list[str]:
    if as_json:
        return [json.dumps(translation.as_json(), ensure_ascii=False)]
    if n_best is None:
        return [one_line(translation.text)]
    ranked = (translation, *translation.alternatives)
    return [f"{number}\t{_shown(entry.score)}\t{one_line(entry.text)}" for entry in ranked]


def one_line(text: str) -> str:
    """A text without line ends, so that the lines of the output keep the numbers of the input's."""
    return text.replace("\r", " ").replace("\n", " ")


def _shown(score: float | None) -> str:
    return "" if score is None else f"{score:.4f}"
