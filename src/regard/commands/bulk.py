"""`--workers N` and `--output FILE`: many lines through processes that each hold the model, in order and resumable.

The lines go out in blocks; what comes back is written in the order of the lines, as soon as all before it is there. A
process that dies takes no line with it: its block goes to another. Beside FILE grows a journal, FILE.journal: how many
lines are answered, how long FILE is then, a hash of those lines, and what was asked for. Whatever stands in FILE beyond
it is what a kill cut short, and is written again. The journal goes when all is done.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from regard.commands.bulk_blocks import Answer, Block, LineTask, answer_block, asked_of, in_blocks
from regard.commands.bulk_ray import answered_on_ray, require_ray
from regard.commands.launch import threads
from regard.commands.text import warn_of_unfinished
from regard.data.processes import interrupts_blocked, process_pool
from regard.errors import InputError, RegardError

AHEAD = 2  # blocks in the hands of each process, or waiting for it
MOST_DEATHS = 3  # of processes, without an answered block in between


class Bulk(NamedTuple):
    """What was asked for of many lines."""

    workers: int | None = None  # processes
    output: Path | None = None  # instead of stdout
    resume: bool = False  # go on where an earlier process was ended that wrote `output`
    launcher: str = "local"  # where the processes start: "local", or on a "ray" cluster

    @property
    def wanted(self) -> bool:
        """Whether anything was."""
        return self != Bulk()


def answer_lines(task: LineTask, lines: Iterable[str], bulk: Bulk, file: Path | None = None) -> None:
    """Answer all lines, onto stdout or into a file; notes go to stderr. file: that they are read from; None: stdin.

    Raises InputError where what was asked for cannot be, and RegardError where processes die again and again.
    """
    workers = 1 if bulk.workers is None else bulk.workers
    if workers < 1:
        raise InputError(f"--workers must be at least 1, but is {workers}")
    if bulk.resume and bulk.output is None:
        raise InputError("--resume goes on in a file: name it by --output")
    if bulk.launcher != "local" and bulk.workers is None:
        raise InputError(f"--launcher {bulk.launcher} starts the processes that --workers counts: say how many")
    if bulk.output is not None and not isinstance(lines, Sequence):
        _check_apart(file, bulk.output)
    answered = _answered
    if bulk.launcher == "ray":
        require_ray()  # before a file is begun
        answered = answered_on_ray
    with Sink.open(bulk.output, bulk.resume, asked_of(task)) as sink:
        remaining = sink.skip_answered(iter(lines))
        for block, answer in answered(task, in_blocks(remaining, sink.lines, workers), workers):
            for note in answer.notes:
                print(f"regard: {note}", file=sys.stderr)
            sink.write(block, answer)
        sink.done()
        warn_of_unfinished(sink.unfinished, sink.lines, task.what)


class Sink:
    """Where answers go, in order; with a journal where that is a file."""

    def __init__(self, file: IO[bytes], journal: Path | None, asked: Mapping[str, str]) -> None:
        self.file, self.journal, self.asked = file, journal, asked
        self.replaces = False  # what an earlier command wrote, which stays until there is something new
        self.lines = self.unfinished = 0  # answered so far
        self._hash = hashlib.sha256()
        self._expected: str | None = None  # of the lines that an earlier process answered

    @classmethod
    def open(cls, output: Path | None, resume: bool, asked: Mapping[str, str]) -> Self:
        """asked: for what, by name. Raises InputError for a file that is there, or is half done, and was not to be gone
        on with, or by something else than was asked for."""
        if output is None:
            return cls(sys.stdout.buffer, None, asked)
        journal = output.with_name(output.name + ".journal")
        size, record = _size(output), _last_record(journal)
        if record is not None and not resume:
            raise InputError(f"{output} is half done ({record['lines']} lines): add --resume, or remove {journal}")
        if record is None and resume and output.exists():
            raise InputError(f"{output} has no journal to go on by ({journal}): it is whole, or of another origin")
        if record is not None and size is not None and size < record["bytes"]:
            raise InputError(
                f"{output} has {size} bytes, but {journal} knows of {record['bytes']}: put it back, or remove both"
            )
        if record is not None:
            _check_same(output, record.get("asked"), asked)
        try:
            sink = cls(output.open("r+b" if record is not None or size else "wb"), journal, asked)
            sink.replaces = record is None and bool(size)
            if not sink.replaces:
                journal.touch()  # before a line is in the file: what is there without one is nobody's half
        except OSError as error:
            raise InputError(f"cannot write {output}: {error.strerror}") from error
        if record is not None:
            sink.file.truncate(record["bytes"])
            sink.file.seek(0, os.SEEK_END)
            sink.lines, sink.unfinished, sink._expected = record["lines"], record["unfinished"], record["sha256"]
        return sink

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.journal is not None:
            self.file.close()

    def skip_answered(self, lines: Iterator[str]) -> Iterator[str]:
        """What is left of the lines. Raises InputError where those answered are not the ones that were before."""
        if self._expected is None:
            return lines
        count = 0
        for line in islice(lines, self.lines):
            self._take([line])
            count += 1
        if count < self.lines or self._hash.hexdigest() != self._expected:
            raise InputError(
                f"the input is not the one that {self.file.name} was begun with: its first {self.lines} lines differ; "
                "give that one, or another --output"
            )
        return lines

    def write(self, block: Block, answer: Answer) -> None:
        """The answer is in the file before the journal says so."""
        self._begin_anew()
        self.file.write(answer.output.encode("utf-8", errors="backslashreplace"))
        self.file.flush()
        self._take(block.lines)
        self.lines += len(block.lines)
        self.unfinished += answer.unfinished
        if self.journal is not None:
            os.fsync(self.file.fileno())
            record = {"lines": self.lines, "bytes": self.file.tell(), "unfinished": self.unfinished}
            with self.journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**record, "sha256": self._hash.hexdigest(), "asked": self.asked}) + "\n")

    def done(self) -> None:
        """All lines are answered: the journal goes."""
        self._begin_anew()
        if self.journal is not None:
            self.journal.unlink(missing_ok=True)

    def _begin_anew(self) -> None:
        """Let go of what an earlier command wrote: whatever fails before there is an answer costs nothing."""
        if self.replaces and self.journal is not None:
            self.journal.touch()
            self.file.truncate(0)
            self.replaces = False

    def _take(self, lines: list[str]) -> None:
        for line in lines:
            self._hash.update(line.encode("utf-8", errors="surrogatepass") + b"\n")


def _last_record(journal: Path) -> Mapping[str, Any] | None:
    """The last line that is whole; None where there is none."""
    try:
        lines = journal.read_bytes().splitlines()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read {journal}: {error.strerror}") from error
    nothing: dict[str, Any] = {"lines": 0, "bytes": 0, "unfinished": 0, "sha256": hashlib.sha256().hexdigest()}
    for line in reversed(lines):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and all(type(record.get(key)) is type(nothing[key]) for key in nothing):
            return record
    return nothing


def _check_same(output: Path, before: Any, asked: Mapping[str, str]) -> None:
    """before: None of no lines. Raises InputError for the first thing that is asked for in another way."""
    if not isinstance(before, dict):
        return
    for name in sorted(before.keys() | asked.keys()):
        if before.get(name) != asked.get(name):
            raise InputError(
                f"{output} was begun with {name} = {before.get(name, 'its default')}, but is to be gone on with by "
                f"{asked.get(name, 'its default')}: give what it was begun with, or another --output"
            )


def _size(output: Path) -> int | None:
    """In bytes; None where there is no file. Raises InputError for what is no file, which nobody can go on with."""
    if output.exists() and not output.is_file():
        raise InputError(f"cannot write {output}: it is no file; without --output all goes to stdout")
    return output.stat().st_size if output.exists() else None


def _check_apart(file: Path | None, output: Path) -> None:
    """Raise InputError where the answers would go into the file (None: stdin) that the lines are read from."""
    with contextlib.suppress(OSError):  # what is not there is another one
        read = os.stat(0 if file is None or str(file) == "-" else file)
        if os.path.samestat(read, output.stat()):
            raise InputError(f"{output} is the file that is read, and would lose its lines: give another --output")


@dataclass
class _Asked:
    block: Block
    future: Future[Answer] | None = None


def _answered(task: LineTask, blocks: Iterator[Block], workers: int) -> Iterator[tuple[Block, Answer]]:
    """Each block with its answer, in order. Raises RegardError where processes die and nothing comes of it."""
    os.environ.update(threads(workers))  # before a process imports what reads it
    waiting, deaths = _Waiting(blocks), 0
    while True:
        with process_pool(workers, _begin, task) as pool:
            asked: deque[_Asked] = deque()
            try:
                while True:
                    while len(asked) < workers * AHEAD and (block := waiting.next()) is not None:
                        asked.append(_Asked(block))  # before the pool can say that it is broken
                        with interrupts_blocked():
                            asked[-1].future = pool.submit(_work, block)
                    if not asked:
                        waiting.check()
                        return
                    assert asked[0].future is not None
                    answer = asked[0].future.result()
                    deaths = 0
                    yield asked.popleft().block, answer
            except BrokenProcessPool:
                deaths += 1
                waiting.given_back.extendleft(each.block for each in reversed(asked))
                _say_that_one_died(waiting.given_back[0], deaths)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


class _Waiting:
    """The blocks that no process has: those of one that died, and those to come."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self.given_back: deque[Block] = deque()
        self._blocks = blocks
        self._refusal: InputError | None = None  # of a line that cannot be read

    def next(self) -> Block | None:
        """None where there is no more."""
        if self.given_back:
            return self.given_back.popleft()
        try:
            return next(self._blocks, None)
        except InputError as refusal:
            self._refusal = refusal
            return None

    def check(self) -> None:
        """All blocks are answered: raise the InputError that there were no more for, if there is one."""
        if self._refusal is not None:
            raise self._refusal


def _say_that_one_died(block: Block, deaths: int) -> None:
    lines = f"lines {block.first + 1} to {block.first + len(block.lines)}"
    if deaths == MOST_DEATHS:
        raise RegardError(
            f"{deaths} times in a row a process died, the last time with {lines} unanswered: for want of memory, use "
            "fewer --workers or a smaller --batch-tokens"
        )
    print(f"regard: WARNING: a process died; its lines are given to another, from {lines} on", file=sys.stderr)


_task: LineTask
_loaded: Any = None


def _begin(task: LineTask) -> None:
    global _task
    _task = task


def _work(block: Block) -> Answer:
    global _loaded
    if _loaded is None:  # here and not where the process begins: an error there says nothing but that it died
        _loaded = _task.load()
    return answer_block(_task, _loaded, block)
