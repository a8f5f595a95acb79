"""The verbs that look for a run's learning rate and its batch size."""

from pathlib import Path
from typing import Annotated

import typer

from regard.cli.options import Json, Output, Overrides

verbs = typer.Typer()


@verbs.command("find-rate")
def find_rate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run file, or a run directory.")],
    output: Output = None,
    overrides: Overrides = None,
    low: Annotated[float, typer.Option("--from", help="The first rate.")] = 1e-7,
    high: Annotated[float, typer.Option("--to", help="The last rate.")] = 1.0,
    steps: Annotated[int, typer.Option("--steps", help="Steps of the search.")] = 100,
    table: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write every step there, too.")] = None,
    chart: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Draw the losses (matplotlib).")] = None,
    as_json: Json = False,
) -> None:
    """Find a learning rate: train a fresh network for some steps at rates that rise, and see where its loss falls.

    The data are prepared as `prepare` does; nothing else is left in the run directory, and no training is changed.

    \b
    Examples:
      regard find-rate run.toml
      regard find-rate run.toml --from 1e-5 --to 0.1 --steps 200 --csv rates.csv
      regard find-rate runs/first --set training.optimizer.name=muon --json
    """
    from regard.commands.find_rate import find_run_rate

    find_run_rate(
        run, output, overrides or (), low=low, high=high, steps=steps, table=table, chart=chart, as_json=as_json
    )


@verbs.command("find-batch")
def find_batch(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run file, or a run directory.")],
    output: Output = None,
    overrides: Overrides = None,
    memory: Annotated[
        float | None,
        typer.Option("--memory", metavar="GB", help="What training may hold; absent: 0.8 of what is free."),
    ] = None,
    largest: Annotated[
        int | None, typer.Option("--to", help="The largest size to try; absent: 65,536 tokens or 1,024 images.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find a batch size: take single steps at sizes that double, and see what memory each takes.

    The table also says how fast each size trains: a larger one is not always faster. `training.batch_tokens = "auto"`
    (of images batch_images, of sounds batch_recordings) does the same before the first step of a run. The data are
    prepared as `prepare` does; nothing else is left in the run directory.

    \b
    Examples:
      regard find-batch run.toml
      regard find-batch run.toml --memory 4 --to 16384
      regard find-batch runs/first --set model.preset=base --json
    """
    from regard.commands.find_batch import find_run_batch

    find_run_batch(run, output, overrides or (), memory=memory, largest=largest, as_json=as_json)
