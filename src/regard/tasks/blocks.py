"""Lines that are read some at a time, one of which may not be readable."""

from collections.abc import Iterator
from itertools import islice

from regard.errors import InputError


def block_of(lines: Iterator[str], size: int) -> tuple[list[str], InputError | None]:
    """The next lines, `size` of them or what is left; where one cannot be read those before it, and the refusal."""
    block: list[str] = []
    try:
        for line in islice(lines, size):
            block.append(line)  # those before a refusal are kept
    except InputError as refusal:
        return block, refusal
    return block, None
