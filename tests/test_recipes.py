"""Every recipe opens with how to run it and what came of it, and is a run file that its builder is for."""

from pathlib import Path

import pytest

from regard.config import load_run
from regard.corpora import BUILDERS

RECIPES = sorted((Path(__file__).parent.parent / "recipes").rglob("*.toml"))


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
