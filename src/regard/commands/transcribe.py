"""`regard transcribe`: recordings in, text or subtitles out, each as soon as it is done."""

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regard.commands.directories import RECORDINGS, with_contents
from regard.commands.images import paths_in
from regard.commands.lines import load_task
from regard.commands.refusals import Refusals
from regard.commands.text import open_lines
from regard.errors import InputError, no_file

STDIN = "-"
TIMED = ("srt", "vtt")  # that are nothing without segments
FORMS = ("txt", *TIMED, "json")


def transcribe_files(
    model: str,
    files: Sequence[str],
    listing: Path | None,
    *,
    form: str,
    timestamps: bool,
    output: Path | None,
    **settings: Any,
) -> None:
    """Print the transcription of each recording, or write it to `output`, a directory. listing: their paths, one a
    line, in place of `files`. Raises PartlyDone, at the end, where some could not be read."""
    if form not in FORMS:
        raise InputError(f"--format must be one of {', '.join(FORMS)}, but is {form!r}")
    files = _files_of(files, listing)
    if form in TIMED and len(files) > 1 and output is None:
        raise InputError(f"{form} is a file for each recording: name a directory for them with --output")
    refusals = Refusals("recordings", files)
    if not any(file == STDIN or os.path.isfile(file) for file in files):  # told before a model is loaded
        _refuse_all(files, refusals)
        return
    places = None if output is None else _places(files, output, form)
    transcriber = load_task(model, "transcribe")
    from_stdin = listing is None  # in a list - is a file's name
    sources = [sys.stdin.buffer.read() if from_stdin and file == STDIN else file for file in files]
    progress = _Progress(files) if sys.stderr.isatty() else None
    settings["refused"] = refusals
    found = transcriber.each(sources, timestamps=timestamps or form in TIMED, progress=progress, **settings)
    for number, file, transcription in refusals.beside(files, found):
        if progress is not None:
            progress.clear()
        text = _written(transcription, file, form)
        if places is not None:
            places[number - 1].parent.mkdir(parents=True, exist_ok=True)
            places[number - 1].write_text(text, "utf-8")
        else:
            print(_named(text, file, form) if len(files) > 1 else text, end="", flush=True)
        _warn_of(file, transcription.cut, "came to max_new_tokens before its end")
        _warn_of(file, transcription.doubtful, "repeats itself or is unlikely at every temperature, so it is a guess,")
    refusals.check()


def _files_of(files: Sequence[str], listing: Path | None) -> list[str]:
    """Those that are given, with the recordings in those that are directories; or those of the list."""
    if listing is not None and files:
        raise InputError("give either recordings or --file, and not both")
    if listing is not None:
        return list(paths_in(open_lines(listing, "surrogateescape")))
    if not files:
        raise InputError("there is nothing to transcribe: give recordings, directories of them, - or --file")
    if files.count(STDIN) > 1:
        raise InputError("stdin holds one recording: give - once")
    return with_contents(files, RECORDINGS, "recordings")


def _refuse_all(files: Sequence[str], refusals: Refusals) -> None:
    for number, file in enumerate(files, 1):
        refusals(number, InputError(f"cannot read {file}: {no_file(file)}"))
    list(refusals.beside(files, ()))  # their names are kept
    refusals.check()


def _written(found: Any, file: str, form: str) -> str:
    from regard.tasks.subtitles import written

    if form == "json":
        return json.dumps({"file": file, **found.as_json()}, ensure_ascii=False) + "\n"
    return written(found, form)


def _places(files: Sequence[str], output: Path, form: str) -> list[Path]:
    """A file for each recording. Raises InputError where two would be one."""
    names = [Path("stdin" if file == STDIN else file) for file in files]
    counts = Counter(name.stem for name in names)
    stems = [name.stem if counts[name.stem] == 1 else name.name for name in names]  # ok.wav.txt beside ok.flac.txt
    twice, often = Counter(stems).most_common(1)[0]
    if often > 1:
        raise InputError(
            f"{often} recordings would be written to {output / twice}.{form}: give those of each directory by "
            "themselves, with another --output"
        )
    if output.exists() and not output.is_dir():
        raise InputError(f"--output must be a directory, but {output} is a file")
    return [output / f"{stem}.{form}" for stem in stems]


def _named(text: str, file: str, form: str) -> str:
    """Each line with the recording's name before it."""
    if form == "json":
        return text
    name = " ".join(file.split())
    return "".join(f"{name}\t{line}\n" for line in text.splitlines())


def _warn_of(file: str, windows: Sequence[float], what: str) -> None:
    """windows: the seconds at which they start."""
    if windows:
        starts = ", ".join(f"{second:g}" for second in windows[:5]) + (" ..." if len(windows) > 5 else "")
        told = f"the text {what} in {len(windows)} of its windows (from {starts} s)"
        print(f"regard: {file}: {told}", file=sys.stderr)


class _Progress:
    """How far each recording is, on one line of a terminal."""

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files

    def __call__(self, number: int, heard: float, whole: float) -> None:
        from regard.tasks.subtitles import clock

        told = f"{Path(self._files[number - 1]).name}: {clock(heard)[:-4]} of {clock(whole)[:-4]}"
        print(f"\r\x1b[K{told}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
