"""`regard evaluate`: a model's scores on a run's held-out data, or a translator's on two files."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from regard.batch import Example
from regard.commands.lines import load_task
from regard.commands.score_tables import as_direction, print_groups, print_scores
from regard.commands.text import open_lines, warn_of_unfinished
from regard.config import load_run
from regard.data.shards import PreparedData
from regard.errors import ConfigError, InputError
from regard.explain.card import write_card
from regard.explain.run_page import write_run_page
from regard.tasks.evaluate import DirectionScore, evaluate
from regard.tasks.judging.catalog import evaluation_of
from regard.tasks.judging.judgement import SEARCH, Evaluation, HeldOut, Settings, searched_with
from regard.tasks.judging.records import EvaluationRecord, hash_of, path_in, records_of, write_record
from regard.tasks.judging.scoring import scores_by_group
from regard.tasks.judging.translation import TRANSLATION
from regard.tasks.locate import weights_mark
from regard.tasks.translate import Translator


def evaluate_model(
    model: str,
    *,
    on: Path | None,
    split: str,
    output: Path | None,
    source: Path | None,
    reference: Path | None,
    source_lang: str | None,
    target_lang: str | None,
    as_json: bool,
    runtime: Mapping[str, str],
    **settings: Any,
) -> None:
    """Predict, score, keep the record, and print a table or one JSON object."""
    if (source is None) != (reference is None):
        raise InputError("--source and --reference belong together: give both")
    held, evaluation = None, TRANSLATION
    if source is not None and reference is not None:
        if on is not None:
            raise InputError("--on is a run's data and --source a file's: give either")
        examples: Sequence[Any] = _from_files(source, reference, source_lang, target_lang)
    else:
        held = _held_out(on or Path(model), split)
        evaluation = evaluation_of(held.run.task)
        examples = _chosen(held, source_lang, target_lang)
    _refuse(evaluation, held, settings)
    if output is not None:
        _require_place(output)
    task = load_task(model, evaluation.task, **runtime)
    record = evaluated(task, evaluation, examples, held, model=model, split=split, settings=settings)
    record = replace(record, settings={**runtime, **record.settings})
    whole = source_lang is None and target_lang is None
    own = held is not None and on is None and whole
    if output is not None or own:
        record = replace(record, weights=weights_mark(model))
        write_record(output or path_in(Path(model), split), record)
    if own and output is None:
        write_card(Path(model))
        write_run_page(Path(model), record, task)
    _print(record, model, as_json)
    unfinished = sum(not judgement.finished for judgement in record.judgements)
    warn_of_unfinished(unfinished, record.count, "translations" if evaluation is TRANSLATION else "texts")


def evaluated(
    task: Any,
    evaluation: Evaluation,
    examples: Sequence[Any],
    held: HeldOut | None,
    *,
    model: str,
    split: str,
    settings: Settings,
) -> EvaluationRecord:
    """Predictions, with a bar on stderr where that is a terminal, their judgements, and the scores of these."""
    began = time.monotonic()
    if held is not None:
        settings = evaluation.prepared(task, held, settings)
    ordered = sorted(examples, key=evaluation.order) if evaluation.order else examples
    predictions = _with_progress(lambda: evaluation.predict(task, ordered, settings), len(ordered))
    judgements = evaluation.judge(ordered, predictions, settings)
    groups = scores_by_group(judgements, pooled=evaluation.pooled)
    tokenizer = getattr(task, "tokenizer", None)
    return EvaluationRecord(
        task=held.run.task if held else evaluation.task,
        split=split if held else "files",
        model=model,
        examples=hash_of(judgements),
        data=held.data.content_hash if held else None,
        tokenizer=tokenizer and tokenizer.content_hash,
        settings=searched_with(task, settings) if evaluation.options >= SEARCH else settings,
        groups=records_of(groups),
        signatures=evaluation.signatures(judgements),
        pooled=evaluation.pooled,
        seconds=round(time.monotonic() - began, 1),
        judgements=judgements,
    )


def _with_progress(predict: Callable[[], Iterable[Any]], count: int) -> list[Any]:
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("evaluating", total=count)
        found = []
        for prediction in predict():
            found.append(prediction)
            progress.advance(bar)
        return found


def _print(record: EvaluationRecord, model: str, as_json: bool) -> None:
    translated = record.task == TRANSLATION.task
    if translated:
        directions = [as_direction(group, record.signatures) for group in record.groups]
    if as_json and translated:
        print(json.dumps({"model": model, "directions": directions}, ensure_ascii=False))
    elif as_json:
        values = asdict(record)
        del values["judgements"]
        print(json.dumps(values, ensure_ascii=False))
    elif translated:
        print_scores(directions)
    else:
        print_groups(record)


def _refuse(evaluation: Evaluation, held: HeldOut | None, settings: Settings) -> None:
    """Options that say nothing to a task."""
    for name in settings:
        if name not in evaluation.options:
            task = held.run.task if held else evaluation.task
            options = sorted(f"--{known.replace('_', '-')}" for known in evaluation.options)
            takes = f", which takes {', '.join(options)}" if options else ""
            raise ConfigError(f"--{name.replace('_', '-')} is not for {task}{takes}: leave it out")


def _require_place(output: Path) -> None:
    """Told before an hour's evaluation, and not after it."""
    if output.suffix != ".json":
        raise InputError(f"--output must end in .json, by which --compare knows a record, but is {output}")
    if output.is_dir():
        raise InputError(f"--output must be a file, but {output} is a directory")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror}") from error


def evaluate_with_progress(
    translator: Translator, examples: Sequence[Example], **settings: Any
) -> list[DirectionScore]:
    """`evaluate` with a bar on stderr, where that is a terminal."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("translating", total=len(examples))
        return evaluate(translator, examples, on_translated=lambda: progress.advance(task), **settings)


def held_out(data: PreparedData, split: str) -> list[Example]:
    """The raw text of a prepared split of a translator's."""
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


def _held_out(run: Path, split: str) -> HeldOut:
    if not run.exists():
        raise InputError(f"there is no run directory {run}: give one, or --source and --reference for a model")
    if not (run / "data").is_dir():
        raise InputError(f"{run} holds no prepared data: give a run directory, or --source and --reference")
    held = HeldOut(load_run(run / "run.toml"), PreparedData.open(run / "data"), split)
    if not held.has(split):
        others = [name for name in ("validation", "test") if held.has(name)]
        way_out = f"; --split {others[0]} scores that one" if others else ""
        raise InputError(f"the data of {run} has no {split} split{way_out}")
    return held


def _chosen(held: HeldOut, source_lang: str | None, target_lang: str | None) -> list[Any]:
    """The examples of the split, of one direction where that was asked for."""
    examples = held.examples()
    if source_lang is None and target_lang is None:
        return examples
    if held.run.task != TRANSLATION.task:
        raise InputError(f"--source-lang and --target-lang are for translators, but the run is for {held.run.task}")
    kept = [
        example
        for example in examples
        if source_lang in (None, example.source_lang) and target_lang in (None, example.target_lang)
    ]
    if not kept:
        asked = "".join(f" {way} {code}" for way, code in (("from", source_lang), ("into", target_lang)) if code)
        raise InputError(f"the {held.split} data of {held.data.directory.parent} has no example{asked}")
    return kept
