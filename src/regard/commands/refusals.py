"""Files that cannot be read: each costs itself alone, is told at once, and all are named at the end."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from regard.errors import InputError, PartlyDone

_Result = TypeVar("_Result")


class Refusals:
    """What a task is given as `refused`: it keeps which of the files could not be read. what: "images". What is wrong
    with a file that is given alone is all that is said of it, at the end."""

    def __init__(self, what: str, files: Iterable[str]) -> None:
        self._what, self._count = what, 0
        self._alone = isinstance(files, Sequence) and len(files) == 1
        self._told: InputError | None = None
        self._numbers: set[int] = set()
        self._names: list[str] = []

    def __call__(self, number: int, error: InputError) -> None:
        """Say what is wrong with the file of this number, from 1."""
        self._told = error
        if not self._alone:
            print(f"regard: {error}", file=sys.stderr)
        self._numbers.add(number)

    def beside(self, names: Iterable[str], results: Iterable[_Result]) -> Iterator[tuple[int, str, _Result]]:
        """Each result with the number and the name of its file: those that were refused have none."""
        numbered = self._readable(names)
        for result in results:
            yield *next(numbered), result
        for _ in numbered:  # all refused: their names are kept
            pass

    def _readable(self, names: Iterable[str]) -> Iterator[tuple[int, str]]:
        for self._count, name in enumerate(names, 1):
            if self._count in self._numbers:
                self._names.append(name)
            else:
                yield self._count, name

    def check(self) -> None:
        """Raise PartlyDone, which names them, where there are any."""
        if self._names and self._alone:
            raise PartlyDone(str(self._told)) from self._told
        if self._names:
            told = f"{len(self._names):,} of {self._count:,} {self._what} could not be read"
            raise PartlyDone(f"{told}: {', '.join(self._names)}")
