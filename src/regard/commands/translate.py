"""`regard translate`: lines in, lines out."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from regard.commands.bulk import Bulk, answer_lines
from regard.commands.bulk_blocks import Answer
from regard.commands.lines import READ_AHEAD, are_typed, lines_of, load_task
from regard.commands.text import warn_of_unfinished
from regard.errors import InputError
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
    bulk: Bulk = Bulk(),
    **settings: Any,
) -> None:
    """Translate `texts`, a file, or stdin, and print each translation as soon as its window is done."""
    lines = lines_of(texts, file)
    if bulk.wanted:
        if window is not None:
            raise InputError("--window is for one process, which --workers and --output are not: leave it out")
        answer_lines(TranslateLines(model, runtime, {**settings, **options}, as_json), lines, bulk, file)
        return
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
            for note in _notes(count, translation):
                print(f"regard: {note}", file=sys.stderr)
    finally:
        warn_of_unfinished(unfinished, count)


@dataclass(frozen=True)
class TranslateLines:
    """`translate_texts` for some of the lines, in one of several processes."""

    model: str
    runtime: Mapping[str, str]
    settings: Mapping[str, Any]
    as_json: bool

    what: ClassVar[str] = "translations"

    def load(self) -> Any:
        """The translator."""
        return load_task(self.model, "translate", **self.runtime)

    def answer(self, translator: Any, lines: list[str], first: int) -> Answer:
        """As `LineTask` has it."""
        n_best = self.settings.get("num_return_sequences")
        found = translator(lines, first=first, return_scores=self.as_json or n_best is not None, **self.settings)
        numbered = list(enumerate(found, first + 1))
        output = [line + "\n" for number, each in numbered for line in _rendered(number, each, self.as_json, n_best)]
        notes = tuple(note for number, each in numbered for note in _notes(number, each))
        return Answer("".join(output), notes, sum(not each.finished for each in found))


def _notes(number: int, translation: Translation) -> list[str]:
    split = translation.sentences
    return [f"line {number} was split into {split} sentences"] if split > 1 else []


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
