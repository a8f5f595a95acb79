"""What a builder of `regard.corpora` made, as records with their places."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain, count, repeat

from regard.config import TaskName
from regard.data.objectives.objective import Objective
from regard.data.sources import Located, Place
from regard.errors import ConfigError


@dataclass(frozen=True)
class Built:
    """parts: the names of those that training is made of, in order, where the builder says any; a record's `corpus` is
    the number of its part. notes: what is worth keeping in the manifest."""

    splits: dict[str, list[Located]] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


NOTHING_BUILT = Built()  # where a run file names files


def built_by(name: str, task: TaskName, objective: Objective, say: Callable[[str], None]) -> Built:
    """Run a builder. Raises ConfigError where no builder has this name, or it is for other tasks."""
    from regard.corpora import BUILDERS, build

    tasks = BUILDERS[name].tasks if name in BUILDERS else ()
    if tasks and task not in tasks:
        raise ConfigError(f"data.builder = {name!r} is for {' or '.join(tasks)}, but task is {task!r}")
    built = build(name, None, say)
    splits = {}
    for split, items in (("train", built.train), ("validation", built.validation), ("test", built.test)):
        parts = enumerate(built.parts.values() if split == "train" else ())
        numbers = chain((number for number, size in parts for _ in range(size)), repeat(0))
        places = (Place(f"{name} {split}", number) for number in count(1))
        records = zip(map(objective.built, items), places, numbers, strict=False)
        splits[split] = [Located(record, place, corpus=number) for record, place, number in records]
    counts = ", ".join(f"{what} {number:,}" for what, number in built.counts.items())
    return Built(splits, tuple(built.parts), (f"{name}: {built.source}", f"{name}: {counts}"))
