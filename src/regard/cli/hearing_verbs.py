"""The verbs over a loaded checkpoint that hears."""

from pathlib import Path
from typing import Annotated

import typer

from regard.cli.options import Json, Model, NumBeams

verbs = typer.Typer()


@verbs.command()
def transcribe(
    model: Model,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Recordings: WAV, FLAC, OGG or MP3; or directories of them; -: stdin."),
    ] = None,
    listing: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="LIST", help="Paths of recordings, one a line; -: stdin."),
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", help="That is spoken: de, german. Default: each recording tells.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="transcribe, or translate into English.")] = None,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="When each sentence is said.")] = False,
    form: Annotated[str, typer.Option("--format", help="txt, srt, vtt or json.")] = "txt",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="A file for each recording goes here.")
    ] = None,
    num_beams: NumBeams = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option("--max-new-tokens", help="Of a window: Whisper's 30 s, or as long as the model's run file says."),
    ] = None,
    alpha: Annotated[
        float | None, typer.Option("--alpha", help="What the n-grams of a model without a decoder count; 0: nothing.")
    ] = None,
    beta: Annotated[float | None, typer.Option("--beta", help="What each word adds there, in nats.")] = None,
    independent: Annotated[
        bool, typer.Option("--independent", help="Do not tell a window the text of the one before it.")
    ] = False,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Recordings that are decoded together.")] = 8,
    as_json: Json = False,
) -> None:
    """Write down what is said in recordings of any length.

    One recording gives its text; with --timestamps a line for each sentence: start and end in seconds, and the text,
    with tabs between. Of several recordings each line begins with the file's name; one that cannot be read has none:
    stderr says why, names all such at the end, and the exit code is 1. srt and vtt are subtitles.

    \b
    Examples:
      regard transcribe ./whisper-tiny talk.flac
      regard transcribe ./whisper-tiny talk.mp3 --language german --task translate --format srt > talk.srt
      regard transcribe ./whisper-tiny *.wav --format vtt --output subtitles/
      regard transcribe ./whisper-tiny meetings/ --json > meetings.jsonl
      find meetings -name '*.ogg' | regard transcribe ./whisper-tiny --file - --output texts/
      cat talk.wav | regard transcribe ./whisper-tiny - --timestamps --json
    """
    from regard.commands.transcribe import transcribe_files
    from regard.errors import InputError

    if as_json and form not in ("txt", "json"):
        raise InputError(f"give either --json or --format {form}, and not both")
    transcribe_files(
        model,
        files or [],
        listing,
        form="json" if as_json else form,
        timestamps=timestamps,
        output=output,
        condition_on_prev_tokens=not independent,
        language=language,
        task=task,
        num_beams=num_beams,
        max_new_tokens=max_new_tokens,
        alpha=alpha,
        beta=beta,
        batch_size=batch_size,
    )
