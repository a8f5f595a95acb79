"""The verb that makes texts shorter."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from regard.cli.options import (
    BatchTokens,
    BeamThreshold,
    BulkOutput,
    BulkWorkers,
    Dtype,
    Engine,
    Json,
    Launcher,
    LengthPenalty,
    MaxNewTokens,
    Model,
    NumBeams,
    Resume,
    given,
    runtime,
)

verbs = typer.Typer()


@verbs.command()
def summarise(
    model: Model,
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Texts; - or none: stdin.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", metavar="FILE", help="A text.")] = None,
    lines: Annotated[bool, typer.Option("--lines", help="Each line of the file, or of stdin, is a text.")] = False,
    num_beams: NumBeams = None,
    beam_threshold: BeamThreshold = None,
    n_best: Annotated[int | None, typer.Option("--n-best", help="Summaries of each text, best first.")] = None,
    length_penalty: LengthPenalty = None,
    min_new_tokens: Annotated[
        int | None, typer.Option("--min-new-tokens", help="Tokens of the shortest text that is written.")
    ] = None,
    max_new_tokens: MaxNewTokens = None,
    batch_tokens: BatchTokens = 4096,
    long: Annotated[
        Literal["refuse", "cut"], typer.Option("--long", help="Refuse a text that is too long, or leave out its end.")
    ] = "refuse",
    engine: Engine = None,
    dtype: Dtype = None,
    workers: BulkWorkers = None,
    launcher: Launcher = "local",
    output: BulkOutput = None,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Summarise texts, a file or stdin, a line of output each, in order.

    A file, or stdin, is one text, unless --lines. Beams and lengths are the checkpoint's own where no option says
    other. With --n-best each line of output is: number of the text, score, summary, with tabs between them.

    \b
    Examples:
      regard summarise ./bart-large-cnn --file article.txt
      regard summarise ./t5-small "A long text." --max-new-tokens 60
      cat articles.txt | regard summarise ./pegasus-xsum --lines --long cut --json
    """
    from regard.commands.bulk import Bulk
    from regard.commands.summarise import summarise_texts

    options = given(
        num_beams=num_beams,
        beam_threshold=beam_threshold,
        num_return_sequences=n_best,
        length_penalty=length_penalty,
        min_new_tokens=min_new_tokens,
        max_new_tokens=max_new_tokens,
    )
    settings = {"long": long, "batch_tokens": batch_tokens}
    summarise_texts(
        model,
        texts or [],
        file,
        lines=lines,
        as_json=as_json,
        bulk=Bulk(workers, output, resume, launcher),
        runtime=runtime(engine, dtype),
        **settings,
        **options,
    )
