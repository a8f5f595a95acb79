"""Benchmarks are run by hand, and rarely: what they take from Regard is there all the same."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted([*(ROOT / "benchmarks").glob("*.py"), ROOT / "recipes" / "table.py"])


def names_of_regard(script: Path) -> list[tuple[str, str]]:
    """(module, name) of each `from regard... import name`, wherever it stands."""
    imports = (node for node in ast.walk(ast.parse(script.read_text("utf-8"))) if isinstance(node, ast.ImportFrom))
    ours = (node for node in imports if node.module and node.module.split(".")[0] == "regard")
    return [(str(node.module), alias.name) for node in ours for alias in node.names]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_what_a_script_imports_is_there(script):
    for module, name in names_of_regard(script):
        assert hasattr(importlib.import_module(module), name), f"{script.name}: {module} has no {name}"


def test_the_scripts_import_something():
    assert sum(bool(names_of_regard(script)) for script in SCRIPTS) > 10
