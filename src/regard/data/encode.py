"""Text -> shards, in processes. Nothing here imports TensorFlow: a worker starts in a fraction of a second."""

import json
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard.data.objectives.objective import Objective, Reports, Row, SensedRow
from regard.data.processes import interrupts_blocked, process_pool
from regard.data.shards import Features, write_file, write_shard
from regard.data.sources import DropReport, Located
from regard.errors import DataError
from regard.features.tokenizer import Tokenizer

_SLICE_PAIRS, _SLICE_CHARACTERS = 1024, 1_000_000  # tokenised at once: each token takes 0.2 KB for that long


@dataclass(frozen=True)
class Job:
    """One shard to write: its name without suffix, its records, and whether they are kept as they are, too."""

    name: str
    records: Sequence[Located]
    keep_texts: bool


@dataclass
class ShardRecord:
    """What a finished shard says of itself, in `<name>.json` beside it: the file that makes it complete."""

    name: str
    read: int = 0  # records that the job held
    rows: int = 0  # of the index: one that is repeated counts each time
    tokens: list[int] = field(default_factory=list)  # of each column
    corpora: dict[str, int] = field(default_factory=dict)  # rows of each corpus, by its number
    files: dict[str, str] = field(default_factory=dict)
    dropped: DropReport = field(default_factory=DropReport)
    changed: DropReport = field(default_factory=DropReport)

    def save(self, directory: Path) -> None:
        """Mark the shard as complete."""
        write_file(directory / f"{self.name}.json", json.dumps(asdict(self)).encode())

    @classmethod
    def load(cls, directory: Path, name: str) -> "ShardRecord | None":
        """The record of a complete shard; None where there is none."""
        try:
            values = json.loads((directory / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return None
        return cls(**values | {name: DropReport(**values[name]) for name in ("dropped", "changed")})


def encode_shards(
    jobs: Iterator[Job], directory: Path, tokenizer: Tokenizer, objective: Objective, workers: int
) -> Iterator[ShardRecord]:
    """Write the shards, `workers` at a time, and give their records in order.

    A single job, or a single worker, runs in this process. At most `workers` + 1 jobs are in memory.
    """
    first = list(islice(jobs, 2))
    if workers == 1 or len(first) < 2:
        for job in _chain(first, jobs):
            yield encode_shard(job, directory, tokenizer, objective)
        return
    with process_pool(workers, _start_worker, directory, tokenizer, objective) as pool:
        pending: deque[Future[ShardRecord]] = deque()
        try:
            for job in _chain(first, jobs):
                with interrupts_blocked():
                    pending.append(pool.submit(_work, job))
                if len(pending) > workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise DataError(
                "a tokenising process ended unexpectedly, for want of memory or because a script starts prepare "
                'outside `if __name__ == "__main__":`; data.workers = 1 does without processes'
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def encode_shard(job: Job, directory: Path, tokenizer: Tokenizer, objective: Objective) -> ShardRecord:
    """Tokenise the records of one shard and write its files, its record last."""
    record = ShardRecord(job.name, read=len(job.records), tokens=[0] * len(objective.columns))
    reports = Reports(record.dropped, record.changed)
    table = _Table()
    texts: list[Any] = []
    for part in in_parts(iter(job.records), _SLICE_PAIRS, _SLICE_CHARACTERS):
        for located, rows in objective.encode(part, tokenizer, reports):
            table.add(rows, located.copies)
            number = str(located.corpus)
            record.corpora[number] = record.corpora.get(number, 0) + len(rows) * located.copies
            texts += [located.example] * (len(rows) * located.copies if job.keep_texts else 0)
    if table.index:
        index = np.array(table.index, np.int64)
        ids = np.array(table.tokens, np.int32)
        record.files = write_shard(directory, job.name, index, ids, texts if job.keep_texts else None, table.features())
        record.rows, record.tokens = len(index), [int(total) for total in index[:, 1:].sum(0)]
    record.save(directory)
    return record


class _Table:
    """The rows of a shard as they gather; a row that an epoch repeats lies there once, and is named so often."""

    def __init__(self) -> None:
        self.tokens, self.index = array("i"), list[tuple[int, ...]]()
        self._sensed, self._places, self._length = list[NDArray[Any]](), list[tuple[int, int]](), 0

    def add(self, rows: Sequence[Row | SensedRow], copies: int) -> None:
        entries, places = [], []
        for row in rows:
            if isinstance(row, SensedRow):
                places.append((self._length, len(row.features)))
                self._sensed.append(row.features)
                self._length += len(row.features)
            columns = row.columns if isinstance(row, SensedRow) else row
            entries.append((len(self.tokens), *map(len, columns)))
            for column in columns:
                self.tokens.extend(column)
        self.index += entries * copies
        self._places += places * copies

    def features(self) -> Features | None:
        return Features(np.concatenate(self._sensed), np.array(self._places, np.int64)) if self._sensed else None


def in_parts(records: Iterator[Located], most: int, characters: int) -> Iterator[list[Located]]:
    """The records in lists of `most`, or fewer once their texts reach so many characters."""
    part: list[Located] = []
    size = 0
    for located in records:
        part.append(located)
        size += sum(map(len, located.example.texts))
        if len(part) == most or size >= characters:
            yield part
            part, size = [], 0
    if part:
        yield part


def _chain(first: list[Job], jobs: Iterator[Job]) -> Iterator[Job]:
    """All jobs; a job is forgotten as soon as it is given out."""
    while first:
        yield first.pop(0)
    yield from jobs


_worker_arguments: tuple[Any, ...] = ()


def _start_worker(directory: Path, tokenizer: Tokenizer, objective: Objective) -> None:
    global _worker_arguments
    _worker_arguments = (directory, tokenizer, objective)


def _work(job: Job) -> ShardRecord:
    return encode_shard(job, *_worker_arguments)
