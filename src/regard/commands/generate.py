"""`regard generate`: prompts in, texts out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from regard.commands.bulk import Bulk, answer_lines
from regard.commands.bulk_blocks import Answer
from regard.commands.lines import answered, are_typed, as_json_line, in_columns, lines_of, load_task, whole_text
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
    bulk: Bulk = Bulk(),
) -> None:
    """Print what the model writes after `prompts`, the lines of a file or of stdin, or after all of it at once."""
    lines = _prompts(prompts, file, whole)
    alone = whole or are_typed(lines) or (isinstance(lines, Sequence) and len(lines) == 1)
    n_best, searched = options.get("num_return_sequences"), {"num_beams", "num_return_sequences"} & options.keys()
    at_once = as_json or bool(allowed) or bool(searched)
    if stream and (at_once or not alone):
        raise InputError("--stream shows one text for one prompt, without --json, --allowed, --num-beams and --n-best")
    more = {"allowed": allowed or None, "batch_tokens": batch_tokens, "return_scores": as_json or n_best is not None}
    if bulk.wanted:
        if stream or whole:
            raise InputError("--stream and --whole are for one prompt, --workers and --output for many: leave some out")
        printed = _Printed(keep_prompt, as_json, n_best is not None, alone=False)
        answer_lines(GenerateLines(model, runtime, {**settings, **more}, options, printed), lines, bulk, file)
        return
    generator = _load(model, runtime, options, keep_prompt)
    # A checkpoint's own beams agree on nothing before the end.
    if alone and not at_once and stream is not False and (stream or generator.defaults.width == 1):
        _stream(generator, lines, keep_prompt, {**settings, **options})
        return
    printed = _Printed(keep_prompt, as_json, n_best is not None, alone)
    printed.all(generator, lines, {**settings, **more, **options})


def _load(model: str, runtime: Mapping[str, str], options: Mapping[str, Any], keep_prompt: bool) -> TextGenerator:
    generator: TextGenerator = load_task(model, "generate", **runtime)
    check_seed(generator.defaults, options)
    if keep_prompt and (generator.engine.spec.form != "decoder" or generator.asked):
        raise InputError("--keep-prompt is for a model that goes on from its prompt, but this one writes another text")
    return generator


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


@dataclass(frozen=True)
class _Printed:
    """Texts that are printed once they are whole."""

    keep_prompt: bool
    as_json: bool
    ranked: bool
    alone: bool

    def all(self, generator: TextGenerator, lines: Iterable[str], settings: Mapping[str, Any]) -> None:
        done: list[str] = []
        number = unfinished = 0

        def generated(block: list[str]) -> list[GeneratedText]:
            found = generator.generate(block, first=len(done), **settings)
            done.extend(block if self.keep_prompt else [""] * len(block))
            return found

        for number, result in answered(lines, generated):
            for line in self.lines(number, done[number - 1], result):
                print(line, flush=True)
            unfinished += not result.finished
        warn_of_unfinished(unfinished, number, "texts")

    def lines(self, number: int, prompt: str, result: GeneratedText) -> list[str]:
        """prompt: empty where it is not shown."""
        if self.as_json:
            return [as_json_line(result)]
        if self.ranked:
            ranked = (result, *result.alternatives)
            return [in_columns(number, "" if text.score is None else text.score, prompt + text.text) for text in ranked]
        return [prompt + result.text if self.alone else one_line(prompt + result.text)]


@dataclass(frozen=True)
class GenerateLines:
    """`generate_texts` for some of the lines, in one of several processes."""

    model: str
    runtime: Mapping[str, str]
    settings: Mapping[str, Any]
    options: Mapping[str, Any]
    printed: _Printed

    what: ClassVar[str] = "texts"

    def load(self) -> Any:
        """The generator."""
        return _load(self.model, self.runtime, self.options, self.printed.keep_prompt)

    def answer(self, generator: Any, lines: list[str], first: int) -> Answer:
        """As `LineTask` has it."""
        found = generator.generate(lines, first=first, **self.settings, **self.options)
        prompts = lines if self.printed.keep_prompt else [""] * len(lines)
        numbered = zip(range(first + 1, first + len(lines) + 1), prompts, found, strict=True)
        output = [line + "\n" for one in numbered for line in self.printed.lines(*one)]
        return Answer("".join(output), (), sum(not each.finished for each in found))
