"""The verbs over a checkpoint as such: into another directory, and against Transformers."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from regard.cli.options import Json

verbs = typer.Typer()


@verbs.command()
def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC", help="A model or run directory, a .gguf file, an installed model's name, or a hub id."
        ),
    ],
    target: Annotated[Path, typer.Argument(metavar="DST", help="The directory to write.")],
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option("--dtype", help="Of the weights; auto: as they are stored."),
    ] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a checkpoint as safetensors, in a directory that Hugging Face Transformers loads.

    The tokenizer and what else stands beside the weights go along. What was written goes to stdout, what was not
    carried over to stderr.

    \b
    Examples:
      regard convert ./old-tf-bert ./bert                     from tf_model.h5
      regard convert ./bert ./bert-half --dtype bfloat16
      regard convert model.Q8_0.gguf ./model --dtype float16
      regard convert runs/en-de ./en-de --overwrite --json
    """
    from regard.commands.convert import convert_model

    convert_model(source, target, dtype=dtype, overwrite=overwrite, as_json=as_json)


@verbs.command()
def verify(
    model: Annotated[str, typer.Argument(metavar="DIR", help="A model or run directory, or a hub id.")],
    python: Annotated[
        str | None,
        typer.Option("--python", metavar="PYTHON", help="A Python that has torch and transformers. Default: this one."),
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Of the outputs; relative where values are above 1.")
    ] = 1e-3,
    as_json: Json = False,
) -> None:
    """Compare a checkpoint with Hugging Face Transformers on PyTorch: outputs, and 20 tokens of greedy search.

    Both read the same batch, whose numbers mean nothing, in float32. Exit code 0: equal; 1: they differ; 2: there was
    nothing to compare. Of a sentence-transformers directory the encoder is compared.

    \b
    Examples:
      regard verify ./bert
      regard verify runs/en-de --python ~/torch/bin/python
      regard verify ./bert --tolerance 1e-5 --json
    """
    from regard.commands.verify import verify_model

    if not verify_model(model, python=python, tolerance=tolerance, as_json=as_json):
        raise typer.Exit(1)
