"""The verbs that make a model ready for another runtime."""

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
    shortlist: Annotated[
        Path | None,
        typer.Option("--shortlist", metavar="FILE", help="Score only these tokens: faster, not quite the same."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is there.")] = False,
) -> None:
    """Write a model that generates text for a runtime that needs neither TensorFlow nor Keras.

    All verbs that generate read DIR as they read the model: the same options, the same results. int8 stores each row of
    a matrix by its own scale: a quarter of the size, faster, and not quite the same numbers.

    \b
    Examples:
      regard export runs/en-de exported/en-de
      regard export runs/en-de exported/en-de-int8 --weights int8 --shortlist en-de.safetensors
      regard translate exported/en-de-int8 "Hello world"
    """
    from regard.commands.export import export_model

    export_model(model, directory, weights=weights, shortlist=shortlist, overwrite=overwrite)


@verbs.command()
def shortlist(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory of a translator, with its data.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the shortlist goes.")],
    best: Annotated[int, typer.Option("--best", help="Likeliest translations of each token of a source.")] = 100,
    frequent: Annotated[int, typer.Option("--frequent", help="Most frequent tokens, which any text may have.")] = 100,
    pairs: Annotated[int, typer.Option("--pairs", help="Training pairs to count in, at most.")] = 200_000,
) -> None:
    """Count which tokens a source may translate to, so that a translator need not score all of its vocabulary.

    The likeliest translations of each token are those of IBM Model 1 (Brown et al. 1993) over the run's training pairs.
    stderr says how many tokens a sentence of the validation split keeps, and how much of its translation is among them.
    `translate`, `evaluate` and `export` take the file by --shortlist, for OpenVINO; what is not in it cannot be
    written.

    \b
    Examples:
      regard shortlist runs/en-de en-de.safetensors
      regard shortlist runs/en-de en-de.safetensors --best 50 --frequent 200
      regard evaluate runs/en-de --engine openvino --shortlist en-de.safetensors
      regard translate runs/en-de --engine openvino --shortlist en-de.safetensors -
    """
    from regard.commands.shortlist import make_shortlist

    make_shortlist(run, file, frequent=frequent, best=best, pairs=pairs)
