"""`regard summarise`: long texts in, short ones out."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from regard.commands.lines import answered, lines_of, load_task, print_columns, print_json, warn_of_cut, whole_text
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
    **settings: Any,
) -> None:
    """Print the summaries of the texts; of a file or stdin, which is one text, or of each of its lines."""
    sources: Iterable[str] = lines_of(texts, file)
    if not lines and sources is not texts:
        sources = [whole_text(file)]
    summariser = load_task(model, "summarise", **runtime)
    n_best = settings.get("num_return_sequences")
    settings["return_scores"] = as_json or n_best is not None
    unfinished = count = read = 0

    def summarised(block: list[str]) -> Sequence[Summary]:
        nonlocal read
        read += len(block)
        return list(summariser(block, first=read - len(block), **settings))

    for count, summary in answered(sources, summarised):
        warn_of_cut(count, summary.cut, "text")
        unfinished += not summary.finished
        if as_json:
            print_json(summary)
        elif n_best is None:
            print_columns(summary.text)
        else:
            for found in (summary, *summary.alternatives):
                print_columns(count, "" if found.score is None else found.score, found.text)
    warn_of_unfinished(unfinished, count, "summaries")
