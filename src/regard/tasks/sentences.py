"""Cutting a text at its sentence ends, and joining the translated sentences again."""

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise

# A Latin end needs white space behind it (3.14 stays whole), an East Asian one does not. Closing quotes belong before.
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’»)\]]*\s+|[。！？]+[”’」』）]*\s*|\n+")


def split_sentences(text: str) -> list[str]:
    """The sentences of `text` in order, without white space around them: no other character is lost."""
    cuts = [0, *(end.end() for end in _SENTENCE_END.finditer(text)), len(text)]
    sentences = [text[start:stop].strip() for start, stop in pairwise(cuts)]
    return [sentence for sentence in sentences if sentence]


def join_sentences(sentences: Iterable[str]) -> str:
    """One text again: a space between two sentences, none after Chinese or Japanese characters and punctuation."""
    joined = ""
    for sentence in sentences:
        gap = " " if joined and sentence and unicodedata.east_asian_width(joined[-1]) not in "WF" else ""
        joined += gap + sentence
    return joined
