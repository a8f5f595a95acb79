"""One page that says what a run learnt: curves, scores, outputs, errors, attention. It needs no network."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jinja2

from regard.explain import attention
from regard.explain.charts import Chart, Line
from regard.explain.curves import Curves, Point
from regard.explain.maps import Map, Mapped, about
from regard.explain.svg import printable
from regard.explain.words import TRANSLATIONS, Words

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Rows under named columns; None is shown as a dash, floats with up to 4 digits."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Item:
    """A test example and what became of it."""

    source: str
    reference: str
    output: str
    right: bool | None  # by the caller's measure, usually that output and reference are equal; None: no output is
    source_lang: str | None = None
    target_lang: str | None = None
    remark: str = ""  # shown under an error: its score, its kind
    context: str = ""  # what else was read, folded away where it is long
    picture: str = ""  # of an image: a data: URI that the page shows before the source


class Sample(NamedTuple):
    """What a language model wrote."""

    prompt: str
    text: str  # that it went on with


@dataclass(frozen=True)
class Report:
    """All that the page shows; an empty part leaves its section out."""

    title: str
    summary: str  # a sentence or two: what was trained, on what
    headline: Mapping[str, Cell]  # the three or four figures that matter most, by name
    facts: Mapping[str, Mapping[str, Cell]]  # "Model", "Data", "Run" -> name -> value
    curves: Curves
    scores: Sequence[Table]
    items: Sequence[Item]  # chosen before the outputs were seen
    worst: Sequence[Item]
    attention: Sequence[Mapped]  # of one kind
    items_note: str = ""  # how the items were chosen
    samples: Sequence[Sample] = ()
    samples_note: str = ""  # how they were drawn
    words: Words = TRANSLATIONS


class Piece(NamedTuple):
    """A stretch of a text that equals another text there, or differs."""

    text: str
    differs: bool


def write_report(path: str | Path, report: Report) -> Path:
    """Write the page, UTF-8 HTML, and return its path. Raises OSError where it cannot be written."""
    path = Path(path)
    path.write_text(render(report), "utf-8")
    return path


def render(report: Report) -> str:
    """The page as text. Whatever comes from data is escaped; lone surrogates and control characters become U+FFFD."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("regard.explain"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = format_cell
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.tests["figure"] = lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    page = environment.get_template("report.html").render(
        report=report,
        charts=charts(report.curves, report.words),
        words=report.words,
        maps=[Map(example, number) for number, example in enumerate(report.attention)],
        about=about(report.attention[0]) if report.attention else None,
        difference=difference,
        opacity=attention.opacity,
        gamma=attention.GAMMA,
    )
    return printable(page)


# Curves of one chart, by the key in metrics.jsonl: the name, and what makes it a number of 100.
_OF_HUNDRED = {
    "bleu": ("BLEU", 1),
    "chrf": ("chrF", 1),
    "accuracy": ("accuracy", 100),
    "exact_match": ("exact match", 100),
    "f1": ("F1", 100),
    "pearson": ("Pearson's r", 100),
    "rouge1": ("ROUGE-1", 100),
    "rouge2": ("ROUGE-2", 100),
    "rouge_l": ("ROUGE-L", 100),
    "recall10": ("recall@10", 100),
    "wer": ("word error rate", 100),
    "cer": ("character error rate", 100),
}


def charts(curves: Curves, words: Words = TRANSLATIONS) -> list[Chart]:
    """The charts of a run; one without a point is left out."""
    loss = (Line("training", curves.points("train", "loss")), Line("validation", curves.points("validation", "loss")))
    scores = tuple(
        Line(name, tuple(Point(step, factor * value) for step, value in curves.points("validation", key)))
        for key, (name, factor) in _OF_HUNDRED.items()
    )
    bits = (Line("bits per byte", curves.points("validation", "bits_per_byte")),)
    rate = (Line("learning rate", curves.points("train", "learning_rate")),)
    speed = (Line(words.speed_unit, curves.points("train", "tokens_per_second")),)
    every = [
        Chart("Loss", words.loss_unit, words.loss, loss),
        Chart("Scores", "of 100", words.scores, scores, from_zero=True),
        Chart("Bits per byte", "of validation's text", words.bits, bits),
        Chart(
            "Learning rate",
            "per update",
            "How far one update may move the weights: small at first, while the gradients are wild, "
            "then as the run's schedule has it (section 5.3 of the paper).",
            rate,
            from_zero=True,
        ),
        Chart("Speed", words.speed_unit, words.speed, speed, from_zero=True),
    ]
    return [chart for chart in map(_with_points, every) if chart.lines]


def _with_points(chart: Chart) -> Chart:
    lines = tuple(line for line in chart.lines if line.points)
    return Chart(chart.title, chart.unit, chart.explanation, lines, chart.from_zero)


def format_cell(value: Cell) -> str:
    """A figure as the page shows it: 63,082,496 · 97.25 · 0.0007 · a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 0.1 else f"{value:.3g}"
    return value


def difference(text: str, other: str) -> list[Piece]:
    """The text in pieces, words and Chinese characters whole, marked where `other` does not have them."""
    ours, theirs = _words(text), _words(other)
    matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
    return [
        Piece("".join(ours[start:end]), kind != "equal")
        for kind, start, end, _, _ in matcher.get_opcodes()
        if end > start
    ]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_\u2e80-\uffff]+|\d+|\s+|.", text, re.DOTALL)
