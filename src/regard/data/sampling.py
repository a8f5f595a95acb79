"""The first pass over the training text: what the tokenizer is trained on, the languages, a validation split.

Every choice is by hash, so that it depends on the texts and neither on their order nor on chance.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from regard.data.records import Record
from regard.data.sources import DropReport, Located, Place, hash_share
from regard.errors import DataError

SAMPLE_PAIRS = 500_000  # the tokenizer learns from at most so many pairs
SAMPLE_COST = 50_000_000  # and at most so many bytes, of which those of long words count more
LONG_WORD = 20  # characters; Chinese is one long word up to the next punctuation mark
LONG_WORD_COST = 8  # a trainer keeps each different word once; long ones are all different, and take 130 bytes a byte
VALIDATION_SHARE = 0.01
VALIDATION_PAIRS = 2000  # at most


class TextSample:
    """A part of the pairs, chosen by hash, that stays within the bounds however long the stream is.

    The part is the first of 1, 0.8, 0.8**2, ... of the hashes that fits.
    """

    def __init__(self, pairs: int, cost: int) -> None:
        self._max_pairs, self._max_cost = pairs, cost
        self._below = 1.0
        self._kept: list[tuple[float, str, tuple[str, ...]]] = []
        self._cost = 0

    def add(self, record: Record) -> None:
        """Consider one more record."""
        share = hash_share("tokenizer", *record.texts)
        if share >= self._below:
            return
        self._kept.append((share, record.key, record.texts))
        self._cost += sum(map(training_cost, record.texts))
        while len(self._kept) > self._max_pairs or self._cost > self._max_cost:
            self._below *= 0.8
            self._kept = [entry for entry in self._kept if entry[0] < self._below]
            self._cost = sum(training_cost(text) for _, _, texts in self._kept for text in texts)

    def __len__(self) -> int:
        return len(self._kept)

    def lines(self, but_below: float = 0.0) -> Iterator[str]:
        """The texts in turn, but for the records that `in_validation` takes away."""
        for _, key, texts in self._kept:
            if not in_validation(key, but_below):
                yield from texts


def training_cost(text: str) -> int:
    """Bytes, those of long words with their weight: what a trainer's memory grows with."""
    long_words = "".join(word for word in text.split() if len(word) > LONG_WORD)
    return sum(
        len(part.encode("utf-8", "surrogatepass")) * cost for part, cost in ((text, 1), (long_words, LONG_WORD_COST))
    )


def in_validation(key: str, below: float) -> bool:
    """Whether a record of this key is split off: equal keys always fall on one side."""
    return below > 0 and hash_share("validation", key) < below


@dataclass
class Survey:
    """What the first pass found; `validation` and `below` are empty where the run file names validation data."""

    pairs: int = 0  # records
    names: list[str] = field(default_factory=list)  # labels; of pairs the target languages
    below: float = 0.0  # keys whose hash is below this are validation
    validation: list[Located] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For a preparation that goes on after a kill."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any], record: Callable[..., Record]) -> "Survey":
        """The inverse of `to_json`."""
        rows = values["validation"]
        validation = [Located(record(*example), Place(*place), *rest) for example, place, *rest in rows]
        return cls(**values | {"validation": validation})


def survey(examples: Iterable[Located], sample: TextSample | None, *, split_validation: bool) -> Survey:
    """Read the training text once; `sample`, if there is one, receives every record."""
    found = Survey()
    names: set[str] = set()
    lowest: list[tuple[float, int, Located]] = []  # a heap, largest share first, one entry more than can be chosen
    for located in examples:
        if not located.copies:
            continue
        found.pairs += 1
        names.update(filter(None, located.example.names))
        if sample is not None:
            sample.add(located.example)
        if split_validation:
            _keep_lowest(lowest, (-hash_share("validation", located.example.key), -found.pairs, located))
    found.names = sorted(names, key=_by_number)
    if split_validation and found.pairs:
        found.below, found.validation = _choose(lowest, found.pairs)
    return found


def limited(records: Iterable[Located], limit: int | None, report: DropReport) -> Iterator[Located]:
    """So many of the records, in their order, or all; the others go to `report`. They are chosen by a hash, so those of
    a smaller limit are among those of a larger one, and a corpus that is sorted gives no lopsided part."""
    if limit is None:
        yield from records
        return
    kept: list[tuple[float, int, Located]] = []  # a heap, largest share first
    for number, located in enumerate(records):
        entry = (-hash_share("limit", located.example.key, *located.example.texts), -number, located)
        if len(kept) < limit:
            heapq.heappush(kept, entry)
        else:
            report.add(f"left out by data.limit = {limit}", heapq.heappushpop(kept, entry)[2].place)
    yield from (located for _, _, located in sorted(kept, key=lambda entry: -entry[1]))


def _by_number(name: str) -> tuple[float, str]:
    """Labels that are numbers in their order, then the others in theirs."""
    return (float(name) if name.isdecimal() and name.isascii() else float("inf"), name)


def _keep_lowest(lowest: list[tuple[float, int, Located]], entry: tuple[float, int, Located]) -> None:
    if len(lowest) <= VALIDATION_PAIRS:
        heapq.heappush(lowest, entry)
    elif entry[0] > lowest[0][0]:
        heapq.heapreplace(lowest, entry)


def _choose(lowest: list[tuple[float, int, Located]], pairs: int) -> tuple[float, list[Located]]:
    """The bound on the hash that splits off 1 % of the pairs, at least one and at most 2000; and these pairs."""
    entries = sorted(lowest, reverse=True)  # shares are negated: the lowest comes first, then the earliest
    wanted = min(VALIDATION_PAIRS, max(1, int(pairs * VALIDATION_SHARE)))
    below = -entries[wanted][0] if wanted < len(entries) else 0.0
    chosen = [located._replace(copies=1) for share, _, located in entries if -share < below]
    if not chosen:
        raise DataError(
            f"{pairs} examples are too few, or too much alike, to split validation data off: set data.validation"
        )
    return below, chosen
