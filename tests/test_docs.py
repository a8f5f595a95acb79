"""The pages under docs: the commands that they show exist as written, their run files are run files, their links lead
somewhere. Nothing is trained here."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import typer

from regard.cli import app
from regard.commands.sweep import combine
from regard.config import load_run

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def commands_of(page: Path) -> list[list[str]]:
    """The indented lines that begin with regard, as a shell would part them; comments left out."""
    lines = re.findall(r"^    (regard .*)$", page.read_text("utf-8"), re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


SHOWN = [
    pytest.param(command, id=f"{page.stem}: {' '.join(command)}") for page in PAGES for command in commands_of(page)
]


@pytest.mark.parametrize("command", SHOWN)
def test_a_command_on_a_page_has_its_verb_its_options_and_a_run_that_is_one(command: list[str]) -> None:
    _, verb, *arguments = command
    known = {name for parameter in VERBS[verb].params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {each for each in arguments if each.startswith("-") and each != "-"} <= known
    settings = [value for name, value in pairwise(arguments) if name == "--set"]
    for recipe in (each for each in arguments if each.startswith("recipes/")):
        if verb == "sweep":
            assert combine(ROOT / recipe, Path("runs"), settings)
        else:
            assert load_run(ROOT / recipe, settings).task


def test_commands_are_found_on_the_pages_and_a_wrong_one_is_seen() -> None:
    assert len(SHOWN) > 20
    with pytest.raises(AssertionError):
        test_a_command_on_a_page_has_its_verb_its_options_and_a_run_that_is_one(["regard", "train", "x", "--nonsense"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
