"""The options that several verbs have."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

RunFile = Annotated[Path, typer.Argument(metavar="RUN.TOML", help="A run file: data, model and training.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="DIR", help="The run directory. Default: runs/NAME.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the run file; may be repeated."),
]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model or run directory, a .gguf file, an installed model's name, or the id of one on the hub.",
    ),
]
SourceLang = Annotated[
    str | None, typer.Option("--source-lang", metavar="LANG", help="The language of the text, where the model is told.")
]
TargetLang = Annotated[
    str | None, typer.Option("--target-lang", metavar="LANG", help="The language to translate into, where it is open.")
]
NumBeams = Annotated[int | None, typer.Option("--num-beams", help="Beams of the search; 1 is greedy.")]
BeamThreshold = Annotated[
    float | None,
    typer.Option(
        "--beam-threshold", help="Give up beams so many nats behind the best: fewer steps, not quite the same."
    ),
]
LengthPenalty = Annotated[float | None, typer.Option("--length-penalty", help="Above 0 favours longer texts.")]
MaxNewTokens = Annotated[int | None, typer.Option("--max-new-tokens", help="Tokens of the longest text written.")]
BatchTokens = Annotated[int, typer.Option("--batch-tokens", help="Rows times longest row of a batch, in tokens.")]
Long = Annotated[
    Literal["refuse", "split"], typer.Option("--long", help="Refuse a text that is too long, or split it in sentences.")
]
Engine = Annotated[
    Literal["tensorflow", "openvino"] | None,
    typer.Option("--engine", help="What runs the model. Default: OpenVINO for an exported one or int8; TensorFlow."),
]
Dtype = Annotated[
    Literal["float32", "bfloat16", "mixed_bfloat16", "float16", "int8"] | None,
    typer.Option("--dtype", help="Of the weights; int8 is for OpenVINO. Default: float32; an exported model's own."),
]
BulkWorkers = Annotated[
    int | None,
    typer.Option("--workers", help="Processes that share the lines, each with the model; results come in order."),
]
Launcher = Annotated[
    Literal["local", "ray"], typer.Option("--launcher", help="Where --workers start: here, or on a Ray cluster.")
]
BulkOutput = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write here; a journal is kept until it is whole.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on in --output where a process that wrote it was ended.")]
PromptLookup = Annotated[
    int | None,
    typer.Option("--prompt-lookup-num-tokens", help="Guess so many tokens from the text before: faster, and the same."),
]
Assistant = Annotated[
    str | None,
    typer.Option(
        "--assistant",
        metavar="MODEL",
        help="A smaller model of the same vocabulary, to guess ahead: faster, and the same. No beams.",
    ),
]
Shortlist = Annotated[
    Path | None,
    typer.Option(
        "--shortlist",
        metavar="FILE",
        help="Score the tokens that `regard shortlist` kept alone: faster, not quite the same. For OpenVINO.",
    ),
]
AssistantTokens = Annotated[
    int | None, typer.Option("--num-assistant-tokens", help="What the assistant guesses at once, at most. Default: 20.")
]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]


def runtime(
    engine: str | None, dtype: str | None, assistant: str | None = None, shortlist: Path | None = None
) -> dict[str, str]:
    """What was said of what runs the model."""
    return given(
        engine=engine, dtype=dtype, assistant=assistant, shortlist=None if shortlist is None else str(shortlist)
    )


def given(**options: int | float | str | None) -> dict[str, Any]:
    """The options that somebody set."""
    return {name: value for name, value in options.items() if value is not None}
