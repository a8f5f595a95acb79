"""The verb that takes a model to another runtime."""

from pathlib import Path
from typing import Annotated, Literal

import typer

verbs = typer.Typer()


@verbs.command()
def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model or run directory, .gguf, name or hub id.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the exported model goes.")],
    to: Annotated[Literal["openvino"], typer.Option("--to", help="The runtime.")] = "openvino",
    weights: Annotated[
        Literal["float32", "bfloat16", "int8"], typer.Option("--weights", help="How the weights are stored.")
    ] = "float32",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is there.")] = False,
) -> None:
    """Write a model that generates text for a runtime that needs neither TensorFlow nor Keras.

    All verbs that generate read DIR as they read the model: the same options, the same results. int8 stores each row of
    a matrix by its own scale: a quarter of the size, faster, and not quite the same numbers.

    \b
    Examples:
      regard export runs/en-de exported/en-de
      regard export runs/en-de exported/en-de-int8 --weights int8
      regard translate exported/en-de-int8 "Hello world"
    """
    from regard.commands.export import export_model

    export_model(model, directory, weights=weights, overwrite=overwrite)
