"""The order of the tests of recorded cases: case by case, so that no more than one model is held at a time."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move what test_parity.py asks of one case together; all else keeps its place."""
    moved = [item.path.name == "test_parity.py" and "path" in _given(item) for item in items]
    places = [place for place, moves in enumerate(moved) if moves]
    ordered = sorted((items[place] for place in places), key=lambda item: _given(item)["path"].name)
    for place, item in zip(places, ordered, strict=True):
        items[place] = item


def _given(item: pytest.Item) -> dict[str, Path]:
    callspec = getattr(item, "callspec", None)
    return {} if callspec is None else callspec.params
