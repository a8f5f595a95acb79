import math
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.explain.charts import HEIGHT, MAX_POINTS, WIDTH, Chart, Line
from regard.explain.curves import Point
from regard.explain.svg import brief, shorten, text_width, ticks


def chart_of(*curves: list[float], from_zero: bool = False) -> Chart:
    lines = (
        Line(f"line {index}", tuple(Point(10 * step, value) for step, value in enumerate(values)))
        for index, values in enumerate(curves)
    )
    return Chart("Loss", "nats", "", tuple(lines), from_zero)


def runs_of(chart: Chart) -> list[list[tuple[float, float]]]:
    polylines = ElementTree.fromstring(chart.svg).iter("polyline")
    return [[tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()] for line in polylines]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.booleans())
def test_every_point_is_drawn_inside_the_picture(values: list[float], from_zero: bool) -> None:
    values = [abs(value) for value in values] if from_zero else values
    (run,) = runs_of(chart_of(values, from_zero=from_zero))
    assert len(run) == len(values)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in run)


def test_higher_values_stand_higher_and_later_steps_further_right() -> None:
    (run,) = runs_of(chart_of([3.0, 2.0, 1.0]))
    assert [x for x, _ in run] == sorted(x for x, _ in run)
    assert [y for _, y in run] == sorted(y for _, y in run)
    assert run[1][0] == pytest.approx((run[0][0] + run[2][0]) / 2, abs=0.1)


def test_equal_ratios_lie_equally_far_apart_on_an_axis_of_ratios() -> None:
    points = tuple(Point(step, 1.0) for step in (10, 100, 1000))
    ((one, two, three),) = runs_of(Chart("t", "u", "", (Line("a", points),), across="labels", log=True))
    assert two[0] - one[0] == pytest.approx(three[0] - two[0], abs=0.11)
    assert Chart("t", "u", "", (Line("a", points),), log=True).plot.steps == [10, 20, 50, 100, 200, 500, 1000]
    assert Chart("t", "u", "", (Line("a", (Point(3, 1.0), Point(4, 1.0))),), log=True).plot.steps == [3, 4]


def test_a_line_is_broken_where_its_value_is_not_a_number() -> None:
    chart = chart_of([1.0, 2.0, math.nan, 3.0, math.inf, 4.0, 5.0])
    assert [len(run) for run in runs_of(chart)] == [2, 1, 2]
    assert [value for _, value in chart.data["lines"][0]["points"]] == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_line_of_nothing_but_nan_is_drawn_as_nothing() -> None:
    chart = chart_of([math.nan, math.nan])
    assert runs_of(chart) == []
    assert "no finite value" in chart.svg


def test_a_long_curve_is_averaged_and_says_so() -> None:
    chart = chart_of([float(step) for step in range(3 * MAX_POINTS)])
    (run,) = runs_of(chart)
    assert len(run) == MAX_POINTS == len(chart.data["lines"][0]["points"])
    assert chart.note == "Each point is the mean of 3 logged values."
    assert chart_of([1.0, 2.0]).note == ""


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(3, 9))
def test_ticks_are_few_and_lie_on_the_axis(low: float, span: float, count: int) -> None:
    high = low + span
    if high - low < span / 2 or span < 1e-9 * abs(low):
        return
    marks = ticks(low, high, count)
    assert len(marks) <= count + 1
    assert all(low - 1e-6 * span <= mark <= high + 1e-6 * span for mark in marks)


def test_ticks_are_round() -> None:
    assert ticks(0, 104) == [0, 20, 40, 60, 80, 100]
    assert ticks(5, 5) == [5]


def test_axis_numbers_are_brief() -> None:
    shown = [brief(value) for value in (0, 0.0005, 0.3, 250, 1500, 12_000, 2_500_000)]
    assert shown == ["0", "0.0005", "0.3", "250", "1.5k", "12k", "2.5M"]


@given(st.text(max_size=40), st.floats(1, 12))
def test_a_shortened_text_fits_and_begins_like_the_whole(text: str, width: float) -> None:
    short = shorten(text, width)
    assert text_width(short) <= max(width, 1 + 1e-9)
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


def test_chinese_characters_are_as_wide_as_high() -> None:
    assert text_width("星期四") == 3
    assert text_width("abc") < 2
