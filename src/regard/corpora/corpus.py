"""What every builder of a corpus returns."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from regard.batch import Example
from regard.errors import DataError

Report = Callable[[str], None]  # takes one line of progress
Item = Any  # an `Example` for pairs of texts; else a dict, which says what a line of JSON Lines would


@dataclass(frozen=True)
class Corpora:
    """A corpus in three splits; equal builders give equal corpora, in equal order."""

    train: list[Item]
    validation: list[Item]
    test: list[Item]
    counts: dict[str, int]  # what was read, dropped by reason, and kept
    source: str  # one line on origin and licence
    # Of the training items, which stand part after part, how many each part has, by its name: `data.temperature` mixes
    # them. Empty: they are one corpus.
    parts: dict[str, int] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Of all items as JSON Lines, split by split; a pair that belongs to no group says nothing of one."""
        digest = hashlib.sha256()
        for items in (self.train, self.validation, self.test):
            said = (item[:-1] if isinstance(item, Example) and not item.group else item for item in items)
            digest.update("".join(f"{json.dumps(item, ensure_ascii=False)}\n" for item in said).encode())
        return digest.hexdigest()


class Builder(NamedTuple):
    """Makes a corpus from a cache directory, and for which tasks of a run file.

    limits: what a model that has learned of it does not know: for its card.
    """

    build: Callable[[Path, Report], Corpora]
    tasks: tuple[str, ...]
    limits: str


class Pinned(NamedTuple):
    """What a builder makes of the pinned files."""

    train: int
    validation: int
    test: int
    sha256: str  # `Corpora.sha256`


def check_pinned(
    name: str, corpora: Corpora, pinned: Pinned | None, noun: str, *, sha256: str | None = None, tool: str | None = None
) -> Corpora:
    """The corpora, if they are what is pinned. Raises DataError.

    sha256: of what stands in the files that they name, where their paths are those of a machine; else their own. tool:
    what else may have changed the content.
    """
    if pinned is not None:
        check_counts(name, (len(corpora.train), len(corpora.validation), len(corpora.test)), pinned[:3], noun)
        found = sha256 or corpora.sha256
        if found != pinned.sha256:
            or_else = f", or {tool} is another one" if tool else ""
            raise DataError(
                f"{name} has the SHA-256 {found}, but {pinned.sha256} is pinned for these packages: how they are read "
                f"has changed{or_else}"
            )
    return corpora


def check_counts(what: str, found: tuple[int, ...], pinned: tuple[int, ...] | None, noun: str = "pairs") -> None:
    """The pinned files give pinned counts: another count means that the code or Python reads them otherwise.

    Raises DataError, which says both; `pinned` is None where nothing is.
    """
    if pinned is not None and found != pinned:
        gave, expected = (" and ".join(f"{count:,}" for count in counts) for counts in (found, pinned))
        raise DataError(
            f"{what} gave {gave} {noun}, but {expected} are pinned for these files: how they are read has changed"
        )
