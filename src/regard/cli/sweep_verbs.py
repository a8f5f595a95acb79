"""The verbs over several runs: train every combination, and compare what was trained."""

from pathlib import Path
from typing import Annotated

import typer

from regard.cli.options import Json, RunFile

verbs = typer.Typer()


@verbs.command()
def sweep(
    run: RunFile,
    overrides: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE,VALUE", help="A key of the run file and its values; may be repeated."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Of all runs. Default: runs/NAME-sweep.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a run file at every combination of some values, one after the other, and rank them by validation.

    Each combination is a run directory; the same command goes on with those that are not done. Data that several have
    in common are prepared once. The table shows the best value of training.best, best run first; exit code 1: one
    failed.

    \b
    Examples:
      regard sweep run.toml --set training.schedule.peak=3e-4,1e-3,3e-3
      regard sweep run.toml --set training.optimizer.name=adam,lion --set seed=1,2 --set training.steps=500 -o runs/grid
      regard sweep run.toml --set size=tiny,small --json
    """
    from regard.commands.sweep import sweep_runs

    raise typer.Exit(sweep_runs(run, output, overrides, as_json=as_json))


@verbs.command()
def plot(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run directories, finished or not; 8 at most, or of 8 directories."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="NAME", help="What is written is NAME.html and NAME.png.")
    ] = Path("comparison"),
    png: Annotated[bool, typer.Option("--png/--no-png", help="The picture too, which needs matplotlib.")] = True,
    against: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Draw each run's best validation score over a key of its run file."),
    ] = None,
) -> None:
    """Compare the curves of runs: losses, scores, rates and speed, as a page and as a picture.

    The page is one file that needs no network. What was written is printed. With --against there is one chart, of best
    scores, with a line for the runs of each directory.

    \b
    Examples:
      regard plot runs/first
      regard plot runs/run-sweep/* -o sweep
      regard plot runs/first runs/second --no-png
      regard plot runs/small-sweep/* runs/large-sweep/* --against data.limit
    """
    from regard.commands.plot import plot_runs

    plot_runs(runs, output, png=png, against=against)
