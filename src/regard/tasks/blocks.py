"""Lines that are read some at a time, one of which may not be readable."""

from collections.abc import Callable, Iterator
from itertools import islice

from regard.errors import InputError


def blocks(lines: Iterator[str], size: Callable[[int], int]) -> Iterator[list[str]]:
    """The lines, size(how many there were before) of them at a time. One that cannot be read is an InputError after
    those before it."""
    given, refusal = 0, None
    while refusal is None:
        block: list[str] = []
        try:
            for line in islice(lines, size(given)):
                block.append(line)  # those before a refusal are kept
        except InputError as error:
            refusal = error
        if block:
            yield block
        elif refusal is None:
            return
        given += len(block)
    raise refusal
