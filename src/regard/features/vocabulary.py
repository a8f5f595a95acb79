"""The small files of a tokenizer, read with suspicion: JSON objects, vocabularies, lists of merges."""

import json
from typing import Any

from regard.errors import CheckpointError

MOST_IDS = 2**31 - 1  # ids travel as int32


def json_object(content: bytes, origin: str) -> dict[str, Any]:
    """Raises CheckpointError for what is no JSON object."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read {origin}: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{origin} must hold a JSON object, but holds {type(values).__name__}")
    return values


def json_vocabulary(content: bytes, origin: str) -> dict[str, int]:
    """A vocab.json: token -> id."""
    vocabulary = json_object(content, origin)
    for token, token_id in vocabulary.items():
        if type(token_id) is not int or not 0 <= token_id <= MOST_IDS:
            raise CheckpointError(f"{origin}: {token!r} must have an id, a number from 0, but has {token_id!r}")
    if not vocabulary:
        raise CheckpointError(f"{origin} holds no token")
    return vocabulary


def line_vocabulary(content: bytes, origin: str) -> dict[str, int]:
    """A vocab.txt: a token a line, its id the number of the line; of two equal tokens the later one counts."""
    # Tokens may hold what Python, too, takes for the end of a line: only "\n" is one.
    lines = _text(content, origin).removesuffix("\n").split("\n")
    return {line.rstrip(): number for number, line in enumerate(lines)}


def merges(content: bytes, origin: str) -> list[tuple[str, str]]:
    """A merges.txt: two tokens a line, the pair that is joined first comes first."""
    found = []
    for number, line in enumerate(_text(content, origin).split("\n"), start=1):
        line = line.removesuffix("\r")
        if not line or line.startswith("#version"):
            continue
        parts = line.split(" ")
        if len(parts) != 2 or not all(parts):
            raise CheckpointError(f"{origin}, line {number}: two tokens with a space between are needed: {line[:80]!r}")
        found.append((parts[0], parts[1]))
    return found


def _text(content: bytes, origin: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"cannot read {origin}: {error}") from error
