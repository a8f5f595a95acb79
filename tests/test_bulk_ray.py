"""The lines of a bulk command on a real local Ray: in order, as they were, and no line lost with an actor that dies."""

import importlib.util
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from regard.commands.bulk import Bulk, answer_lines
from regard.commands.bulk_blocks import BLOCK, Answer
from regard.errors import InputError, MissingDependencyError

LINES = [f"line {number}" for number in range(3 * BLOCK + 7)]
SHOUTED = "".join(f"{number}\t{line.upper()}!\n" for number, line in enumerate(LINES))


@pytest.mark.full
def test_answers_come_in_order_though_an_actor_dies(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True)
    class Shout:  # within the test: it travels as it is, for Ray's processes know no module of the tests
        died: str
        what: ClassVar[str] = "shouts"

        def load(self) -> str:
            return "!"

        def answer(self, task: str, lines: list[str], first: int) -> Answer:
            if not first:
                time.sleep(0.5)
            if "line 70" in lines and not Path(self.died).exists():
                Path(self.died).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if "bad" in lines:
                raise InputError("bad is bad")
            numbered = enumerate(lines, first)
            text = "".join(f"{number}\t{line.upper()}{task}\n" for number, line in numbered)
            return Answer(text, (f"from line {first}",), lines.count("cut"))

    task, output = Shout(str(tmp_path / "died")), tmp_path / "out"
    answer_lines(task, LINES, Bulk(2, output, launcher="ray"))
    assert output.read_text("utf-8") == SHOUTED
    assert (tmp_path / "died").exists()
    assert not (tmp_path / "out.journal").exists()
    noted = [line for line in capfd.readouterr().err.splitlines() if line.startswith("regard: from line")]
    assert noted == [f"regard: from line {first}" for first in range(0, len(LINES), BLOCK)]
    with pytest.raises(InputError, match=r"^in lines 65 to 128 of the input: bad is bad$"):
        answer_lines(task, [*LINES[:100], "bad", *LINES[101:]], Bulk(2, tmp_path / "half", launcher="ray"))
    with pytest.raises(InputError, match=r"is half done \(64 lines\): add --resume"):
        answer_lines(task, LINES, Bulk(2, tmp_path / "half", launcher="ray"))
    output.unlink()
    (tmp_path / "half").rename(output)
    (tmp_path / "half.journal").rename(tmp_path / "out.journal")
    answer_lines(task, LINES, Bulk(1, output, resume=True, launcher="ray"))
    assert output.read_text("utf-8") == SHOUTED


def test_a_cluster_without_a_number_of_workers_is_refused() -> None:
    with pytest.raises(InputError, match="--launcher ray starts the processes that --workers counts: say how many"):
        answer_lines(None, LINES, Bulk(launcher="ray"))  # type: ignore[arg-type]


def test_without_ray_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = importlib.util.find_spec

    def absent(name: str) -> Any:
        return None if name in ("ray", "pandas") else found(name)

    monkeypatch.setattr("regard.commands.bulk_ray.find_spec", absent)
    with pytest.raises(MissingDependencyError, match=r"Ray Data needs ray, pandas.*: pip install 'regard\[ray\]'"):
        answer_lines(None, LINES, Bulk(1, tmp_path / "out", launcher="ray"))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
