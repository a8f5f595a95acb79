"""`regard plot`: the curves of several runs, as a page and as a picture."""

import math
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regard.commands.find_rate import require_matplotlib
from regard.errors import ConfigError, DataError, InputError
from regard.explain.comparison import MOST_RUNS, Against, Comparison, draw, render
from regard.explain.curves import Curves


def plot_runs(runs: Sequence[Path], output: Path, *, png: bool, against: str | None = None) -> None:
    """Write OUTPUT.html, and with `png` OUTPUT.png, and print their paths. Raises DataError for what is no run, and
    for a run whose file has no number at the key `against`."""
    if png:
        require_matplotlib("OUTPUT.png", "--no-png")
    comparison = read_runs(runs, against)
    if not comparison.charts:
        missing = "no step" if against is None else f"no {comparison.key} on validation"
        bids = "training.log_every" if against is None else "training.validate_every"
        raise DataError(f"{', '.join(map(str, runs))}: {missing} is logged yet, which {bids} bids")
    page, picture = (output.with_name(output.name + ending) for ending in (".html", ".png"))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(render(comparison), "utf-8")
        print(page)
        if png:
            draw(comparison, picture)
            print(picture)
    except OSError as error:
        raise InputError(f"cannot write {error.filename or output}: {error.strerror}") from error


def read_runs(runs: Sequence[Path], against: str | None = None) -> Comparison:
    """The logs of run directories, each under its shortest name that is its own; against: a key of their run files,
    over which the runs of one directory, a sweep's, are a line."""
    places = list(dict.fromkeys(path.resolve() for path in runs))
    lines = list(runs) if against is None else list(dict.fromkeys(place.parent for place in places))
    if len(lines) > MOST_RUNS:
        what = "runs" if against is None else "directories of runs"
        raise ConfigError(f"a chart tells at most {MOST_RUNS} {what} apart, but {len(lines)} are given: name fewer")
    missing = next((path for path in runs if not (path / "metrics.jsonl").is_file()), None)
    if missing is not None:
        raise DataError(f"{missing} is no run directory that has logged anything: it has no metrics.jsonl")
    names = _names(places)
    curves = {names[place]: Curves.from_metrics(place / "metrics.jsonl") for place in places}
    return Comparison(curves, _key(places), None if against is None else _against(against, names, _names(lines)))


def _names(places: Sequence[Path]) -> dict[Path, str]:
    """Of each the shortest end of its path that no other has."""
    most = max(len(place.parts) for place in places)
    ends = {place: ["/".join(place.parts[-count:]) for count in range(1, most + 1)] for place in places}
    known = Counter(end for own in ends.values() for end in dict.fromkeys(own))
    return {place: next((end for end in own if known[end] == 1), str(place)) for place, own in ends.items()}


def _against(key: str, runs: Mapping[Path, str], lines: Mapping[Path, str]) -> Against:
    found: dict[str, dict[str, float]] = {name: {} for name in lines.values()}
    for place, name in runs.items():
        found[lines[place.parent]][name] = _value(place / "run.toml", key)
    return Against(key, found)


def _value(file: Path, key: str) -> float:
    """A number of a run file, by its path such as data.limit."""
    try:
        value: Any = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {file}: {error}") from error
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        said = "does not say" if value is None else f"has {value!r} as"
        raise DataError(f"{file} {said} {key}, but --against needs a number of each run")
    return value


def _key(places: Sequence[Path]) -> str:
    """What all runs hold their best checkpoint for; the loss where they differ, or do not say."""
    found = {_best(place / "run.toml") for place in places}
    return found.pop() if len(found) == 1 else "loss"


def _best(file: Path) -> str:
    try:
        return str(tomllib.loads(file.read_text("utf-8"))["training"]["best"])
    except (OSError, ValueError, KeyError, TypeError):
        return "loss"
