"""What the demo's examples are made from: a value, the key that splits it, and its texts in three languages.

A form is one way to write the value in each language. The forms of a value stand in order of precedence: where two of
them read alike in one language, that text is translated by the earlier form. Formats and names are CLDR's, through
`babel`; its no-break spaces become plain ones, so that what a user types is what the model has learnt.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeVar

from babel import Locale

LANGUAGES = ("en", "de", "zh")
LOCALES = {language: Locale(language) for language in LANGUAGES}

Form = dict[str, str]  # language -> text
UnitLength = Literal["long", "short"]  # of a unit's name
T = TypeVar("T")

_SPACES = re.compile(r"\s+")


class Value(NamedTuple):
    """A date, an amount, a pair of names... in all its forms."""

    kind: str
    key: str | None  # equal keys share a split; None: always training
    forms: tuple[Form, ...]


def form(write: Callable[[str], str], languages: Iterable[str] = LANGUAGES) -> Form:
    """`write(language)` for each language, with its spaces made plain."""
    return {language: _SPACES.sub(" ", write(language)) for language in languages}


def shuffled(label: str, pool: Iterable[T]) -> list[T]:
    """The pool in the order of a hash: the same on every machine and under every Python."""
    return sorted(pool, key=lambda entry: hashlib.sha1(f"{label}:{entry}".encode()).digest())


def draws(label: str) -> Iterator[int]:
    """Endless uniform 32-bit integers that depend on the label alone."""
    number = 0
    while True:
        digest = hashlib.sha256(f"{label}:{number}".encode()).digest()
        yield from (int.from_bytes(digest[start : start + 4], "big") for start in range(0, 32, 4))
        number += 1


def pick(number: int, choices: Sequence[T]) -> T:
    """The choice that a drawn integer means."""
    return choices[number % len(choices)]
