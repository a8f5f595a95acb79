"""The command line: `regard VERB`. Results go to stdout, progress and errors to stderr; TensorFlow is imported late.

Exit codes: 0 done, 1 an unexpected error, 2 usage or input that must be put right, 75 training interrupted after
saving, 130 interrupted, 141 the reader of stdout went away.
"""

import errno
import io
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from regard import __version__
from regard.errors import RegardError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")

INTERRUPTED = 130  # 128 + SIGINT
CLOSED_PIPE = 141  # 128 + SIGPIPE
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


RunFile = Annotated[Path, typer.Argument(metavar="RUN.TOML", help="A run file: data, model and training.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="DIR", help="The run directory. Default: runs/NAME.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the run file; may be repeated."),
]
TargetLang = Annotated[
    str | None, typer.Option("--target-lang", metavar="LANG", help="The language to translate into, where it is open.")
]
NumBeams = Annotated[int | None, typer.Option("--num-beams", help="Beams of the search; 1 is greedy.")]
LengthPenalty = Annotated[float | None, typer.Option("--length-penalty", help="Above 0 favours longer translations.")]
MaxNewTokens = Annotated[int | None, typer.Option("--max-new-tokens", help="Tokens of the longest translation.")]
BatchTokens = Annotated[int, typer.Option("--batch-tokens", help="Rows times longest row of a batch, in tokens.")]
Long = Annotated[
    Literal["refuse", "split"], typer.Option("--long", help="Refuse a text that is too long, or split it in sentences.")
]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every error is one line on stderr."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = _take_debug(arguments)
    _prepare_process()
    try:
        with _logging_to_stderr():
            code = app(args=arguments, prog_name="regard", standalone_mode=False)
        sys.stdout.flush()
        return _interrupted() if code == INTERRUPTED else int(code or 0)
    except (BrokenPipeError, SystemExit):  # Typer turns a closed pipe into SystemExit
        return _closed_pipe()
    except Exception as error:
        return _explain(error, debug)


def _take_debug(arguments: list[str]) -> bool:
    """Remove --debug, which may stand before or after the verb."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    found = "--debug" in options
    if found:
        arguments[: len(options)] = [argument for argument in options if argument != "--debug"]
    return found


def _prepare_process() -> None:
    """Keep TensorFlow's chatter off stderr, and make the streams take any text."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    logging.getLogger("absl").setLevel(logging.ERROR)


@contextmanager
def _logging_to_stderr() -> Iterator[None]:
    logger = logging.getLogger("regard")
    before = logger.level, logger.handlers
    logger.setLevel(logging.INFO)
    logger.handlers = [logging.StreamHandler(sys.stderr)]
    try:
        yield
    finally:
        logger.level, logger.handlers = before


def _explain(error: Exception, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    if isinstance(error, RegardError):
        return _complain(str(error), error.exit_code)
    if isinstance(error, typer.TyperException):
        return _complain(_usage(error), error.exit_code)
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        where = f"cannot write {error.filename}" if error.filename else "cannot write"
        return _complain(f"{where}: {error.strerror}", RegardError.exit_code)
    hint = "" if debug else " (run again with --debug for the traceback)"
    return _complain(f"unexpected {type(error).__name__}: {error}{hint}", 1)


def _usage(error: typer.TyperException) -> str:
    """The complaint and where to read on; empty where Typer has shown the help already."""
    message = error.format_message()
    context = getattr(error, "ctx", None)
    return f"{message} See {context.command_path} --help." if message and context else message


def _complain(message: str, code: int) -> int:
    if message:
        print("regard: " + " ".join(message.split()), file=sys.stderr)
    return code


def _interrupted() -> int:
    return _complain("interrupted", INTERRUPTED)


def _closed_pipe() -> int:
    # Python flushes stdout once more when it exits: give it somewhere to go.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return CLOSED_PIPE


def _version(wanted: bool) -> None:
    if wanted:
        print(f"regard {__version__}")
        raise typer.Exit()


@app.callback()
def regard(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; also after the verb.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    """Regard trains, evaluates and explains Transformers for TensorFlow and Keras 3.

    \b
    regard demo                                 learn a small translation, in minutes
    regard train recipes/translate/en-de.toml   prepare the data and train
    regard translate runs/en-de "Hello world"   translate
    """


@app.command()
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


@app.command()
def prepare(run: RunFile, output: Output = None, overrides: Overrides = None) -> None:
    """Tokenise a run's data into DIR/data, once; `train` does it by itself.

    \b
    Examples:
      regard prepare run.toml
      regard prepare run.toml -o runs/first --set tokenizer.vocab_size=4000
    """
    from regard.commands.train import prepare_run

    prepare_run(run, output, overrides or ())


@app.command()
def train(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run file; or a run directory, to go on with it.")],
    output: Output = None,
    overrides: Overrides = None,
) -> None:
    """Train a model by a run file. The same command on the same directory goes on where it stopped.

    Ctrl-C and SIGTERM end training after the step at hand, save, and leave with exit code 75; a second one ends at
    once.

    \b
    Examples:
      regard train recipes/translate/en-de.toml
      regard train run.toml -o runs/first --set training.steps=2000 --set seed=1
      regard train runs/first
    """
    from regard.commands.train import train_run

    train_run(run, output, overrides or ())


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, or a model with two files.")],
    split: Annotated[
        Literal["validation", "test"], typer.Option("--split", help="The split of the run's data.")
    ] = "test",
    source: Annotated[Path | None, typer.Option("--source", metavar="FILE", help="Texts, one a line.")] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", metavar="FILE", help="Their translations, one a line.")
    ] = None,
    target_lang: TargetLang = None,
    num_beams: NumBeams = None,
    length_penalty: LengthPenalty = None,
    max_new_tokens: MaxNewTokens = None,
    batch_tokens: BatchTokens = 4096,
    long: Long = "refuse",
    as_json: Json = False,
) -> None:
    """Score translations: BLEU and chrF with sacrebleu's signatures, exact match, 95 % intervals.

    \b
    Examples:
      regard evaluate runs/en-de
      regard evaluate runs/en-de --split validation --num-beams 1
      regard evaluate runs/en-de --source test.en --reference test.de --target-lang de --json
    """
    from regard.commands.evaluate import evaluate_model

    evaluate_model(
        model,
        split=split,
        source=source,
        reference=reference,
        target_lang=target_lang,
        as_json=as_json,
        long=long,
        batch_tokens=batch_tokens,
        **_given(num_beams=num_beams, length_penalty=length_penalty, max_new_tokens=max_new_tokens),
    )


@app.command()
def translate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model directory or a run directory.")],
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Texts; - or none: stdin.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", metavar="FILE", help="Texts, one a line.")] = None,
    target_lang: TargetLang = None,
    num_beams: NumBeams = None,
    n_best: Annotated[int | None, typer.Option("--n-best", help="Translations of each text, best first.")] = None,
    length_penalty: LengthPenalty = None,
    max_new_tokens: MaxNewTokens = None,
    batch_tokens: BatchTokens = 4096,
    window: Annotated[
        int | None, typer.Option("--window", help="Lines to read ahead; 1 answers each line at once. Default: 512.")
    ] = None,
    long: Long = "refuse",
    as_json: Json = False,
) -> None:
    """Translate texts, a file or stdin, line by line and in order.

    With --n-best each line of output is: number of the input line, score, translation, with tabs between them.
    With --json it is an object with text, score, tokens, token_scores and alternatives.

    \b
    Examples:
      regard translate runs/en-de "Hello world"
      regard translate runs/demo "July 3, 2021" --target-lang de
      regard translate runs/en-de --file book.en --long split > book.de
      cat book.en | regard translate runs/en-de --num-beams 8 --n-best 3 --json
    """
    from regard.commands.translate import translate_texts

    translate_texts(
        model,
        texts or [],
        file,
        as_json=as_json,
        window=window,
        target_lang=target_lang,
        long=long,
        batch_tokens=batch_tokens,
        options=_given(
            num_beams=num_beams,
            num_return_sequences=n_best,
            length_penalty=length_penalty,
            max_new_tokens=max_new_tokens,
        ),
    )


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model or run directory, or a preset's name.")],
    vocab_size: Annotated[int, typer.Option("--vocab-size", help="Of a preset.")] = 37000,
    weights: Annotated[bool, typer.Option("--weights", help="Every variable's path and shape.")] = False,
) -> None:
    """Show a model: layers, shapes, parameters, memory, tokenizer, languages and scores.

    \b
    Examples:
      regard inspect runs/demo
      regard inspect base --vocab-size 37000
      regard inspect runs/demo --weights
    """
    from regard.commands.inspect import inspect_model

    inspect_model(model, vocab_size=vocab_size, weights=weights)


def _given(**options: int | float | None) -> dict[str, int | float]:
    return {name: value for name, value in options.items() if value is not None}
