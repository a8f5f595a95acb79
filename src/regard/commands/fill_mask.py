"""`regard fill-mask`: lines with masks in, candidates out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regard.commands.lines import answered, lines_of, load_task, print_columns, print_json


def fill_masks(model: str, texts: Sequence[str], file: Path | None, *, as_json: bool, **settings: Any) -> None:
    """Print the candidates for each mask of each text."""
    lines = lines_of(texts, file)
    filler = load_task(model, "fill-mask")
    for number, filled in answered(lines, lambda block: filler(block, **settings)):
        if as_json:
            print_json(filled)
            continue
        for place, candidates in enumerate(filled.masks, 1):
            for candidate in candidates:
                print_columns(number, place, candidate.score, candidate.token, candidate.text)
