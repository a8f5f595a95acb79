"""Stop strings: a search looks for them among tokens, and the text that it found ends before the first of them."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from regard.decoding.stops import StopTable, stop_strings_table
from regard.errors import CheckpointError, ConfigError
from regard.features.tokenizer import Tokenizer


def kept_stop_strings(said: Mapping[str, Any], origin: object) -> tuple[str, ...]:
    """The `stop_strings` of a generation_config.json. Raises CheckpointError where they are no texts."""
    found = said.get("stop_strings") or ()
    listed = (found,) if isinstance(found, str) else found
    if not isinstance(listed, list | tuple) or not all(isinstance(stop, str) and stop for stop in listed):
        raise CheckpointError(f"{origin}: generation_config.json: stop_strings must be texts, but are {found!r}")
    return tuple(listed)


def checked_stops(stop: str | Sequence[str]) -> tuple[str, ...]:
    """Raises ConfigError for what is no text, or an empty one."""
    listed = (stop,) if isinstance(stop, str) else tuple(stop)
    for text in listed:
        if not isinstance(text, str) or not text:
            raise ConfigError(f"stop must be texts that are not empty, but holds {text!r}")
    return listed


class StopTables:
    """The tables of one tokenizer's stop strings: to make one is to read the whole vocabulary, so the last are kept."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        pieces = lru_cache(maxsize=1)(tokenizer.pieces)
        self._table = lru_cache(maxsize=8)(lambda stops: stop_strings_table(stops, pieces()))

    def __call__(self, stops: tuple[str, ...]) -> StopTable | None:
        return self._table(stops) if stops else None


class StopCutter:
    """A text that comes in pieces, up to the first stop string; `found` once there was one.

    What may be the beginning of a stop string is held back until more is known. Like the search, it also knows a stop
    that begins in the prompt, `before`.
    """

    def __init__(self, stops: Sequence[str], before: str = "") -> None:
        self._stops = tuple(stops)
        self._held = before[len(before) - self._begun(before) :]
        self._old = len(self._held)  # characters of what is held that are the prompt's
        self.found = False

    def push(self, text: str) -> str:
        """The text that is now sure to stand before any stop."""
        if self.found:
            return ""
        self._held += text
        ends = [(place + len(stop), place) for stop in self._stops if (place := self._place(stop)) >= 0]
        if ends:
            self.found = True
            return self._released(min(ends)[1])
        return self._released(len(self._held) - self._begun(self._held))

    def finish(self) -> str:
        """What was held back, where no stop came."""
        return "" if self.found else self._released(len(self._held))

    def _place(self, stop: str) -> int:
        """Where it begins, if it ends in what is new; -1 where it does not come."""
        return self._held.find(stop, max(self._old - len(stop) + 1, 0))

    def _released(self, end: int) -> str:
        text = self._held[self._old : end]
        self._held = self._held[end:]
        self._old = max(self._old - end, 0)
        return text

    def _begun(self, text: str) -> int:
        """How many characters at the end of a text are the beginning of a stop."""
        longest = max(map(len, self._stops), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0
