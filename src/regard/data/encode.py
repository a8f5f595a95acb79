"""Text -> shards, in processes. Nothing here imports TensorFlow: a worker starts in a fraction of a second."""

import json
import multiprocessing
import os
import signal
import threading
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from regard.data.shards import write_file, write_shard
from regard.data.sources import DropReport, Located
from regard.errors import DataError
from regard.features.tokenizer import Tokenizer

_SLICE_PAIRS, _SLICE_CHARACTERS = 1024, 1_000_000  # tokenised at once: each token takes 0.2 KB for that long


@dataclass(frozen=True)
class Rules:
    """Which pairs are kept. Lengths count what the model reads: tag and eos too."""

    max_tokens: int
    max_ratio: float | None
    language_tags: bool

    def objection(self, source: int, target: int) -> str | None:
        """Why a pair of these lengths is dropped; None where it is kept."""
        if max(source, target) > self.max_tokens:
            return f"longer than data.max_tokens = {self.max_tokens}"
        if self.max_ratio is not None and max(source, target) > self.max_ratio * min(source, target):
            return f"length ratio above data.max_ratio = {self.max_ratio:g}"
        return None


@dataclass(frozen=True)
class Job:
    """One shard to write: its name without suffix, its pairs, and whether their raw text is kept."""

    name: str
    pairs: Sequence[Located]
    keep_texts: bool


@dataclass
class ShardRecord:
    """What a finished shard says of itself, in `<name>.json` beside it: the file that makes it complete."""

    name: str
    read: int = 0  # pairs that the job held
    pairs: int = 0  # rows of the index: a pair that is repeated counts each time
    source_tokens: int = 0
    target_tokens: int = 0
    files: dict[str, str] = field(default_factory=dict)
    dropped: DropReport = field(default_factory=DropReport)

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
        return cls(**values | {"dropped": DropReport(**values["dropped"])})


def encode_shards(
    jobs: Iterator[Job], directory: Path, tokenizer: Tokenizer, rules: Rules, workers: int
) -> Iterator[ShardRecord]:
    """Write the shards, `workers` at a time, and give their records in order.

    A single job, or a single worker, runs in this process. At most `workers` + 1 jobs are in memory.
    """
    first = list(islice(jobs, 2))
    if workers == 1 or len(first) < 2:
        for job in _chain(first, jobs):
            yield encode_shard(job, directory, tokenizer, rules)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads (TensorFlow's) can hang
    with ProcessPoolExecutor(workers, context, _start_worker, (directory, tokenizer, rules)) as pool:
        pending: deque[Future[ShardRecord]] = deque()
        try:
            for job in _chain(first, jobs):
                with _interrupts_blocked():
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


def encode_shard(job: Job, directory: Path, tokenizer: Tokenizer, rules: Rules) -> ShardRecord:
    """Tokenise the pairs of one shard and write its files, its record last."""
    record = ShardRecord(job.name, read=len(job.pairs))
    tokens, rows, texts = array("i"), [], []
    for located, source, target in _kept_pairs(job.pairs, tokenizer, rules, record.dropped):
        rows += [(len(tokens), len(source), len(target))] * located.copies
        texts += [located.example] * (located.copies if job.keep_texts else 0)
        tokens.extend(source)
        tokens.extend(target)
    if rows:
        index = np.array(rows, np.int64)
        ids = np.array(tokens, np.int32)
        record.files = write_shard(directory, job.name, index, ids, texts if job.keep_texts else None)
        record.pairs, record.source_tokens, record.target_tokens = len(index), *map(int, index[:, 1:].sum(0))
    record.save(directory)
    return record


def _kept_pairs(
    pairs: Sequence[Located], tokenizer: Tokenizer, rules: Rules, dropped: DropReport
) -> Iterator[tuple[Located, list[int], list[int]]]:
    tag_ids: dict[str | None, int] = {}
    for part in in_parts(iter(pairs), _SLICE_PAIRS, _SLICE_CHARACTERS):
        sources = tokenizer.encode_batch([located.example.source for located in part])
        targets = tokenizer.encode_batch([located.example.target for located in part])
        for located, source, target in zip(part, sources, targets, strict=True):
            if rules.language_tags:
                language = located.example.target_lang
                if language not in tag_ids:
                    tag_ids[language] = _tag_id(located, tokenizer)
                source = [tag_ids[language], *source]
            objection = rules.objection(len(source), len(target))
            if objection is None:
                yield located, source, target
            else:
                dropped.add(objection, located.place)


def in_parts(pairs: Iterator[Located], most: int, characters: int) -> Iterator[list[Located]]:
    """The pairs in lists of `most`, or fewer once their texts reach so many characters."""
    part: list[Located] = []
    size = 0
    for located in pairs:
        part.append(located)
        size += len(located.example.source) + len(located.example.target)
        if len(part) == most or size >= characters:
            yield part
            part, size = [], 0
    if part:
        yield part


def language_tag(language: str) -> str:
    """Marian's spelling of a target language at the head of a source."""
    return f">>{language}<<"


def _tag_id(located: Located, tokenizer: Tokenizer) -> int:
    language = str(located.example.target_lang)
    tag_id = tokenizer.tag_id(language_tag(language))
    if tag_id is None:
        known = ", ".join(tokenizer.tags) or "no language tag"
        raise DataError(f"{located.place}: the target language is {language!r}, but the tokenizer knows {known}")
    return tag_id


def _chain(first: list[Job], jobs: Iterator[Job]) -> Iterator[Job]:
    """All jobs; a job is forgotten as soon as it is given out."""
    while first:
        yield first.pop(0)
    yield from jobs


_worker_arguments: tuple[Any, ...] = ()


def _start_worker(directory: Path, tokenizer: Tokenizer, rules: Rules) -> None:
    global _worker_arguments
    _worker_arguments = (directory, tokenizer, rules)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent too, and with it this process ends
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    threading.Thread(target=_end_with_parent, daemon=True).start()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A process that is started within inherits the block: Ctrl-C cannot reach it before it ignores it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(job: Job) -> ShardRecord:
    return encode_shard(job, *_worker_arguments)
