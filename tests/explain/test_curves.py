import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.errors import DataError
from regard.explain.curves import Curves, Point, thin


def write_metrics(directory: Path, *lines: object) -> Path:
    path = directory / "metrics.jsonl"
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def train(step: int, loss: float = 1.0) -> dict[str, object]:
    return {"kind": "train", "step": step, "loss": loss}


def validation(step: int, **values: float | None) -> dict[str, object]:
    return {"kind": "validation", "step": step, **values}


def test_each_kind_keeps_its_values_in_order_of_steps(tmp_path: Path) -> None:
    path = write_metrics(
        tmp_path, {"kind": "start"}, train(10, 3.0), train(20, 2.0), validation(20, loss=2.5, bleu=11.0), train(30, 1.5)
    )
    curves = Curves.from_metrics(path)
    assert curves.points("train", "loss") == (Point(10, 3.0), Point(20, 2.0), Point(30, 1.5))
    assert curves.points("validation", "loss") == (Point(20, 2.5),)
    assert curves.points("validation", "bleu") == (Point(20, 11.0),)
    assert curves.points("validation", "chrf") == ()
    assert curves.unreadable == 0


def test_a_resumed_run_replaces_what_the_killed_run_had_logged_beyond_its_checkpoint(tmp_path: Path) -> None:
    first = [train(10, 3.0), train(20, 2.0), validation(20, loss=9.0), train(30, 1.9), train(40, 1.8)]
    second = [train(30, 1.7), validation(30, loss=1.6), train(40, 1.5)]
    curves = Curves.from_metrics(write_metrics(tmp_path, *first, *second))
    assert curves.points("train", "loss") == (Point(10, 3.0), Point(20, 2.0), Point(30, 1.7), Point(40, 1.5))
    assert curves.points("validation", "loss") == (Point(20, 9.0), Point(30, 1.6))


def test_a_validation_that_a_resumed_run_has_not_reached_again_is_gone(tmp_path: Path) -> None:
    path = write_metrics(tmp_path, train(10), train(20), validation(20, loss=1.0), train(30), train(20))
    assert Curves.from_metrics(path).points("validation", "loss") == ()


def test_a_resume_between_two_logged_steps_leaves_no_point_from_beyond_it(tmp_path: Path) -> None:
    curves = Curves.from_metrics(write_metrics(tmp_path, train(10), train(20), train(30), train(15), train(25)))
    assert [step for step, _ in curves.points("train", "loss")] == [10, 15, 25]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_training_and_validation_of_one_step_both_stay_whichever_comes_first(
    tmp_path: Path, order: tuple[int, int]
) -> None:
    pair = [train(10), validation(10, loss=1.0)]
    curves = Curves.from_metrics(write_metrics(tmp_path, *(pair[index] for index in order)))
    assert len(curves.train) == len(curves.validation) == 1


def test_a_torn_last_line_is_left_out_and_counted(tmp_path: Path) -> None:
    curves = Curves.from_metrics(write_metrics(tmp_path, train(10), '{"kind":"train","step":20,"lo'))
    assert [step for step, _ in curves.points("train", "loss")] == [10]
    assert curves.unreadable == 1


def test_lines_that_are_no_records_are_counted_and_cost_nothing_else(tmp_path: Path) -> None:
    path = write_metrics(tmp_path, "[1, 2]\n", "\n", '{"kind":"train"}\n', '{"step":3}\n', "\ufffd\x00\n", train(10))
    curves = Curves.from_metrics(path)
    assert curves.unreadable == 4
    assert len(curves.train) == 1


def test_null_has_no_point_and_nan_keeps_its_place(tmp_path: Path) -> None:
    path = write_metrics(tmp_path, validation(10, bleu=None), '{"kind":"validation","step":20,"bleu":NaN}\n')
    (point,) = Curves.from_metrics(path).points("validation", "bleu")
    assert point.step == 20
    assert math.isnan(point.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        Curves.from_metrics(tmp_path / "nowhere.jsonl")


@given(st.lists(st.floats(-100, 100), max_size=80), st.integers(1, 20))
def test_thinning_keeps_the_limit_the_last_step_and_the_mean(values: list[float], limit: int) -> None:
    points = [Point(step, value) for step, value in enumerate(values)]
    thinned = thin(points, limit)
    assert len(thinned) <= limit
    assert thinned[-1:] == () if not points else thinned[-1].step == points[-1].step
    if len(points) <= limit:
        assert list(thinned) == points
    elif len(points) % len(thinned) == 0:
        mean = sum(value for _, value in thinned) / len(thinned)
        assert mean == pytest.approx(sum(values) / len(values), abs=1e-9)
