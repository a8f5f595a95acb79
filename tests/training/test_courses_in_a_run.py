"""Mixed corpora, a curriculum and recomputed layers in whole runs at toy size."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from regard.config import RunConfig, parse_run
from regard.data.shards import MANIFEST
from regard.errors import ConfigError, DataError, TrainingInterrupted
from regard.training.trainer import train


def mixed_run(corpus: Path, toy_run: Callable[..., RunConfig], **changes: Any) -> RunConfig:
    values = toy_run(steps=6, validate_every=4, accumulation=2, remat=True).model_dump(mode="json")
    lines = (corpus / "train.tsv").read_text("utf-8").splitlines(keepends=True)
    for name, part in (("large", lines[:-15]), ("small", lines[-15:])):
        (corpus / f"{name}.tsv").write_text("".join(part), "utf-8")
    train_on = [{"tsv": str(corpus / "large.tsv")}, {"tsv": str(corpus / "small.tsv")}]
    course = {"train": train_on, "temperature": 3.0, "curriculum": {"steps": 4}, **changes}
    return parse_run({**values, "data": {**values["data"], **course}})


@pytest.fixture(scope="module")
def whole(
    corpus: Path, toy_run: Callable[..., RunConfig], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    directory, said = tmp_path_factory.mktemp("mixed"), io.StringIO()
    train(mixed_run(corpus, toy_run), directory, console=Console(file=said, width=200))
    return directory, said.getvalue()


def test_a_run_says_how_often_each_corpus_is_read(whole: tuple[Path, str]) -> None:
    assert "corpora are mixed at temperature 3" in whole[1]
    assert "large.tsv: 101 of an epoch's 150 rows (67.3%), each 0.75 times" in whole[1]
    assert "small.tsv: 49 of an epoch's 150 rows (32.7%), each 3.27 times" in whole[1]


def test_a_run_stopped_within_its_curriculum_goes_on_with_the_same_bits(
    corpus: Path,
    toy_run: Callable[..., RunConfig],
    whole: tuple[Path, str],
    tmp_path: Path,
    assert_as_if_nothing_had_happened: Callable[[Path, Path], None],
) -> None:
    shutil.copytree(whole[0] / "data", tmp_path / "data")
    run, asked = mixed_run(corpus, toy_run), iter(range(100))
    with pytest.raises(TrainingInterrupted):
        train(run, tmp_path, stop=lambda: next(asked) >= 2, console=Console(file=io.StringIO()))
    train(run, tmp_path, console=Console(file=io.StringIO()))
    assert_as_if_nothing_had_happened(tmp_path, whole[0])


@pytest.mark.parametrize("change", [{"temperature": 2.0}, {"curriculum": {"steps": 5}}])
def test_what_an_epoch_is_made_of_cannot_change_when_a_run_goes_on(
    change: dict[str, Any], corpus: Path, toy_run: Callable[..., RunConfig], whole: tuple[Path, str]
) -> None:
    with pytest.raises(ConfigError, match=rf"data.{next(iter(change))}.* cannot change when a run goes on"):
        train(mixed_run(corpus, toy_run, **change), whole[0], console=Console(file=io.StringIO()))


def test_data_of_a_version_that_did_not_note_the_corpora_say_what_to_do(
    corpus: Path, toy_run: Callable[..., RunConfig], whole: tuple[Path, str], tmp_path: Path
) -> None:
    shutil.copytree(whole[0] / "data", tmp_path / "data")
    manifest = tmp_path / "data" / MANIFEST
    manifest.write_text(manifest.read_text("utf-8").replace('"corpora"', '"unknown"'), "utf-8")
    with pytest.raises(DataError, match=r"of an earlier version.* data.temperature needs that: remove it"):
        train(mixed_run(corpus, toy_run), tmp_path, console=Console(file=io.StringIO()))
