"""docs/parity.md, which table.py writes: it has a line for every case, and no number that a test would fail."""

import json
import re
from pathlib import Path

import pytest

from regard.models.catalog import FAMILIES

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "parity.md"
CASES = sorted(path for path in (HERE / "cases").iterdir() if (path / "case.json").exists())
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text("utf-8").splitlines()
    if "|" in line
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_page_has_a_line_for_each_case(case):
    meta = json.loads((case / "case.json").read_text("utf-8"))
    (row,) = [row for row in ROWS if len(row) == 6 and row[2] == case.name]
    family, kind, _, outputs, ids, scores = row
    assert (family, kind) == (meta["family"], meta["architecture"])
    assert float(outputs) <= meta.get("tolerance", 1e-4)
    equal, of = re.fullmatch(r"(\d+) of (\d+)", ids).groups() if ids else (0, 0)
    assert equal == of
    assert bool(ids) == bool(meta.get("generate"))
    assert not scores or float(scores) <= 1e-4


def test_the_page_has_no_line_too_many_and_the_two_real_models():
    named = {row[2] for row in ROWS if len(row) == 6} - {"case", "---"}
    real = named - {case.name for case in CASES}
    assert sorted(name.split(",")[0] for name in real) == ["SmolLM2-135M-Instruct", "all-MiniLM-L6-v2"]


def test_the_page_names_the_file_of_every_family():
    files = {name: row[0] for row in ROWS if len(row) == 3 for name in row[2].split(", ")}
    for name, family in FAMILIES.items():
        assert files[name].startswith("models/"), name
        assert any(family.rules.__module__.endswith(row[0][7:-3]) for row in ROWS if len(row) == 3 and name in row[2])
