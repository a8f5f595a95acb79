"""`regard answer`: questions about one text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regard.commands.lines import load_task, print_columns, print_json, whole_text
from regard.errors import InputError


def answer_questions(
    model: str, questions: Sequence[str], file: Path | None, context: str | None, *, as_json: bool, **settings: Any
) -> None:
    """Print the best answers to each question."""
    if context is not None and file is not None:
        raise InputError("give either --context or --file, and not both")
    text = whole_text(file) if context is None else context
    answerer = load_task(model, "answer")
    for number, answer in enumerate(answerer(questions, text, **settings), 1):
        if as_json:
            print_json(answer)
            continue
        if answer.start is None:
            print_columns(number, "", "", answer.score, "")
        else:
            print_columns(number, answer.start, answer.end, answer.score, answer.text)
        for span in answer.alternatives:
            print_columns(number, span.start, span.end, span.score, span.text)
