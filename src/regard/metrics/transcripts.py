"""Word and character error rates of transcripts, aligned by jiwer (Levenshtein 1966)."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal, NamedTuple

from jiwer import process_characters, process_words

Normaliser = Literal["none", "basic"]

_NOT_SPOKEN = re.compile(r"[^\w\s']|_")


class Errors(NamedTuple):
    """Substitutions, insertions and deletions together, and how long the reference is."""

    wrong: int
    length: int


def word_errors(text: str, reference: str, normaliser: Normaliser = "basic") -> Errors:
    """Of words, which white space parts. The rate of a corpus is the sum of the errors over that of the lengths."""
    ours, theirs = normalised(text, normaliser), normalised(reference, normaliser)
    if not theirs:
        return Errors(len(ours.split()), 0)
    found = process_words([theirs], [ours])
    return Errors(found.substitutions + found.insertions + found.deletions, len(theirs.split()))


def character_errors(text: str, reference: str, normaliser: Normaliser = "basic") -> Errors:
    """Of characters, a space between words among them: the measure for what is written without spaces."""
    ours, theirs = normalised(text, normaliser), normalised(reference, normaliser)
    if not theirs:
        return Errors(len(ours), 0)
    found = process_characters([theirs], [ours])
    return Errors(found.substitutions + found.insertions + found.deletions, len(theirs))


def error_rates(texts: Sequence[str], references: Sequence[str]) -> dict[str, float | None]:
    """`wer` and `cer` of a corpus, 0 to 1 and beyond; None where the references say nothing."""
    found: dict[str, float | None] = {}
    for name, errors in (("wer", word_errors), ("cer", character_errors)):
        each = [errors(text, reference) for text, reference in zip(texts, references, strict=True)]
        length = sum(errors.length for errors in each)
        found[name] = sum(errors.wrong for errors in each) / length if length else None
    return found


def normalised(text: str, normaliser: Normaliser) -> str:
    """ "none": white space folded. "basic": also lower case, and what is not spoken (punctuation, symbols, but
    apostrophes) made a space: "Mid-day, isn't it?" -> "mid day isn't it"."""
    if normaliser == "basic":
        text = unicodedata.normalize("NFKC", text).replace("\u2019", "'").lower()
        text = _NOT_SPOKEN.sub(" ", text)
    return " ".join(text.split())
