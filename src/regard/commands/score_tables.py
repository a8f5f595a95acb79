"""Scores as tables: of a translator by direction, of any other task by metric, of two systems side by side."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from regard.commands.text import table_console
from regard.metrics.catalog import METRICS, Metric
from regard.tasks.judging.answers import threshold_note
from regard.tasks.judging.records import EvaluationRecord
from regard.tasks.judging.scoring import Compared
from regard.tasks.judging.translation import direction_name

Record = Mapping[str, Any]  # of `DirectionScore.record`
Group = Mapping[str, Any]  # of `GroupScores.record`


def direction(record: Record) -> str:
    """ "en → de"; "all" where the data names no languages."""
    return direction_name(record["source_lang"], record["target_lang"])


def print_scores(records: Iterable[Record]) -> None:
    """The table of the directions, and the signatures under it."""
    table = _table("direction", "examples", "BLEU", "95 %", "chrF", "95 %", "exact match")
    records = list(records)
    for record in records:
        table.add_row(
            escape(direction(record)),
            f"{record['count']:,}",
            f"{record['bleu']:.2f}",
            _bounds(record["bleu_interval"]),
            f"{record['chrf']:.2f}",
            _bounds(record["chrf_interval"]),
            f"{record['exact_match']:.2f} %",
        )
    table_console().print(table)
    for metric in ("bleu", "chrf"):
        for signature in dict.fromkeys(record[f"{metric}_signature"] for record in records):
            print(f"{metric}: {signature}")


def as_direction(group: Group, signatures: Mapping[str, str]) -> dict[str, Any]:
    """A group of translations as `print_scores` and --json have it: every score a percentage."""
    scores, (source_lang, target_lang) = group["scores"], group["languages"]
    return {
        "source_lang": source_lang,
        "target_lang": target_lang,
        "count": group["examples"],
        "bleu": scores["bleu"]["value"],
        "chrf": scores["chrf"]["value"],
        "bleu_signature": signatures.get("bleu") or signatures[f"bleu {group['name']}"],
        "chrf_signature": signatures["chrf"],
        "bleu_interval": scores["bleu"]["interval"],
        "chrf_interval": scores["chrf"]["interval"],
        "exact_match": 100 * scores["exact_match"]["value"],
        "unfinished": group["unfinished"],
    }


def print_groups(record: EvaluationRecord) -> None:
    """A row a metric; of several groups, each by itself."""
    several = len(record.groups) > 1
    table = _table(*(("group",) if several else ()), "score", "", "95 %", "examples", left=1 + several)
    for group in record.groups:
        for name, scored in group["scores"].items():
            metric = METRICS[name]
            table.add_row(
                *((escape(group["name"]),) if several else ()),
                metric.title,
                metric.text(scored["value"]),
                metric.interval_text(scored["interval"]),
                f"{scored['examples']:,}",
            )
    table_console().print(table)
    for metric_name, signature in record.signatures.items():
        print(f"{metric_name}: {signature}")
    if (threshold := threshold_note(record.settings)) is not None:
        print(threshold)


def print_comparison(first: str, second: str, found: Sequence[Compared]) -> None:
    """A row a metric: both scores, the difference with its interval, and p."""
    several = len({each.group for each in found}) > 1
    heads = ("score", "A", "B", "B - A", "95 %", "p", "examples")
    table = _table(*(("group",) if several else ()), *heads, left=1 + several)
    for each in found:
        metric, pair = METRICS[each.metric], each.found
        table.add_row(
            *((escape(each.group),) if several else ()),
            metric.title,
            metric.text(pair.first),
            metric.text(pair.second),
            f"{metric.shown(pair.difference):+.{metric.digits}f}",
            _signed(metric, pair.interval),
            f"{pair.p:.3f}",
            f"{each.examples:,}",
        )
    print(f"A: {first}\nB: {second}")
    table_console().print(table)


def _signed(metric: Metric, bounds: Sequence[float] | None) -> str:
    if bounds is None:
        return ""
    return " to ".join(f"{metric.shown(bound):+.{metric.digits}f}" for bound in bounds)


def _table(*columns: str, left: int = 1) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place < left else "right")
    return table


def _bounds(bounds: Sequence[float] | None) -> str:
    return "" if bounds is None else f"{bounds[0]:.1f} – {bounds[1]:.1f}"
