"""The curves of a run, read from its `metrics.jsonl`."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from regard.errors import DataError

Kind = Literal["train", "validation"]
Record = Mapping[str, Any]  # one line of metrics.jsonl


class Point(NamedTuple):
    """A value at a step, or at whatever else a chart's axis says."""

    step: float  # optimizer updates done
    value: float  # may be NaN or infinite: a gap in the curve


@dataclass(frozen=True)
class Curves:
    """What a run logged, each kind in the order of its steps."""

    train: tuple[Record, ...] = ()
    validation: tuple[Record, ...] = ()
    unreadable: int = 0  # lines that a kill cut short

    @classmethod
    def from_metrics(cls, path: str | Path) -> Self:
        """Read a `metrics.jsonl`. Of steps that a resumed run did twice, the later account counts.

        Raises DataError if there is no such file. Lines that are not JSON objects (the torn last line of a killed run)
        are counted in `unreadable` and left out; kinds other than train and validation are passed over.
        """
        try:
            text = Path(path).read_text("utf-8", errors="replace")
        except OSError as error:
            raise DataError(f"cannot read the metrics {path}: {error.strerror or error}") from error
        lines = [line for line in text.split("\n") if line.strip()]
        records = [record for record in map(_parse, lines) if record is not None]
        kept = _without_undone(record for record in records if record["kind"] in ("train", "validation"))
        return cls(
            train=tuple(record for record in kept if record["kind"] == "train"),
            validation=tuple(record for record in kept if record["kind"] == "validation"),
            unreadable=len(lines) - len(records),
        )

    def points(self, kind: Kind, key: str) -> tuple[Point, ...]:
        """The curve of one key; records without it, or with null, have no point."""
        records = self.train if kind == "train" else self.validation
        values = ((record["step"], record.get(key)) for record in records)
        return tuple(Point(step, float(value)) for step, value in values if isinstance(value, int | float))


def _parse(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    known = isinstance(record, dict) and isinstance(record.get("kind"), str)
    if not known or (record["kind"] in ("train", "validation") and not isinstance(record.get("step"), int)):
        return None
    return record


def _without_undone(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """A run resumed from step 100 logs 150 again: what the killed run had logged from there on never came to be."""
    kept: dict[tuple[int, str], dict[str, Any]] = {}
    last = -1
    for record in records:
        step = record["step"]
        if step < last:
            kept = {place: earlier for place, earlier in kept.items() if place[0] < step}
        kept[step, record["kind"]] = record
        last = step
    return list(kept.values())


def thin(points: Sequence[Point], limit: int) -> tuple[Point, ...]:
    """At most `limit` points: each stands for as many neighbours, with the mean of their values at the last step."""
    group = math.ceil(len(points) / limit)
    if group <= 1:
        return tuple(points)
    runs = [points[start : start + group] for start in range(0, len(points), group)]
    return tuple(Point(run[-1].step, sum(point.value for point in run) / len(run)) for run in runs)
