"""`regard summarise`: long texts in, short ones out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from regard.commands.bulk import Bulk, answer_lines
from regard.commands.bulk_blocks import Answer
from regard.commands.lines import (
    answered,
    as_json_line,
    in_columns,
    lines_of,
    load_task,
    notes_of_cut,
    warn_of_cut,
    whole_text,
)
from regard.commands.text import warn_of_unfinished
from regard.tasks.summarise import Summary


def summarise_texts(
    model: str,
    texts: Sequence[str],
    file: Path | None,
    *,
    lines: bool,
    as_json: bool,
    runtime: Mapping[str, str],
    bulk: Bulk = Bulk(),
    **settings: Any,
) -> None:
    """Print the summaries of the texts; of a file or stdin, which is one text, or of each of its lines."""
    sources: Iterable[str] = lines_of(texts, file)
    if not lines and sources is not texts:
        sources = [whole_text(file)]
    n_best = settings.get("num_return_sequences")
    settings["return_scores"] = as_json or n_best is not None
    if bulk.wanted:
        answer_lines(SummariseLines(model, runtime, settings, as_json), sources, bulk, file)
        return
    summariser = load_task(model, "summarise", **runtime)
    unfinished = count = read = 0

    def summarised(block: list[str]) -> Sequence[Summary]:
        nonlocal read
        read += len(block)
        return list(summariser(block, first=read - len(block), **settings))

    for count, summary in answered(sources, summarised):
        warn_of_cut(count, summary.cut, "text")
        unfinished += not summary.finished
        for line in _rendered(count, summary, as_json, n_best):
            print(line, flush=True)
    warn_of_unfinished(unfinished, count, "summaries")


@dataclass(frozen=True)
class SummariseLines:
    """`summarise_texts` for some of the lines, in one of several processes."""

    model: str
    runtime: Mapping[str, str]
    settings: Mapping[str, Any]
    as_json: bool

    what: ClassVar[str] = "summaries"

    def load(self) -> Any:
        """The summariser."""
        return load_task(self.model, "summarise", **self.runtime)

    def answer(self, summariser: Any, lines: list[str], first: int) -> Answer:
        """As `LineTask` has it."""
        n_best = self.settings.get("num_return_sequences")
        found = list(enumerate(summariser(lines, first=first, **self.settings), first + 1))
        output = [line + "\n" for number, each in found for line in _rendered(number, each, self.as_json, n_best)]
        notes = tuple(note for number, each in found for note in notes_of_cut(number, each.cut, "text"))
        return Answer("".join(output), notes, sum(not each.finished for _, each in found))


def _rendered(number: int, summary: Summary, as_json: bool, n_best: int | None) -> list[str]:
    if as_json:
        return [as_json_line(summary)]
    if n_best is None:
        return [in_columns(summary.text)]
    ranked = (summary, *summary.alternatives)
    return [in_columns(number, "" if found.score is None else found.score, found.text) for found in ranked]
