"""Several runs in the same charts: as a page that needs no network, and as a picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from regard.explain.charts import Chart, Line, finite
from regard.explain.curves import Curves, Kind, Point
from regard.explain.report import format_cell
from regard.explain.svg import brief, printable
from regard.metrics.catalog import METRICS

MOST_RUNS = 8  # lines that one can tell apart

_COLORS = ("#12508f", "#b4530b", "#3b7d3a", "#8a2f8f", "#a3202b", "#0f7c86", "#6b5a12", "#5a5f66")
_STYLES = ("-", "--", ":", "-.", "-", "--", ":", "-.")
_COLUMNS = 2  # of the picture


class Shown(NamedTuple):
    """A chart that every run may have a line in."""

    kind: Kind
    key: str
    title: str
    unit: str
    explanation: str
    from_zero: bool = False


_OF_LOSS = "How surprised the model is by each label (cross-entropy): lower is better."
_SHOWN = (
    Shown("validation", "loss", "Validation loss", "nats", f"{_OF_LOSS} On data that no run has learnt from."),
    Shown("train", "loss", "Training loss", "nats", f"{_OF_LOSS} With dropout, and smoothing where a run has it."),
    Shown("validation", "bleu", "BLEU", "of 100", "Shared runs of words with the references.", True),
    Shown("validation", "chrf", "chrF", "of 100", "Shared runs of characters with the references.", True),
    Shown("validation", "accuracy", "Accuracy", "share", "Labels that are right.", True),
    Shown("validation", "f1", "F1", "share", "Precision and recall in one figure.", True),
    Shown("validation", "exact_match", "Exact match", "share", "Answers that are right as a whole.", True),
    Shown("validation", "rouge1", "ROUGE-1", "share", "Words shared with the reference, F.", True),
    Shown("validation", "rouge2", "ROUGE-2", "share", "Pairs of words shared with the reference, F.", True),
    Shown("validation", "rouge_l", "ROUGE-L", "share", "The longest run of words in common, with gaps, F.", True),
    Shown("validation", "recall10", "Recall@10", "share", "Texts whose own partner is among their ten nearest.", True),
    Shown("validation", "wer", "Word error rate", "share", "Words wrong, missing or too many: lower is better.", True),
    Shown("validation", "cer", "Character error rate", "share", "The same of characters: lower is better.", True),
    Shown("validation", "pearson", "Pearson's r", "-1 to 1", "Correlation with the numbers that are wanted."),
    Shown("validation", "bits_per_byte", "Bits per byte", "bits", "Whatever the tokenizer: lower is better."),
    Shown("train", "learning_rate", "Learning rate", "per update", "As each run's schedule has it.", True),
    Shown("train", "gradient_norm", "Gradient norm", "before clipping", "Of the step that is logged."),
    Shown("train", "tokens_per_second", "Speed", "tokens or images per second", "Padding is not counted.", True),
    Shown("train", "padding", "Padding", "share of the cells", "What a batch holds beside tokens.", True),
)
LOWER_IS_BETTER = frozenset(name for name, metric in METRICS.items() if metric.better == "lower")


class Against(NamedTuple):
    """What a chart of best scores is drawn over. lines: name -> the runs of a line, each with its value of the key."""

    key: str  # of the run file
    lines: Mapping[str, Mapping[str, float]]


_WIDE = 20  # largest value over smallest, from which on a chart has equal distances for equal ratios


class Row(NamedTuple):
    """A run in the table."""

    name: str
    best: float | None
    best_step: float | None
    steps: int
    tokens: int | None
    minutes: float | None  # of training


@dataclass(frozen=True)
class Comparison:
    """All that page and picture show. runs: name -> curves; key: the score that ranks them; against: draw their best
    scores over a key of their run files, in place of their curves."""

    runs: Mapping[str, Curves]
    key: str = "loss"
    against: Against | None = None

    @property
    def charts(self) -> list[Chart]:
        """One for each value that some run has logged; a line for each run, in their order. Or that against a key."""
        if self.against is not None:
            return [chart for chart in (self._chart_against(self.against),) if any(line.points for line in chart.lines)]
        return [chart for chart in map(self._chart, _SHOWN) if any(line.points for line in chart.lines)]

    @property
    def rows(self) -> list[Row]:
        """The runs, best first; those without a score last."""
        sign = 1 if self.key in LOWER_IS_BETTER else -1
        rows = [_row(name, curves, self.key) for name, curves in self.runs.items()]
        return sorted(rows, key=lambda row: (row.best is None, sign * (row.best or 0.0)))

    @property
    def unreadable(self) -> int:
        """Lines of all logs that a kill cut short."""
        return sum(curves.unreadable for curves in self.runs.values())

    def _chart_against(self, against: Against) -> Chart:
        lines = tuple(Line(name, self._best_by_value(values)) for name, values in against.lines.items())
        values = [point.step for line in lines for point in line.points]
        return Chart(
            f"Best {self.key} on validation",
            self.key,
            f"Of each run, over its {against.key}; of runs that share a line and a value, the mean.",
            lines,
            across=against.key,
            log=bool(values) and min(values) > 0 and max(values) >= _WIDE * min(values),
        )

    def _best_by_value(self, values: Mapping[str, float]) -> tuple[Point, ...]:
        found: dict[float, list[float]] = {}
        for name, value in values.items():
            best = best_of(self.runs[name].points("validation", self.key), self.key)
            if best is not None:
                found.setdefault(value, []).append(best.value)
        return tuple(Point(value, sum(found[value]) / len(found[value])) for value in sorted(found))

    def _chart(self, shown: Shown) -> Chart:
        lines = tuple(Line(name, curves.points(shown.kind, shown.key)) for name, curves in self.runs.items())
        return Chart(shown.title, shown.unit, shown.explanation, lines, shown.from_zero)


def best_of(points: Sequence[Point], key: str) -> Point | None:
    """The best point of a score; None where there is none that is a number."""
    known = [point for point in points if math.isfinite(point.value)]
    return (min if key in LOWER_IS_BETTER else max)(known, key=lambda point: point.value, default=None)


def render(comparison: Comparison) -> str:
    """The page as text. Whatever comes from the runs is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("regard.explain"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["cell"] = format_cell
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    page = environment.get_template("comparison.html").render(comparison=comparison, colors=_COLORS)
    return printable(page)


def draw(comparison: Comparison, path: Path) -> None:
    """The charts as a PNG; needs matplotlib. Raises OSError where it cannot be written."""
    from matplotlib.figure import Figure

    charts = comparison.charts
    columns = min(_COLUMNS, len(charts))
    rows = -(-len(charts) // columns)
    figure = Figure(figsize=(6.4 * columns, 3.4 * rows + 0.5), layout="constrained")
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, chart in zip(places, charts, strict=False):
        _draw(axes, chart)
    for axes in places[len(charts) :]:
        axes.set_axis_off()
    names = [line.name for line in charts[0].lines]
    figure.legend(places[0].get_lines(), names, loc="outside upper center", ncols=min(4, len(names)))
    figure.savefig(path, format="png", dpi=120)


def _draw(axes: Any, chart: Chart) -> None:
    for index, line in enumerate(chart.lines):
        points = finite(line.drawn)
        marker = "o" if len(points) <= 12 else ""
        axes.plot(
            [point.step for point in points],
            [point.value for point in points],
            color=_COLORS[index],
            linestyle=_STYLES[index],
            marker=marker,
            markersize=3,
            label=line.name,
        )
    axes.set(title=chart.title, xlabel=chart.across, ylabel=chart.unit)
    if chart.log:
        axes.set_xscale("log")
        axes.set_xticks(chart.plot.steps, [brief(step) for step in chart.plot.steps])
        axes.minorticks_off()
    axes.grid(color="0.9")
    if chart.from_zero:
        axes.set_ylim(bottom=0)


def _row(name: str, curves: Curves, key: str) -> Row:
    best = best_of(curves.points("validation", key), key)
    last = curves.train[-1] if curves.train else {}
    seconds = last.get("seconds")
    return Row(
        name,
        None if best is None else best.value,
        None if best is None else best.step,
        max((record["step"] for record in (*curves.train, *curves.validation)), default=0),
        last.get("tokens"),
        seconds / 60 if isinstance(seconds, int | float) else None,
    )
