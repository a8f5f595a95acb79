"""The labels of a checkpoint's head, by id."""

from collections.abc import Mapping
from typing import Any

from regard.errors import CheckpointError


def label_names(config: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """`id2label` of a config.json, in the order of the ids; LABEL_0 and so on, as in Transformers, where it says none.

    Raises CheckpointError where its ids are not those of the head.
    """
    named = config.get("id2label")
    if named is None:
        return tuple(f"LABEL_{number}" for number in range(count))
    if not isinstance(named, Mapping) or sorted(map(str, named)) != sorted(map(str, range(count))):
        raise CheckpointError(f"config.json: id2label must name the ids 0 to {count - 1}, but is {named!r}")
    by_id = {int(number): str(name) for number, name in named.items()}
    return tuple(by_id[number] for number in range(count))
