"""Every recipe opens with how to run it and what came of it, and is a run file that its builder is for."""

import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from regard.config import load_run
from regard.corpora import BUILDERS

RECIPES = sorted((Path(__file__).parent.parent / "recipes").rglob("*.toml"))
RECORDS = [path.with_suffix(".json") for path in RECIPES if path.with_suffix(".json").is_file()]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recipe_is_a_run_file_whose_builder_is_for_its_task(path: Path) -> None:
    run = load_run(path, [])
    assert run.task in BUILDERS[str(run.data.builder)].tasks


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recipe_opens_with_its_command_and_with_what_was_measured(path: Path) -> None:
    comment = path.read_text("utf-8").partition("\ntask = ")[0]
    assert all(line.startswith("#") for line in comment.splitlines())
    assert f"regard train recipes/{path.parent.name}/{path.name}" in comment
    assert "Measured" in comment or "Not trained yet" in comment


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_opening_comment_states_the_score_of_the_record_with_its_interval(path: Path) -> None:
    comment = " ".join(path.with_suffix(".toml").read_text("utf-8").partition("\ntask = ")[0].split())
    groups = json.loads(path.read_text("utf-8"))["test"]
    scores = [next(iter(group["scores"].values())) for group in groups]  # the one that the task is judged by
    assert any(_stated(score["value"], score["interval"], comment) for score in scores)


def test_a_comment_that_states_another_score_or_interval_is_seen() -> None:
    assert _stated(0.8482, [0.818, 0.876], "exact match 84.8 % [81.8, 87.6]")
    assert _stated(33.51, [31.8, 35.2], "BLEU 33.5 (95 %: 31.8 to 35.2)")
    assert not _stated(0.8482, [0.818, 0.876], "exact match 84.9 % [81.8, 87.6]")
    assert not _stated(0.8482, [0.818, 0.876], "exact match 84.8 % [81.8, 87.7]")
    assert not _stated(0.8482, [0.818, 0.876], "exact match 184.8 % [81.8, 87.6]")


def _stated(value: float, interval: Sequence[float], comment: str) -> bool:
    """Whether a score stands there with its interval: a share as such or of a hundred, to one digit or more."""
    for scale, digits in itertools.product((1, 100), (1, 2, 3)):
        first, last = (re.escape(f"{bound * scale:.{digits}f}") for bound in interval)
        if re.search(rf"(?<![\d.]){first}(?:, | to ){last}(?!\d)", comment):
            values = {f"{value * scale:.{digits}f}" for digits in (1, 2, 3)}
            return any(re.search(rf"(?<![\d.]){re.escape(text)}(?!\d)", comment) for text in values)
    return False
