"""What `prepare` says on stderr: a bar on a terminal, plain lines otherwise."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0

Advance = Callable[[int], None]


class Narrator:
    """Says what happens; `bar` allows a progress bar where stderr is a terminal."""

    def __init__(self, bar: bool) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = bar and self._console.is_terminal

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False)

    @contextmanager
    def counting(self, what: str, total: int | None = None) -> Iterator[Advance]:
        """Show how many pairs are done; the caller reports each step's number of pairs."""
        if not self._bar:
            yield self._plain(what, total)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda pairs: progress.advance(task, pairs)

    def _plain(self, what: str, total: int | None) -> Advance:
        done, last = 0, time.monotonic()

        def advance(pairs: int) -> None:
            nonlocal done, last
            done += pairs
            if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                self.say(f"{what}: {done:,} pairs" if total is None else f"{what}: {done:,} of {total:,} pairs")

        return advance
