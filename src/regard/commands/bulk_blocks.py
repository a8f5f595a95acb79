"""Many lines as blocks: what goes out to the processes of a bulk command, and what comes back."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from regard.errors import InputError
from regard.tasks.blocks import blocks
from regard.tasks.locate import weights_mark

BLOCK = 64  # lines at a time to a process, at first
_MODELS = {"model", "assistant"}  # under the same path may stand another one by now
_OF_THE_SPEED = {"batch_tokens"}  # what changes no answer
LARGEST_BLOCK = 512  # and later: lines of like lengths, which a batch is made of, are found among so many


class Answer(NamedTuple):
    """What becomes of a block of lines."""

    output: str  # for stdout, line ends included
    notes: tuple[str, ...] = ()  # for stderr
    unfinished: int = 0  # texts that were cut at max_new_tokens


class LineTask(Protocol):
    """A task over lines, as it travels to a process: it holds what was asked for, and no model."""

    what: ClassVar[str]  # of the texts that it writes

    def load(self) -> Any:
        """The task, with its model."""

    def answer(self, task: Any, lines: list[str], first: int) -> Answer:
        """For lines of which the first has this number, from 0; a pure function of them."""


class Block(NamedTuple):
    """Some lines, and where they begin, from 0."""

    first: int
    lines: list[str]


def in_blocks(lines: Iterator[str], first: int, workers: int) -> Iterator[Block]:
    """The lines from number `first` on, some at a time: the more there have been, the larger a block. At a quarter of
    what each process has had, the last one does not keep the others waiting for long. A line that cannot be read is an
    InputError after those before it."""
    for block in blocks(lines, lambda given: min(max(BLOCK, given // (4 * workers)), LARGEST_BLOCK)):
        yield Block(first, block)
        first += len(block)


def answer_block(task: LineTask, loaded: Any, block: Block) -> Answer:
    """By the task's model. Raises InputError that says which lines they were."""
    try:
        return task.answer(loaded, block.lines, block.first)
    except InputError as error:
        last = block.first + len(block.lines)
        raise InputError(f"in lines {block.first + 1} to {last} of the input: {error}") from None


def asked_of(task: Any) -> dict[str, str]:
    """By name, what a task holds that makes it another one: a file of answers is gone on with by the same alone."""
    if isinstance(task, Mapping):
        held = dict(task)
    else:
        held = {field.name: getattr(task, field.name) for field in fields(task) if field.compare}
    found: dict[str, str] = {}
    for name, value in held.items():
        if isinstance(value, Mapping) or is_dataclass(value):
            found |= asked_of(value)
        elif name not in _OF_THE_SPEED:
            found[name] = str(value)
        if name in _MODELS and value is not None:
            found[f"the weights of {name}"] = weights_mark(value)
    return found
