"""Several runs in the same charts: what the page holds, the order of the table, the picture."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from regard.cli import main
from regard.commands.plot import read_runs
from regard.config.tasks import TASKS
from regard.errors import ConfigError, DataError
from regard.explain.comparison import Comparison, best_of, render
from regard.explain.curves import Curves, Point


def a_run(directory: Path, losses: list[float | None], best: str = "loss", **more: Any) -> Path:
    directory.mkdir(parents=True)
    lines: list[dict[str, Any]] = []
    for number, loss in enumerate(losses, 1):
        train = {"kind": "train", "step": 10 * number, "loss": loss, "learning_rate": 1e-3, "tokens": 100 * number}
        validation = {"kind": "validation", "step": 10 * number, "loss": loss, **more}
        lines += [{**train, "seconds": 60.0 * number}, validation]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    (directory / "run.toml").write_text(f'[training]\nbest = "{best}"\n', "utf-8")
    return directory


def test_each_value_that_a_run_has_logged_has_a_chart_with_a_line_for_each_run(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / "a", [3.0, 2.0]), a_run(tmp_path / "b", [4.0], bleu=7.5)]
    comparison = read_runs(runs)
    charts = {chart.title: chart for chart in comparison.charts}
    assert list(charts) == ["Validation loss", "Training loss", "BLEU", "Learning rate"]
    lines = [[(line.name, line.points) for line in charts[title].lines] for title in ("Validation loss", "BLEU")]
    assert lines == [
        [("a", (Point(10, 3.0), Point(20, 2.0))), ("b", (Point(10, 4.0),))],
        [("a", ()), ("b", (Point(10, 7.5),))],
    ]
    found = re.findall(r'<script type="application/json">(.*?)</script>', render(comparison))
    assert [len(json.loads(data)["lines"]) for data in found] == [2] * 4


@pytest.mark.parametrize("task", sorted(TASKS))
def test_whatever_a_run_may_be_kept_for_has_a_chart(tmp_path: Path, task: str) -> None:
    scores = dict.fromkeys(TASKS[task].scores, 0.5)
    comparison = read_runs([a_run(tmp_path / "a", [3.0], **scores)])
    of_validation = [chart for chart in comparison.charts if chart.lines[0].points == (Point(10, 0.5),)]
    assert len(of_validation) == len(scores)


def test_the_table_has_the_best_run_first_by_the_score_that_the_runs_are_kept_for(tmp_path: Path) -> None:
    losses = read_runs([a_run(tmp_path / "a", [3.0, 5.0]), a_run(tmp_path / "b", [2.0]), a_run(tmp_path / "c", [None])])
    assert [(row.name, row.best, row.best_step, row.steps, row.tokens) for row in losses.rows] == [
        ("b", 2.0, 10, 10, 100),
        ("a", 3.0, 10, 20, 200),
        ("c", None, None, 10, 100),
    ]
    by_f1 = [a_run(tmp_path / "d", [1.0], "f1", f1=0.2), a_run(tmp_path / "e", [2.0], "f1", f1=0.4)]
    assert [row.name for row in read_runs(by_f1).rows] == ["e", "d"]
    assert read_runs([by_f1[0], tmp_path / "a"]).key == "loss"


def test_a_value_that_is_not_a_number_is_never_the_best() -> None:
    points = [Point(1, float("nan")), Point(2, 3.0), Point(3, float("-inf"))]
    assert best_of(points, "loss") == Point(2, 3.0)
    assert best_of(points[:1], "bleu") is None


def test_the_names_of_runs_are_text_and_never_markup() -> None:
    records = ({"kind": "train", "step": 1, "loss": 2.0},)
    page = render(Comparison({"<i>&\ud800": Curves(train=records)}))
    assert "<i>" not in page
    assert "&lt;i&gt;&amp;\ufffd" in page
    page.encode()


def test_the_page_asks_for_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = render(read_runs([a_run(tmp_path / "a", [3.0])]))
    assert "default-src 'none'" in page
    assert not re.findall(r"(?:src|href)\s*=|url\(|@import", page.replace("default-src", "").replace("style-src", ""))


def test_equal_names_are_told_apart_by_as_much_of_their_paths_as_it_takes(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / "x" / "run", [1.0]), a_run(tmp_path / "y" / "run", [2.0]), a_run(tmp_path / "z", [3.0])]
    assert list(read_runs([*runs, runs[0]]).runs) == ["x/run", "y/run", "z"]


def test_what_is_no_run_and_too_many_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is no run directory .* no metrics.jsonl"):
        read_runs([tmp_path])
    with pytest.raises(ConfigError, match="a chart tells at most 8 runs apart, but 9 are given"):
        read_runs([tmp_path] * 9)


def test_the_verb_writes_a_page_and_a_picture_and_prints_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = a_run(tmp_path / "a", [3.0, 2.0])
    assert main(["plot", str(run), "-o", str(tmp_path / "out" / "both")]) == 0
    page, picture = map(Path, capsys.readouterr().out.split())
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["plot", str(run), "-o", str(tmp_path / "page"), "--no-png"]) == 0
    assert not (tmp_path / "page.png").exists()


def test_a_run_that_has_logged_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run(tmp_path / "a", [])
    assert main(["plot", str(run), "--no-png", "-o", str(tmp_path / "page")]) == 2
    assert "no step is logged yet" in capsys.readouterr().err


def limited_run(directory: Path, limit: int, scores: list[float]) -> Path:
    run = a_run(directory, [1.0] * len(scores), "accuracy")
    lines = [{"kind": "validation", "step": n, "loss": 1.0, "accuracy": score} for n, score in enumerate(scores, 1)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    (run / "run.toml").write_text(f'[data]\nlimit = {limit}\n[training]\nbest = "accuracy"\n', "utf-8")
    return run


def test_best_scores_are_drawn_against_a_key_a_line_for_the_runs_of_each_directory(tmp_path: Path) -> None:
    runs = [
        limited_run(tmp_path / "small" / "limit=1000", 1000, [0.2, 0.6, 0.5]),
        limited_run(tmp_path / "small" / "limit=10", 10, [0.3]),
        limited_run(tmp_path / "large" / "limit=10,seed=1", 10, [0.4]),
        limited_run(tmp_path / "large" / "limit=10,seed=2", 10, [0.1, 0.2]),
    ]
    (chart,) = read_runs(runs, "data.limit").charts
    assert [(line.name, line.points) for line in chart.lines] == [
        ("small", (Point(10, 0.3), Point(1000, 0.6))),
        ("large", (Point(10, pytest.approx(0.3)),)),
    ]
    assert (chart.title, chart.across, chart.log) == ("Best accuracy on validation", "data.limit", True)
    assert not read_runs(runs[1:2], "data.limit").charts[0].log
    page = render(read_runs(runs, "data.limit"))
    assert "over its data.limit" in page
    assert ">data.limit</text>" in page
    assert len(re.findall(r"<tr><td>", page)) == 4


def test_the_verb_draws_many_runs_of_few_directories_and_refuses_a_run_without_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [limited_run(tmp_path / "a" / str(n), 10**n, [n / 10]) for n in range(1, 10)]
    drawing = ["plot", *map(str, runs), "-o", str(tmp_path / "labels")]
    assert main([*drawing, "--against", "data.limit"]) == 0
    page, picture = map(Path, capsys.readouterr().out.split())
    assert json.loads(re.findall(r"json\">(.*?)</script>", page.read_text("utf-8"))[0])["log"] is True
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main([*drawing, "--against", "data.weight"]) == 2
    assert "run.toml does not say data.weight, but --against needs a number of each run" in capsys.readouterr().err
    assert main([*drawing, "--against", "training.best"]) == 2
    assert "run.toml has 'accuracy' as training.best" in capsys.readouterr().err
