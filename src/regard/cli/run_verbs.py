"""The verbs over a run, and over the translator that it trains."""

from pathlib import Path
from typing import Annotated

import typer

from regard.cli.options import (
    Assistant,
    AssistantTokens,
    BatchTokens,
    BeamThreshold,
    BulkOutput,
    BulkWorkers,
    Dtype,
    Engine,
    Json,
    Launcher,
    LengthPenalty,
    Long,
    MaxNewTokens,
    Model,
    NumBeams,
    Output,
    Overrides,
    Resume,
    RunFile,
    Shortlist,
    SourceLang,
    TargetLang,
    given,
    runtime,
)

verbs = typer.Typer()


@verbs.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The run directory.")] = Path(
        "runs/demo"
    ),
    overrides: Overrides = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Another seed than the demo's own.")] = None,
) -> None:
    """Learn to translate dates, numbers, money and names between English, German and Chinese, and show how well.

    \b
    Examples:
      regard demo
      regard demo -o /tmp/demo --seed 1
      regard demo -o /tmp/quick --set training.minutes=1
    """
    from regard.demo import run_demo

    run_demo(output, overrides=overrides or (), seed=seed)


@verbs.command()
def prepare(run: RunFile, output: Output = None, overrides: Overrides = None) -> None:
    """Tokenise a run's data into DIR/data, once; `train` does it by itself.

    Where TF_CONFIG names several workers, this is one of them, and writes its share of the shards.

    \b
    Examples:
      regard prepare run.toml
      regard prepare run.toml -o runs/first --set tokenizer.vocab_size=4000
    """
    from regard.commands.train import prepare_run

    prepare_run(run, output, overrides or ())


@verbs.command()
def train(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run file; or a run directory, to go on with it.")],
    output: Output = None,
    overrides: Overrides = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Train in so many processes, each with its rows of every batch.")
    ] = None,
    launcher: Launcher = "local",
) -> None:
    """Train a model by a run file. The same command on the same directory goes on where it stopped.

    Ctrl-C and SIGTERM end training after the step at hand, save, and leave with exit code 75; a second one ends at
    once. Where TF_CONFIG names several workers, this is one of them, and exit code 69 says that another is gone.

    \b
    Examples:
      regard train recipes/translate/en-de.toml
      regard train run.toml -o runs/first --set training.steps=2000 --set seed=1
      regard train runs/first
      regard train run.toml --workers 2
    """
    from regard.commands.train import train_run

    train_run(run, output, overrides or (), workers, launcher)


@verbs.command()
def translate(
    model: Model,
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Texts; - or none: stdin.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", metavar="FILE", help="Texts, one a line.")] = None,
    source_lang: SourceLang = None,
    target_lang: TargetLang = None,
    num_beams: NumBeams = None,
    beam_threshold: BeamThreshold = None,
    n_best: Annotated[int | None, typer.Option("--n-best", help="Translations of each text, best first.")] = None,
    length_penalty: LengthPenalty = None,
    max_new_tokens: MaxNewTokens = None,
    batch_tokens: BatchTokens = 4096,
    window: Annotated[
        int | None, typer.Option("--window", help="Lines to read ahead; 1 answers each line at once. Default: 512.")
    ] = None,
    long: Long = "refuse",
    assistant: Assistant = None,
    num_assistant_tokens: AssistantTokens = None,
    shortlist: Shortlist = None,
    engine: Engine = None,
    dtype: Dtype = None,
    workers: BulkWorkers = None,
    launcher: Launcher = "local",
    output: BulkOutput = None,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Translate texts, a file or stdin, line by line and in order.

    With --n-best each line of output is: number of the input line, score, translation, with tabs between them.
    With --json it is an object with text, score, tokens, token_scores and alternatives. Languages are called as the
    model calls them, or by a short form that is clear ("de" for deu_Latn); `regard inspect` lists them.

    \b
    Examples:
      regard translate runs/en-de "Hello world"
      regard translate runs/demo "July 3, 2021" --target-lang de
      regard translate ./nllb-200 "Hello world" --source-lang en --target-lang de
      regard translate runs/en-de --file book.en --long split > book.de
      cat book.en | regard translate runs/en-de --num-beams 8 --n-best 3 --json
      regard translate runs/en-de --file library.en --workers 4 --output library.de --resume
      regard translate runs/en-de --file library.en --workers 32 --launcher ray --output library.de
    """
    from regard.commands.bulk import Bulk
    from regard.commands.translate import translate_texts

    translate_texts(
        model,
        texts or [],
        file,
        bulk=Bulk(workers, output, resume, launcher),
        runtime=runtime(engine, dtype, assistant, shortlist),
        as_json=as_json,
        window=window,
        source_lang=source_lang,
        target_lang=target_lang,
        long=long,
        batch_tokens=batch_tokens,
        options=given(
            num_beams=num_beams,
            beam_threshold=beam_threshold,
            num_return_sequences=n_best,
            length_penalty=length_penalty,
            max_new_tokens=max_new_tokens,
            num_assistant_tokens=num_assistant_tokens,
        ),
    )


@verbs.command()
def inspect(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="As of the other verbs; or a run directory or file, or a preset's name."),
    ],
    vocab_size: Annotated[int, typer.Option("--vocab-size", help="Of a preset.")] = 37000,
    weights: Annotated[bool, typer.Option("--weights", help="Every variable's path and shape.")] = False,
) -> None:
    """Show a model: its tasks, layers, shapes, parameters, memory, inputs, tokenizer, languages and scores.

    Of a run directory also its checkpoints, held against their hashes (exit code 2 where one is damaged); of a run file
    all its keys, defaults too.

    \b
    Examples:
      regard inspect runs/demo
      regard inspect run.toml
      regard inspect minilm
      regard inspect base --vocab-size 37000
      regard inspect runs/demo --weights
    """
    from regard.commands.inspect import inspect_model

    inspect_model(model, vocab_size=vocab_size, weights=weights)
