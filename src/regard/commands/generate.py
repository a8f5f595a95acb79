"""`regard generate`: prompts in, texts out."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from regard.commands.lines import answered, are_typed, lines_of, load_task, print_columns, print_json, whole_text
from regard.commands.search import check_seed
from regard.commands.text import warn_of_unfinished
from regard.commands.translate import one_line
from regard.errors import InputError
from regard.tasks.generate import GeneratedText, TextGenerator


def generate_texts(
    model: str,
    prompts: Sequence[str],
    file: Path | None,
    *,
    whole: bool,
    stream: bool | None,
    keep_prompt: bool,
    as_json: bool,
    allowed: Sequence[str] | None,
    batch_tokens: int,
    settings: Mapping[str, Any],
    options: Mapping[str, Any],
    runtime: Mapping[str, str],
) -> None:
    """Print what the model writes after `prompts`, the lines of a file or of stdin, or after all of it at once."""
    lines = _prompts(prompts, file, whole)
    alone = whole or are_typed(lines) or (isinstance(lines, Sequence) and len(lines) == 1)
    n_best, searched = options.get("num_return_sequences"), {"num_beams", "num_return_sequences"} & options.keys()
    at_once = as_json or bool(allowed) or bool(searched)
    if stream and (at_once or not alone):
        raise InputError("--stream shows one text for one prompt, without --json, --allowed, --num-beams and --n-best")
    generator = load_task(model, "generate", **runtime)
    check_seed(generator.defaults, options)
    if keep_prompt and generator.engine.spec.form != "decoder":
        raise InputError("--keep-prompt is for a model that goes on from its prompt, but this one writes another text")
    # A checkpoint's own beams agree on nothing before the end.
    if alone and not at_once and stream is not False and (stream or generator.defaults.width == 1):
        _stream(generator, lines, keep_prompt, {**settings, **options})
        return
    more = {"allowed": allowed or None, "batch_tokens": batch_tokens, "return_scores": as_json or n_best is not None}
    printed = _Printed(keep_prompt, as_json, n_best is not None, alone)
    printed.all(generator, lines, {**settings, **more, **options})


def _prompts(prompts: Sequence[str], file: Path | None, whole: bool) -> Iterable[str]:
    if not whole:
        return lines_of(prompts, file, "prompts")
    if prompts and list(prompts) != ["-"]:
        raise InputError("--whole reads a prompt from --file or stdin: leave the PROMPT out, or --whole")
    return [whole_text(file)]


def _stream(generator: TextGenerator, lines: Iterable[str], keep_prompt: bool, settings: Mapping[str, Any]) -> None:
    finished = []
    for prompt in lines:
        pieces = generator.stream(prompt, **settings)
        print(prompt if keep_prompt else "", end="", flush=True)
        for piece in pieces:
            print(piece, end="", flush=True)
        print(flush=True)
        finished.append(pieces.result.finished)
    warn_of_unfinished(finished.count(False), len(finished), "texts")


class _Printed:
    """Texts that are printed once they are whole."""

    def __init__(self, keep_prompt: bool, as_json: bool, ranked: bool, alone: bool) -> None:
        self.keep_prompt, self.as_json, self.ranked, self.alone = keep_prompt, as_json, ranked, alone

    def all(self, generator: TextGenerator, lines: Iterable[str], settings: Mapping[str, Any]) -> None:
        done: list[str] = []
        number = unfinished = 0

        def generated(block: list[str]) -> list[GeneratedText]:
            found = generator.generate(block, first=len(done), **settings)
            done.extend(block if self.keep_prompt else [""] * len(block))
            return found

        for number, result in answered(lines, generated):
            self.one(number, done[number - 1], result)
            unfinished += not result.finished
        warn_of_unfinished(unfinished, number, "texts")

    def one(self, number: int, prompt: str, result: GeneratedText) -> None:
        if self.as_json:
            print_json(result)
        elif self.ranked:
            for text in (result, *result.alternatives):
                print_columns(number, "" if text.score is None else text.score, prompt + text.text)
        else:
            print(prompt + result.text if self.alone else one_line(prompt + result.text), flush=True)
