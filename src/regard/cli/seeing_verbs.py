"""The verbs over a loaded checkpoint that reads images."""

from pathlib import Path
from typing import Annotated

import typer

from regard.cli.options import (
    BeamThreshold,
    Dtype,
    Engine,
    Json,
    LengthPenalty,
    MaxNewTokens,
    NumBeams,
    given,
    runtime,
)
from regard.cli.reading_verbs import Model

verbs = typer.Typer()

Images = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IMAGE", help="Images, or directories of them; - or none: stdin, an image or a path a line."
    ),
]
File = Annotated[Path | None, typer.Option("--file", "-f", metavar="FILE", help="Paths of images, one a line.")]
Names = Annotated[bool, typer.Option("--names", help="Begin each line with the path of its image.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Images that are read at a time.")]


@verbs.command()
def caption(
    model: Model,
    images: Images = None,
    file: File = None,
    names: Names = False,
    language: Annotated[
        str | None, typer.Option("--language", help="To write in, where the model knows several: de.")
    ] = None,
    num_beams: NumBeams = None,
    beam_threshold: BeamThreshold = None,
    n_best: Annotated[int | None, typer.Option("--n-best", help="Captions of each image, best first.")] = None,
    length_penalty: LengthPenalty = None,
    max_new_tokens: MaxNewTokens = None,
    batch_size: BatchSize = 8,
    engine: Engine = None,
    dtype: Dtype = None,
    as_json: Json = False,
) -> None:
    """Write a line about each image.

    PNG, JPEG, WEBP, GIF, BMP and TIFF are read; of a directory all in it and below it, but for hidden ones. An image
    that cannot be has no line: stderr says why, names all such at the end, and the exit code is 1. With --n-best each
    line of output is: number of the image, or with --names its path, score, caption, with tabs between them.

    \b
    Examples:
      regard caption ./vit-gpt2 photo.jpg
      regard caption ./vit-gpt2 *.jpg --names --num-beams 4
      regard caption ./vit-gpt2 album/ --names
      regard caption runs/emoji photo.jpg --language de
      cat photo.jpg | regard caption ./vit-gpt2 -
      find album -name '*.png' | regard caption ./vit-gpt2 - --json > captions.jsonl
    """
    from regard.commands.caption import caption_images

    caption_images(
        model,
        images or [],
        file,
        names=names,
        n_best=n_best,
        batch_size=batch_size,
        runtime=runtime(engine, dtype),
        as_json=as_json,
        **given(
            language=language,
            num_beams=num_beams,
            beam_threshold=beam_threshold,
            length_penalty=length_penalty,
            max_new_tokens=max_new_tokens,
        ),
    )


@verbs.command("classify-image")
def classify_image(
    model: Model,
    images: Images = None,
    file: File = None,
    names: Names = False,
    top_k: Annotated[int, typer.Option("--top-k", help="Labels of each image, best first.")] = 1,
    batch_size: BatchSize = 8,
    as_json: Json = False,
) -> None:
    """Name the class of images, a line each: label and score, with a tab between.

    With --top-k above 1 a line has as many labels. An image that cannot be read has no line: stderr says why, names
    all such at the end, and the exit code is 1.

    \b
    Examples:
      regard classify-image ./vit photo.jpg
      regard classify-image ./vit album/ --names --top-k 3
      cat photo.jpg | regard classify-image ./vit -
      find album -name '*.png' | regard classify-image ./vit - --json
    """
    from regard.commands.classify_image import classify_images

    classify_images(model, images or [], file, names=names, top_k=top_k, batch_size=batch_size, as_json=as_json)


@verbs.command()
def similarity(
    model: Model,
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Texts.")] = None,
    text_file: Annotated[Path | None, typer.Option("--text-file", metavar="FILE", help="Texts, one a line.")] = None,
    images: Annotated[
        list[str] | None,
        typer.Option("--image", "-i", metavar="IMAGE", help="An image, or a directory of them; may be repeated."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="Paths of images, one a line; - or no image: stdin, which may be an image.",
        ),
    ] = None,
    vectors: Annotated[
        bool, typer.Option("--vectors", help="The vectors of the images, then of the texts; either may be left out.")
    ] = False,
    batch_size: BatchSize = 8,
    as_json: Json = False,
) -> None:
    """Say how well images fit texts: a line for each image and text.

    The columns, with tabs between: image, text, the probability that of these texts it is this one, and the logit
    (scaled cosine) behind it. With --vectors the lines are vectors of length 1, whose products are cosines. A text that
    is too long for the model is cut, and stderr says so.

    \b
    Examples:
      regard similarity ./clip --image photo.jpg "a cat" "a dog"
      find album -name '*.png' | regard similarity ./clip "a cat" "a dog" --json
      regard similarity ./clip --vectors --file paths.txt > vectors.txt
    """
    from regard.commands.similarity import compare_images

    compare_images(
        model, texts or [], text_file, images or [], file, vectors=vectors, batch_size=batch_size, as_json=as_json
    )
