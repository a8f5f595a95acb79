"""`regard evaluate --compare A B`: two evaluations of one test set, metric by metric."""

import json
from pathlib import Path

from regard.commands.score_tables import print_comparison
from regard.errors import InputError
from regard.metrics.catalog import METRICS
from regard.tasks.judging.catalog import evaluation_of
from regard.tasks.judging.records import EvaluationRecord, path_in, read_record
from regard.tasks.judging.scoring import Compared, compare


def compare_evaluations(first: str, second: str, *, split: str, as_json: bool) -> None:
    """Print a row a metric that both have: both scores, their difference with its 95 % interval, and p."""
    one, other = (read_record(_place(name, split)) for name in (first, second))
    _refuse_others(first, one, second, other)
    found = compare(one.judgements, other.judgements, pooled=one.pooled, left_out=_of_tokens(one, other))
    if not found:
        raise InputError(f"{first} and {second} have no metric in common that compares models of two tokenizers")
    if as_json:
        print(json.dumps({"first": first, "second": second, "differences": [_record(each) for each in found]}))
    else:
        print_comparison(first, second, found)


def _place(name: str, split: str) -> Path:
    """A run directory's record of the split, or a record itself."""
    place = Path(name)
    return place if place.suffix == ".json" else path_in(place, split)


def _refuse_others(first: str, one: EvaluationRecord, second: str, other: EvaluationRecord) -> None:
    if evaluation_of(one.task).task != evaluation_of(other.task).task:  # both of speech are one
        raise InputError(f"{first} was evaluated at {one.task}, but {second} at {other.task}: they cannot be compared")
    if one.examples != other.examples:
        sets = " and ".join(
            f"{name} on {record.count:,} examples of {record.split} ({record.examples[:12]})"
            for name, record in ((first, one), (second, other))
        )
        raise InputError(f"two test sets cannot be compared: {sets} were evaluated; use --on to score both on one")


def _of_tokens(one: EvaluationRecord, other: EvaluationRecord) -> list[str]:
    """What a token costs says nothing of models whose tokens differ, or where others were hidden."""
    alike = one.tokenizer == other.tokenizer and all(
        one.settings.get(name) == other.settings.get(name) for name in ("rate", "whole_words", "seed")
    )
    return [] if alike else [name for name, metric in METRICS.items() if metric.of_tokens]


def _record(each: Compared) -> dict[str, object]:
    return {**each._asdict(), "found": each.found._asdict()}
