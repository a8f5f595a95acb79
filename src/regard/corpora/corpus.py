"""What every builder of a corpus returns."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from regard.batch import Example

Report = Callable[[str], None]  # takes one line of progress


@dataclass(frozen=True)
class Corpora:
    """A parallel corpus in three splits; equal builders give equal corpora, in equal order."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    counts: dict[str, int]  # what was read, dropped by reason, and kept
    source: str  # one line on origin and licence


Builder = Callable[[Path, Report], Corpora]
