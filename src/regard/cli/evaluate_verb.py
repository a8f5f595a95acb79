"""The verb that scores models, and compares them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from regard.cli.options import (
    BeamThreshold,
    Dtype,
    Engine,
    Json,
    LengthPenalty,
    MaxNewTokens,
    NumBeams,
    Shortlist,
    SourceLang,
    TargetLang,
    given,
    runtime,
)

verbs = typer.Typer()

_Model = Annotated[
    str | None, typer.Argument(metavar="MODEL", help="A run directory; or a model, with --on, or with two files.")
]
_Record = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE.json", help="The record. Default: RUN/evaluation-SPLIT.json."),
]
_Compare = Annotated[
    tuple[str, str] | None,
    typer.Option("--compare", metavar="A B", help="Two runs, or their records, on one test set."),
]
_BatchTokens = Annotated[
    int | None, typer.Option("--batch-tokens", help="Rows times longest row of a batch, in tokens.")
]
_Long = Annotated[
    Literal["refuse", "split", "cut"] | None,
    typer.Option("--long", help="A text that is too long: refuse it, split it (translate), cut it (summarise)."),
]


@verbs.command()
def evaluate(
    model: _Model = None,
    on: Annotated[
        Path | None, typer.Option("--on", metavar="RUN", help="Another run, whose data it is scored on.")
    ] = None,
    split: Annotated[
        Literal["validation", "test"], typer.Option("--split", help="The split of the run's data.")
    ] = "test",
    output: _Record = None,
    compare: _Compare = None,
    source: Annotated[Path | None, typer.Option("--source", metavar="FILE", help="Texts, one a line.")] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", metavar="FILE", help="Their translations, one a line.")
    ] = None,
    source_lang: SourceLang = None,
    target_lang: TargetLang = None,
    num_beams: NumBeams = None,
    beam_threshold: BeamThreshold = None,
    length_penalty: LengthPenalty = None,
    max_new_tokens: MaxNewTokens = None,
    batch_tokens: _BatchTokens = None,
    long: _Long = None,
    shortlist: Shortlist = None,
    engine: Engine = None,
    dtype: Dtype = None,
    as_json: Json = False,
) -> None:
    """Score a model on held-out data with its field's metrics and 95 % intervals, or compare two of them.

    MODEL is a run directory, whose own test split it is scored on; or any model that fits the task of a run, with --on;
    or what translate takes, with --source and --reference. The scores of a run are kept in RUN/evaluation-SPLIT.json,
    each example's output and statistics in the .jsonl beside it. --compare needs two such records of the same examples:
    the difference's interval and p are of the paired bootstrap (Koehn 2004).

    \b
    Examples:
      regard evaluate runs/en-de
      regard evaluate runs/classify --split validation
      regard evaluate minilm --on runs/packages -o minilm.json
      regard evaluate --compare runs/small runs/large
      regard evaluate runs/en-de --source test.en --reference test.de --target-lang de --json
      regard evaluate ./nllb --source test.en --reference test.de --source-lang en --target-lang de
    """
    if compare is not None:
        from regard.commands.compare import compare_evaluations

        if model is not None:
            raise typer.BadParameter("--compare names both models: leave MODEL out")
        compare_evaluations(*compare, split=split, as_json=as_json)
        return
    if model is None:
        raise typer.BadParameter("Missing argument 'MODEL', or --compare A B.")
    from regard.commands.evaluate import evaluate_model

    evaluate_model(
        model,
        on=on,
        split=split,
        output=output,
        source=source,
        reference=reference,
        source_lang=source_lang,
        target_lang=target_lang,
        runtime=runtime(engine, dtype, shortlist=shortlist),
        as_json=as_json,
        **given(
            num_beams=num_beams,
            beam_threshold=beam_threshold,
            length_penalty=length_penalty,
            max_new_tokens=max_new_tokens,
            batch_tokens=batch_tokens,
            long=long,
        ),
    )
