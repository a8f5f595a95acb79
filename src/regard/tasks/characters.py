"""Spans of characters that a reader would draw: no white space at their ends, no accent or emoji cut in two."""

import unicodedata

_JOINER = "\u200d"  # joins emoji to one


def whole_characters(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without white space at its ends, and with the marks that belong to its first and last character.

    Models that drop accents give the span of the letter alone, and tokens of bytes that of a part of an emoji.
    """
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    if start == end:
        return start, end
    while start > 0 and _belongs(text, start):
        start -= 1
    while end < len(text) and _belongs(text, end):
        end += 1
    return start, end


def _belongs(text: str, place: int) -> bool:
    """Whether the character is a part of the one before it."""
    character = text[place]
    is_skin_tone = "\U0001f3fb" <= character <= "\U0001f3ff"
    is_joined = character == _JOINER or (text[place - 1] == _JOINER and unicodedata.category(character) == "So")
    return is_skin_tone or is_joined or unicodedata.category(character).startswith("M")
