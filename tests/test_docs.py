"""The pages under docs: the commands that they show exist as written, their run files are run files, their links lead
somewhere. Nothing is trained here."""

import re
import runpy
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
import typer

from regard.cli import app
from regard.commands.sweep import combine
from regard.config import OptimizerConfig, ScheduleConfig, load_run, parse_run
from regard.errors import TrainingInterrupted, WorkerLost
from regard.training.resume import CHANGEABLE

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
    assert {each for each in arguments if re.match(r"-+[a-z]", each)} <= known  # and not -, nor numbers below 0
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


PAGE_OF = {  # a directory of recipes -> the page that walks through one of them
    "answer": "answering",
    "caption": "captions",
    "classify": "classification",
    "classify-image": "images",
    "embed": "embeddings",
    "language-model": "language-model",
    "summarise": "summaries",
    "transcribe": "speech",
    "translate": "translation",
}


@pytest.mark.parametrize("directory", sorted({recipe.parent.name for recipe in (ROOT / "recipes").glob("*/*.toml")}))
def test_the_page_of_each_task_trains_a_recipe_of_it_and_evaluates_the_run(directory: str) -> None:
    commands = commands_of(ROOT / "docs" / f"{PAGE_OF[directory]}.md")
    trainings = [given for _, verb, *given in commands if verb == "train" and f"recipes/{directory}/" in given[0]]
    trained = {given[given.index("-o") + 1] for given in trainings}
    assert trained & {given[0] for _, verb, *given in commands if verb == "evaluate"}


RUN_FILES = [
    pytest.param(text, id=f"{page.stem}: {number}")
    for page in PAGES
    for number, text in enumerate(re.findall(r"^```toml\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL))
    if text.startswith("task = ")
]


@pytest.mark.parametrize("text", RUN_FILES)
def test_a_run_file_on_a_page_is_one(text: str) -> None:
    values = tomllib.loads(text)
    for table, least in (("data", {"train": [{"jsonl": "a"}]}), ("training", {"steps": 1})):
        values.setdefault(table, least)  # a page shows what it is about
    assert parse_run(values).task == values["task"]


def test_the_page_of_keys_is_what_the_classes_say_and_says_something_of_each() -> None:
    names = runpy.run_path(str(ROOT / "docs" / "keys.py"))
    written = (ROOT / "docs" / "keys.md").read_text("utf-8")
    assert names["page"]() == written, "run docs/keys.py"
    rows = [line.strip("| ").split(" | ") for line in written.splitlines() if line.startswith("| `")]
    keys = [row for row in rows if len(row) >= 4]
    assert len(keys) > 100
    assert all(row[3].strip() for row in keys if not row[0].startswith("`vit") and "layers" not in row[3])


def test_the_page_on_attention_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "attention.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    names: dict[str, object] = {}
    for code, printed in blocks:  # one after the other: each knows what those before it made
        exec(code, names)
        assert capsys.readouterr().out == printed


def test_the_page_on_training_names_what_may_change_and_every_optimizer_schedule_and_exit_code() -> None:
    page = (ROOT / "docs" / "training.md").read_text("utf-8")
    paragraph = next(part for part in page.split("\n\n") if part.startswith("These keys may change"))
    named = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", paragraph))
    assert named == CHANGEABLE
    rows = {
        name for row in re.findall(r"^\| ([^|]*)\|", page, re.MULTILINE) for name in re.findall(r"`([a-z_]+)`", row)
    }
    kinds = (OptimizerConfig, ScheduleConfig)
    assert {name for kind in kinds for name in get_args(kind.model_fields["name"].annotation)} <= rows
    for error in (TrainingInterrupted, WorkerLost):
        assert f"exit code {error.exit_code}" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
