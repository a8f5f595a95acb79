"""Line charts of curves, drawn as SVG; the page's script reads their numbers from the JSON beside them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from regard.explain.curves import Point, thin
from regard.explain.svg import brief, element, ticks

WIDTH, HEIGHT = 480, 250
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 12, 40
MAX_POINTS = 400  # a line; beyond, neighbours are averaged
MAX_DOTS = 60  # more points than this are a line without dots


@dataclass(frozen=True)
class Line:
    """A named curve."""

    name: str
    points: tuple[Point, ...]

    @property
    def drawn(self) -> tuple[Point, ...]:
        """The points as the chart has them: `MAX_POINTS` at most."""
        return thin(self.points, MAX_POINTS)


@dataclass(frozen=True)
class Chart:
    """Lines over steps, with the sentence that says what they show. across: what the axis is of; log: it has equal
    distances for equal ratios."""

    title: str
    unit: str
    explanation: str
    lines: tuple[Line, ...]
    from_zero: bool = False
    across: str = "step"
    log: bool = False

    @property
    def note(self) -> str:
        """What thinning did, if it did anything."""
        group = max((math.ceil(len(line.points) / MAX_POINTS) for line in self.lines), default=0)
        return f"Each point is the mean of {group} logged values." if group > 1 else ""

    @property
    def plot(self) -> "Plot":
        """The scales that hold every line."""
        return Plot.around(self.lines, self.from_zero, self.log)

    @property
    def svg(self) -> Markup:
        """The drawing."""
        return draw(self)

    @property
    def data(self) -> dict[str, Any]:
        """What hovering needs: the plot's box and scales, and each line's points."""
        plot = self.plot
        return {
            "box": [LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM],
            "steps": [plot.first, plot.last],
            "values": [plot.low, plot.high],
            "log": self.log,
            "lines": [
                {"name": line.name, "points": [[step, _rounded(value)] for step, value in finite(line.drawn)]}
                for line in self.lines
            ],
        }


@dataclass(frozen=True)
class Plot:
    """The scales of a chart: steps `first` to `last` and values `low` to `high` onto the inner box."""

    first: float
    last: float
    low: float
    high: float
    log: bool = False

    @classmethod
    def around(cls, lines: Sequence[Line], from_zero: bool, log: bool = False) -> "Plot":
        """The smallest scales that hold the lines' finite points, with a little air."""
        points = [point for line in lines for point in finite(line.drawn)] or [Point(0, 0.0)]
        steps, values = [point.step for point in points], [point.value for point in points]
        low, high = (0.0 if from_zero else min(values)), max(values)
        margin = 0.04 * (high - low) or abs(high) * 0.5 or 1.0
        return cls(min(steps), max(steps), low if from_zero else low - margin, high + margin, log)

    def x(self, step: float) -> float:
        """Where a step stands, in the drawing's units."""
        first, last, at = (math.log(each) if self.log else each for each in (self.first, self.last, step))
        return round(LEFT + (WIDTH - LEFT - RIGHT) * ((at - first) / (last - first) if last > first else 0.5), 1)

    @property
    def steps(self) -> list[float]:
        """What the axis names: whole numbers of steps; of ratios 1, 2 and 5 times the powers of ten."""
        if not self.log:
            return [step for step in ticks(self.first, self.last) if step == int(step) or self.last < 1]
        powers = range(math.floor(math.log10(self.first)), math.ceil(math.log10(self.last)) + 1)
        factors = (1, 2, 5) if len(powers) <= 4 else (1,)
        round_ones = [factor * 10.0**power for power in powers for factor in factors]
        return [value for value in round_ones if self.first <= value <= self.last] or [self.first, self.last]

    def y(self, value: float) -> float:
        """Where a value stands, in the drawing's units."""
        share = (value - self.low) / (self.high - self.low)
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)


def finite(points: Sequence[Point]) -> list[Point]:
    """The points whose value is a number."""
    return [point for point in points if math.isfinite(point.value)]


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def draw(chart: Chart) -> Markup:
    """The chart as an element of the page: axes, then each line broken where a value is not finite."""
    plot = chart.plot
    summary = "; ".join(_summary(line) for line in chart.lines)
    return element(
        "svg",
        *_axes(plot, chart.unit, chart.across),
        *(shape for index, line in enumerate(chart.lines) for shape in _line(line, index, plot)),
        element("g", class_="pointer"),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        class_="chart",
        role="img",
        aria_label=f"{chart.title}. {summary}",
    )


def _summary(line: Line) -> str:
    points = finite(line.drawn)
    if not points:
        return f"{line.name}: no finite value"
    return f"{line.name}: {brief(points[0].value)} at first, {brief(points[-1].value)} at last"


def _axes(plot: Plot, unit: str, across: str) -> list[Markup]:
    floor = HEIGHT - BOTTOM
    shapes = []
    for value in ticks(plot.low, plot.high):
        y = plot.y(value)
        shapes += [
            element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"),
            element("text", brief(value), x=LEFT - 7, y=y + 4, text_anchor="end"),
        ]
    for step in plot.steps:
        shapes.append(element("text", brief(step), x=plot.x(step), y=floor + 17, text_anchor="middle"))
    shapes += [
        element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=floor, y2=floor, class_="axis"),
        element("text", across, x=WIDTH - RIGHT, y=HEIGHT - 4, text_anchor="end", class_="unit"),
        element("text", unit, x=LEFT, y=HEIGHT - 4, class_="unit"),
    ]
    return shapes


def _line(line: Line, index: int, plot: Plot) -> list[Markup]:
    drawn = line.drawn
    shapes = [element("polyline", points=_path(run, plot), class_=f"line line-{index}") for run in _unbroken(drawn)]
    if len(drawn) <= MAX_DOTS:
        shapes += [
            element("circle", cx=plot.x(step), cy=plot.y(value), r=2.6, class_=f"dot line-{index}")
            for step, value in finite(drawn)
        ]
    return shapes


def _path(points: Sequence[Point], plot: Plot) -> str:
    return " ".join(f"{plot.x(step)},{plot.y(value)}" for step, value in points)


def _unbroken(points: Sequence[Point]) -> list[list[Point]]:
    """The runs of finite points: a line does not bridge a loss that was not a number."""
    breaks = [-1, *(index for index, point in enumerate(points) if not math.isfinite(point.value)), len(points)]
    return [list(points[left + 1 : right]) for left, right in pairwise(breaks) if right > left + 1]
