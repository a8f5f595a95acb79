"""The floors of the house: what each part of src/regard may import, read from its syntax tree."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "regard"
FILES = sorted(SOURCE.rglob("*.py"))

FLOORS = (
    {"errors", "config", "specs", "batch"},
    {"features", "metrics", "nn", "decoding", "corpora"},
    {"data", "models"},
    {"interop"},
    {"training", "export"},
    {"compress"},
    {"tasks"},
    {"serving", "explain"},
    {"commands"},  # the verbs' bodies: cli names the options and imports these late
    {"demo"},
    {"cli"},
)
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}

ENGINES = {"keras", "tensorflow"}
WITHOUT_ENGINE = {"errors", "config", "specs", "batch", "features", "metrics", "decoding", "corpora"}
WITHOUT_TENSORFLOW = {"nn", "models"}
KERNELS = {"nn/kernels.py", "nn/training_kernels.py"}  # what training alone needs is in the second
NEVER = {"tf_keras", "pickle", "dill", "joblib", "shelve", "marshal"}
ONLY_IN = {  # reference.py is run by another interpreter; nothing of Regard runs it
    "torch": "commands/reference.py",
    "transformers": "commands/reference.py",
    "h5py": "interop/h5.py",
}
NO_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}
LONGEST_FILE = 400
LONGEST_FUNCTION = 80


def part_of(path: Path) -> str:
    """nn/layers.py -> nn; errors.py -> errors; __init__.py, which may import lazily from anywhere -> __init__."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Every dotted name that an import statement brings in, at whatever depth: `from a import b` gives a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offence(part: str, name: str, file: str = "") -> str | None:
    """Why `part` may not import `name`; None where it may."""
    top, *rest = name.split(".")
    if top == "regard" and rest and rest[0] in FLOOR_OF and part in FLOOR_OF:
        other = rest[0]
        if FLOOR_OF[other] > FLOOR_OF[part]:
            return f"{part} (floor {FLOOR_OF[part]}) imports {other}, which is above it"
        if FLOOR_OF[other] == FLOOR_OF[part] > 0 and other != part:
            return f"{part} imports {other} of its own floor"
        if part == "tasks" and other == "models":
            return "a task receives an engine and does not import models"
    if top in NEVER:
        return f"{top} has no place in Regard"
    if top in ONLY_IN and file != ONLY_IN[top]:
        return f"{top} has its place in {ONLY_IN[top]} alone"
    if top in ENGINES and part in WITHOUT_ENGINE:
        return f"{part} knows neither Keras nor TensorFlow, but imports {top}"
    if top == "tensorflow" and part in WITHOUT_TENSORFLOW and file not in KERNELS:
        return f"{part} is written in keras.ops; what needs TensorFlow stands in {' or '.join(sorted(KERNELS))}"
    return None


def functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_keeps_to_its_floor_and_its_size(path):
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    file = path.relative_to(SOURCE).as_posix()
    found = [offence(part_of(path), name, file) for name in imported_names(tree)]
    assert not [why for why in found if why]
    assert path.stem not in NO_NAMES
    assert text.count("\n") <= LONGEST_FILE
    assert not [(name, lines) for name, lines in functions(tree) if lines > LONGEST_FUNCTION]
    assert "TODO" not in text
    assert "FIXME" not in text


def test_every_part_of_the_package_stands_on_a_floor():
    assert {part_of(path) for path in FILES} - {"__init__"} <= FLOOR_OF.keys()


@pytest.mark.parametrize(
    ("part", "name", "file"),
    [
        ("nn", "regard.models.forms", ""),
        ("specs", "regard.nn.layers.Norm", ""),
        ("decoding", "regard.nn", ""),
        ("data", "regard.models.catalog", ""),
        ("models", "regard.data", ""),
        ("tasks", "regard.models.forms", ""),
        ("features", "keras.ops", ""),
        ("metrics", "tensorflow", ""),
        ("corpora", "keras", ""),
        ("config", "tensorflow", ""),
        ("nn", "tensorflow.nn", "nn/layers.py"),
        ("models", "tensorflow", "models/kernels.py"),
        ("interop", "torch.nn", ""),
        ("commands", "torch", "commands/verify.py"),
        ("interop", "h5py", "interop/tensors.py"),
        ("training", "transformers", ""),
        ("training", "pickle", ""),
    ],
)
def test_what_breaks_a_floor_is_seen(part, name, file):
    assert offence(part, name, file)


@pytest.mark.parametrize(
    ("part", "name", "file"),
    [
        ("nn", "tensorflow", "nn/kernels.py"),
        ("nn", "regard.nn.layers", "nn/attention.py"),
        ("config", "regard.errors.ConfigError", ""),
        ("training", "regard.data.batching", ""),
        ("training", "tensorflow", ""),
        ("cli", "regard.__version__", ""),
        ("commands", "transformers", "commands/reference.py"),
        ("interop", "h5py", "interop/h5.py"),
    ],
)
def test_what_keeps_to_the_floors_is_left_alone(part, name, file):
    assert offence(part, name, file) is None


def test_imports_inside_functions_and_of_packages_are_seen():
    tree = ast.parse("def f():\n    from regard import nn\n    if x:\n        import regard.cli as c\n")
    assert list(imported_names(tree)) == ["regard.nn", "regard.cli"]


def distribution_name(requirement: str) -> str:
    return requirement.split(";")[0].split("[")[0].split(">")[0].split("=")[0].split("<")[0].strip().lower()


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_every_package_that_is_imported_is_declared():
    extras = project()["optional-dependencies"]
    runtime = [*project()["dependencies"], *(line for name, lines in extras.items() if name != "dev" for line in lines)]
    declared = {distribution_name(requirement).replace("_", "-") for requirement in runtime}
    provided_by = packages_distributions()
    tops = {name.split(".")[0] for path in FILES for name in imported_names(ast.parse(path.read_text("utf-8")))}
    undeclared = {
        top
        for top in tops - set(sys.stdlib_module_names) - {"regard"}
        if not declared & {name.lower().replace("_", "-") for name in provided_by.get(top, [top])}
    }
    assert not undeclared


def test_nothing_in_core_can_bring_tensorflow():
    core = {distribution_name(requirement) for requirement in project()["dependencies"]}
    assert not {name for name in core if name.startswith("tensorflow") or name in {"tf-keras", "keras-hub"}}
