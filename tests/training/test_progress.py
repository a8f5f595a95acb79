import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from regard.config.tasks import TASKS
from regard.errors import MissingDependencyError
from regard.training import progress as module
from regard.training.progress import MetricsLog, Report, duration, validation_text

TRAIN: dict[str, Any] = {
    "kind": "train",
    "step": 50,
    "loss": 3.25,
    "learning_rate": 1e-4,
    "tokens": 100,
    "tokens_per_second": 5321.4,
    "padding": 0.0312,
}


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_resumed_log_has_each_step_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricsLog(path, 0)
    for step in (10, 20, 30):
        first.write({"kind": "train", "step": step, "life": 1})
    first.close()
    second = MetricsLog(path, 20)
    second.write({"kind": "train", "step": 30, "life": 2})
    second.close()
    assert [(record["step"], record["life"]) for record in read(path)] == [(10, 1), (20, 1), (30, 2)]


def test_torn_lines_and_the_account_of_an_earlier_end_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = '{"kind": "train", "step": 1}\n'
    path.write_text(whole + '{"kind": "final", "step": 1}\n{"kind": "train", "st', "utf-8")
    MetricsLog(path, 5).close()
    assert path.read_text("utf-8") == whole


def test_a_new_run_in_an_old_directory_starts_an_empty_log(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"kind": "train", "step": 7}\n')
    MetricsLog(tmp_path / "metrics.jsonl", 0).close()
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_a_record_is_on_disk_at_once(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", 0)
    log.write({"kind": "train", "step": 1})
    assert read(tmp_path / "metrics.jsonl") == [{"kind": "train", "step": 1}]
    log.close()


def reported(tmp_path: Path, *, terminal: bool) -> str:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=150, color_system=None)
    with Report(tmp_path, console, step=0) as report:
        report.step(50, 0.5)
        report.train(TRAIN, 0.5, 75.0)
        report.validation(
            {"kind": "validation", "step": 50, "loss": 3.0, "perplexity": 20.1, "bleu": 7.25, "chrf": None}
        )
        report.skipped({"kind": "skipped", "step": 51, "epoch": 0, "batch": 17, "reason": "its loss was a spike"})
        report.rolled_back({"kind": "rolled_back", "step": 51, "to": 40, "rollbacks": 1, "reason": "2 were skipped"})
    assert [record["kind"] for record in read(tmp_path / "metrics.jsonl")] == [
        "train",
        "validation",
        "skipped",
        "rolled_back",
    ]
    return output.getvalue()


def test_piped_progress_is_plain_lines(tmp_path: Path) -> None:
    assert reported(tmp_path, terminal=False).splitlines() == [
        "step 50  loss 3.2500  rate 1.00e-04  padding 3.1%  5,321 tokens/s  1:15 left",
        "step 50  validation  loss 3.0000  perplexity 20.10  BLEU 7.2",
        "WARNING: step 51 was skipped: its loss was a spike (epoch 0, from batch 17 on)",
        "WARNING: 2 were skipped: rolled back to the weights of step 40; training goes on after the data of step 51 "
        "(rollback 1)",
    ]


def test_a_terminal_shows_a_bar_with_the_same_facts_and_gets_its_cursor_back(tmp_path: Path) -> None:
    output = reported(tmp_path, terminal=True)
    for fact in ("step 50", "━", "loss 3.2500", "rate 1.00e-04", "5,321 tokens/s", "padding 3.1%", "1:15 left"):
        assert fact in output
    assert output.rfind("\x1b[?25h") > output.rfind("\x1b[?25l")


def test_steps_that_were_all_skipped_have_no_loss(tmp_path: Path) -> None:
    output = io.StringIO()
    with Report(tmp_path, Console(file=output), step=0) as report:
        report.train({**TRAIN, "loss": None}, 0.1, None)
    assert "loss skipped" in output.getvalue()
    assert "left" not in output.getvalue()


def test_a_full_disk_does_not_end_the_run_and_costs_no_record_once_there_is_room(tmp_path: Path) -> None:
    class FullOnce:
        """Takes five bytes, then none, then all."""

        def __init__(self, file: Any) -> None:
            self.file, self.calls = file, 0

        def write(self, data: bytes) -> int:
            self.calls += 1
            if self.calls == 2:
                raise OSError(28, "No space left on device")
            return int(self.file.write(data[:5] if self.calls == 1 else data))

        def close(self) -> None:
            self.file.close()

    output = io.StringIO()
    with Report(tmp_path, Console(file=output, width=200), step=0) as report:
        report._log._file = FullOnce(report._log._file)
        for step in (1, 2, 3):
            report.train({**TRAIN, "step": step}, 0.5, None)
    assert output.getvalue().count("WARNING: metrics.jsonl could not be written") == 1
    assert [record["step"] for record in read(tmp_path / "metrics.jsonl")] == [1, 2, 3]


def test_tensorboard_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"regard\[tensorboard\]"):
        Report(tmp_path, Console(file=io.StringIO()), step=0, tensorboard=True)


@pytest.mark.parametrize(("seconds", "text"), [(4.4, "0:04"), (75, "1:15"), (4000, "1:06:40"), (59.7, "1:00")])
def test_durations_are_hours_minutes_and_seconds(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("task", TASKS)
def test_a_line_of_validation_shows_each_score_that_may_choose_the_best_step(task: str) -> None:
    record = dict.fromkeys(TASKS[task].scores, 0.5)
    assert validation_text(record).count("0.5") + validation_text(record).count("50.00%") == len(record)
