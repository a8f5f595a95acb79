"""`regard plot`: the curves of several runs, as a page and as a picture."""

import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from regard.commands.find_rate import require_matplotlib
from regard.errors import ConfigError, DataError, InputError
from regard.explain.comparison import MOST_RUNS, Comparison, draw, render
from regard.explain.curves import Curves


def plot_runs(runs: Sequence[Path], output: Path, *, png: bool) -> None:
    """Write OUTPUT.html, and with `png` OUTPUT.png, and print their paths. Raises DataError for what is no run."""
    if png:
        require_matplotlib("OUTPUT.png", "--no-png")
    comparison = read_runs(runs)
    if not comparison.charts:
        raise DataError(f"{', '.join(map(str, runs))}: no step is logged yet, which training.log_every bids")
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


def read_runs(runs: Sequence[Path]) -> Comparison:
    """The logs of run directories, each under its shortest name that is its own."""
    if len(runs) > MOST_RUNS:
        raise ConfigError(f"a chart tells at most {MOST_RUNS} runs apart, but {len(runs)} are given: name fewer")
    places = list(dict.fromkeys(path.resolve() for path in runs))
    missing = next((path for path in runs if not (path / "metrics.jsonl").is_file()), None)
    if missing is not None:
        raise DataError(f"{missing} is no run directory that has logged anything: it has no metrics.jsonl")
    known = Counter(place.name for place in places)
    names = [place.name if known[place.name] == 1 else str(place) for place in places]
    curves = {name: Curves.from_metrics(place / "metrics.jsonl") for name, place in zip(names, places, strict=True)}
    return Comparison(curves, _key(places))


def _key(places: Sequence[Path]) -> str:
    """What all runs hold their best checkpoint for; the loss where they differ, or do not say."""
    found = {_best(place / "run.toml") for place in places}
    return found.pop() if len(found) == 1 else "loss"


def _best(file: Path) -> str:
    try:
        return str(tomllib.loads(file.read_text("utf-8"))["training"]["best"])
    except (OSError, ValueError, KeyError, TypeError):
        return "loss"
