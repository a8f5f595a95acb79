"""The table of the recipes is what their records say."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOML = 'task = "classify"\n[data]\ntrain = [{jsonl = "x.jsonl"}]\n[training]\nsteps = 5\n'
RECORD = {
    "network": "encoder (bert), 1 layers",
    "parameters": 1_500_000,
    "steps": 5000,
    "tokens": 2_000_000,
    "minutes": 58.3,
    "examples": {"train": 900},
    "test": [
        {
            "name": "all",
            "examples": 70,
            "scores": {
                "accuracy": {"value": 0.812, "interval": [0.78, 0.84]},
                "macro_f1": {"value": 0.5, "interval": None},
            },
        }
    ],
}


@pytest.fixture(scope="module")
def recipes():
    spec = importlib.util.spec_from_file_location("recipes_table", ROOT / "recipes" / "table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_of_the_recipes_is_what_the_command_writes(recipes):
    assert (ROOT / "recipes" / "README.md").read_text("utf-8") == recipes.table(ROOT / "recipes")


def test_a_recipe_with_a_record_has_its_scores_and_one_without_is_named(recipes, tmp_path):
    (tmp_path / "classify").mkdir()
    for name in ("done", "open"):
        (tmp_path / "classify" / f"{name}.toml").write_text(TOML)
    (tmp_path / "classify" / "done.json").write_text(json.dumps(RECORD))
    text = recipes.table(tmp_path)
    assert "| files: 900 to train, 70 scored | encoder (bert), 1 layers; 1.5 M parameters |" in text
    assert "5,000 steps, 2.0 M tokens, 58 minutes | accuracy 81.20 % (78.0 – 84.0), macro F1 50.00 % |" in text
    assert "**Without a record**" in text
    assert "classify/open.toml" in text.split("**Without a record**")[1]
    assert "classify/done.toml" not in text.split("**Without a record**")[1]


def test_a_run_of_another_recipe_is_told_by_what_differs(recipes, tmp_path):
    (tmp_path / "a.toml").write_text(TOML)
    (tmp_path / "b.toml").write_text(TOML.replace("steps = 5", "steps = 6"))
    one, other = (recipes.load_run(tmp_path / f"{name}.toml") for name in "ab")
    assert recipes.differing(one, other) == ["training"]
    assert recipes.differing(one, one) == []
