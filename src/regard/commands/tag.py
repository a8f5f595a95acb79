"""`regard tag`: lines in, entities out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regard.commands.lines import answered, lines_of, load_task, print_columns, print_json


def tag_texts(model: str, texts: Sequence[str], file: Path | None, *, as_json: bool, **settings: Any) -> None:
    """Print the entities of each text."""
    lines = lines_of(texts, file)
    tagger = load_task(model, "tag")
    for number, tags in answered(lines, lambda block: tagger(block, **settings)):
        if as_json:
            print_json(tags)
            continue
        for entity in tags.entities:
            print_columns(number, entity.start, entity.end, entity.label, entity.score, entity.text)
