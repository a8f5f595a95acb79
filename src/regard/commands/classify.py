"""`regard classify`: lines in, labels out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regard.commands.lines import answered, lines_of, load_task, print_columns, print_json, warn_of_cut
from regard.errors import InputError


def classify_texts(
    model: str,
    texts: Sequence[str],
    file: Path | None,
    *,
    pairs: bool,
    top_k: int | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Print the `top_k` best labels of each text, or of each pair of texts; without, the label that holds, or those."""
    lines = lines_of(texts, file)
    classifier, settings = load_task(model, "classify"), {"top_k": top_k, **settings}

    def classified(block: list[str]) -> Any:
        if not pairs:
            return classifier(block, **settings)
        first, second = zip(*map(_parted, block), strict=True)
        return classifier(first, second, **settings)

    for number, result in answered(lines, classified):
        warn_of_cut(number, result.cut)
        result = result.held if top_k is None else result
        if as_json:
            print_json(result)
        else:
            print_columns(*(value for entry in result.scores for value in entry))


def _parted(line: str) -> tuple[str, str]:
    first, tab, second = line.partition("\t")
    if not tab:
        raise InputError(f"a line of --pairs is two texts with a tab between, but there is none in {line[:60]!r}")
    return first, second
