"""`regard find-rate`: the learning rate that a run bears, before it is trained."""

import csv
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from regard.commands.engine import import_tensorflow
from regard.commands.train import resolve_run
from regard.config import RunConfig
from regard.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from regard.training.rate_finder import Finding

_ROWS = 20  # of the table
_MAGNITUDE = 10 * (1 + 1e-9)


def find_run_rate(
    run: Path,
    output: Path | None,
    overrides: Sequence[str],
    *,
    low: float,
    high: float,
    steps: int,
    table: Path | None,
    chart: Path | None,
    as_json: bool,
) -> None:
    """Search, print losses by rate and the rate suggested; `table`: where every step goes as CSV; `chart`: as PNG."""
    config, directory = resolve_run(run, output, overrides)
    if chart is not None:
        require_matplotlib()
    import_tensorflow()
    from regard.training.rate_finder import find_rate
    from regard.training.streams import share_cores
    from regard.training.trainer import streams_to_be

    share_cores(streams_to_be(config, directory))  # as `regard train` does

    found = find_rate(config, directory, low=low, high=high, steps=steps, console=Console(stderr=True))
    if table is not None:
        _write_table(table, found.trials)
    if chart is not None:
        _draw(chart, found)
    if as_json:
        print(json.dumps({**found._asdict(), "trials": [trial._asdict() for trial in found.trials]}))
        return
    every = max(1, -(-len(found.trials) // _ROWS))
    print("    rate      loss  smoothed")
    for trial in found.trials[::every]:
        print(f"{trial.rate:.2e}  {trial.loss:8.4f}  {trial.smoothed:8.4f}")
    print(found.ended)
    print(_advice(found.suggested, config))
    if found.suggested is not None:
        print(_caution(found.factor, low, high))


def _advice(suggested: float | None, config: RunConfig) -> str:
    if suggested is None:
        return "no rate is suggested: the loss did not fall; try a higher --to, a lower --from, or more --steps"
    fell, schedule = f"the loss fell fastest at {suggested:.2e}: set training.schedule.", config.training.schedule
    if schedule.name == "paper":
        return f"{fell}scale, so that the highest rate is {suggested:.1e}"
    by_scale = "" if schedule.scale == 1 else f", which training.schedule.scale = {schedule.scale:g} multiplies"
    return f"{fell}peak = {suggested / schedule.scale:.1e}{by_scale}"


def _caution(factor: float, low: float, high: float) -> str:
    """How good the suggestion is."""
    from regard.training.rate_finder import REACH, enough_steps

    rise = f"the smoothed loss looks back on {REACH} steps, in which the rate rose {factor:,.0f}-fold"
    if factor <= _MAGNITUDE:
        return f"{rise}: so it may be off by up to that factor"
    return (
        f"WARNING: that is a guess, not even good to its order of magnitude: {rise}; give --steps "
        f"{enough_steps(low, high)} or more, or a --from and a --to that are nearer to it"
    )


def _write_table(path: Path, trials: Sequence[tuple[float, float, float]]) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("rate", "loss", "smoothed"), *trials])
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def require_matplotlib(what: str = "--png", instead: str = "--csv") -> None:
    """Raise MissingDependencyError where the package is not installed. instead: the option that does without."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError(
            f"{what} needs the package matplotlib: pip install 'regard[plot]', or use {instead}"
        )


def _draw(path: Path, found: "Finding") -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    rates = [trial.rate for trial in found.trials]
    axes.semilogx(rates, [trial.loss for trial in found.trials], color="0.8", label="loss")
    axes.semilogx(rates, [trial.smoothed for trial in found.trials], label="smoothed")
    if found.suggested is not None:
        axes.axvline(found.suggested, color="0.5", linestyle="--", label=f"suggested: {found.suggested:.1e}")
    axes.set(xlabel="learning rate", ylabel="loss (nats)")
    axes.legend()
    try:
        figure.savefig(path, format="png", dpi=150)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
