"""`regard evaluate`: a model's scores on its run's held-out data, or on two files."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from regard.batch import Example
from regard.commands.lines import load_task
from regard.commands.text import open_lines, table_console, warn_of_unfinished
from regard.data.shards import PreparedData
from regard.errors import InputError
from regard.tasks.evaluate import DirectionScore, evaluate
from regard.tasks.translate import Translator

Record = Mapping[str, Any]  # of `DirectionScore.record`


def evaluate_model(
    model: str,
    *,
    split: str,
    source: Path | None,
    reference: Path | None,
    source_lang: str | None,
    target_lang: str | None,
    as_json: bool,
    runtime: Mapping[str, str],
    **settings: Any,
) -> None:
    """Translate, score, and print a table or one JSON object."""
    if (source is None) != (reference is None):
        raise InputError("--source and --reference belong together: give both")
    if source is not None and reference is not None:
        examples = _from_files(source, reference, source_lang, target_lang)
    else:
        examples = _from_run(Path(model), split, source_lang, target_lang)
    scores = evaluate_with_progress(load_task(model, "translate", **runtime), examples, **settings)
    records = [entry.record() for entry in scores]
    if as_json:
        print(json.dumps({"model": model, "directions": records}, ensure_ascii=False))
    else:
        print_scores(records)
    warn_of_unfinished(sum(entry.unfinished for entry in scores), len(examples))


def evaluate_with_progress(
    translator: Translator, examples: Sequence[Example], **settings: Any
) -> list[DirectionScore]:
    """`evaluate` with a bar on stderr, where that is a terminal."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("translating", total=len(examples))
        return evaluate(translator, examples, on_translated=lambda: progress.advance(task), **settings)


def held_out(data: PreparedData, split: str) -> list[Example]:
    """The raw text of a prepared split."""
    shards = data.split(split)
    return [Example(*shards.text(place)) for place in range(len(shards))]


def _from_files(source: Path, reference: Path, source_lang: str | None, target_lang: str | None) -> list[Example]:
    examples = []
    for number, (text, translation) in enumerate(zip_longest(open_lines(source), open_lines(reference)), 1):
        if text is None or translation is None:
            longer, shorter = (reference, source) if text is None else (source, reference)
            raise InputError(f"{longer} has more lines than {shorter}, which ends before line {number}")
        examples.append(Example(text, translation, source_lang, target_lang))
    if not examples:
        raise InputError(f"{source} is empty: there is nothing to evaluate")
    return examples


def _from_run(run: Path, split: str, source_lang: str | None, target_lang: str | None) -> list[Example]:
    if not run.exists():
        raise InputError(f"there is no run directory {run}: give one, or --source and --reference for a model")
    if not (run / "data").is_dir():
        raise InputError(f"{run} holds no prepared data: give a run directory, or --source and --reference")
    examples = held_out(PreparedData.open(run / "data"), split)
    kept = [
        example
        for example in examples
        if source_lang in (None, example.source_lang) and target_lang in (None, example.target_lang)
    ]
    if not kept:
        asked = "".join(f" {way} {code}" for way, code in (("from", source_lang), ("into", target_lang)) if code)
        raise InputError(f"the {split} data of {run} has no example{asked}")
    return kept


def print_scores(records: Iterable[Record]) -> None:
    """The table of the directions, and the signatures under it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("direction")
    for name in ("examples", "BLEU", "95 %", "chrF", "95 %", "exact match"):
        table.add_column(name, justify="right")
    records = list(records)
    for record in records:
        table.add_row(
            escape(direction(record)),
            f"{record['count']:,}",
            f"{record['bleu']:.2f}",
            _interval(record["bleu_interval"]),
            f"{record['chrf']:.2f}",
            _interval(record["chrf_interval"]),
            f"{record['exact_match']:.2f} %",
        )
    table_console().print(table)
    for metric in ("bleu", "chrf"):
        for signature in dict.fromkeys(record[f"{metric}_signature"] for record in records):
            print(f"{metric}: {signature}")


def direction(record: Record) -> str:
    """ "en → de"; "all" where the data names no languages."""
    if record["source_lang"] is None and record["target_lang"] is None:
        return "all"
    return f"{record['source_lang'] or '?'} → {record['target_lang'] or '?'}"


def _interval(bounds: Sequence[float] | None) -> str:
    return "" if bounds is None else f"{bounds[0]:.1f} – {bounds[1]:.1f}"
