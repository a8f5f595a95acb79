"""The split rule: a text or a value goes to training, validation or test by a hash of its key alone."""

import hashlib
import re
from typing import Literal

Split = Literal["train", "validation", "test"]

_PLACEHOLDER = re.compile(
    r"<[^<>]*>|%\([^()]*\)[a-z]?|%[-+#0-9.*]*(?:hh|h|ll|l|z|j|t|L)?[a-zA-Z%]|\$[\[{(]?\w+[\]})]?|\{[^{}]*\}"
)
_DIGIT = re.compile(r"\d")
_NO_WORD = re.compile(r"[\W_]+")


def bucket(key: str, size: int = 1000) -> int:
    """A number in 0..size-1 that depends on nothing but the key."""
    return int(hashlib.sha1(key.encode()).hexdigest()[:8], 16) % size


def split_of(key: str, test_below: int = 10, validation_below: int = 20) -> Split:
    """Buckets (of a thousand) below `test_below` are test, the next up to `validation_below` validation."""
    number = bucket(key)
    return "test" if number < test_below else "validation" if number < validation_below else "train"


def without_placeholders(text: str) -> str:
    """The text with tags, format directives and variables taken out, each for a space."""
    return _PLACEHOLDER.sub(" ", text)


def text_key(text: str) -> str:
    """What two near copies share: casefolded, placeholders out, digits to 0, punctuation to single spaces."""
    folded = _DIGIT.sub("0", without_placeholders(text).casefold())
    return _NO_WORD.sub(" ", folded).strip()
