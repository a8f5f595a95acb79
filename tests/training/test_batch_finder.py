"""The batch that memory bears: the search by itself, on made-up memory, then in a run."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.batch import Batch
from regard.cli import main
from regard.config import CurriculumConfig, RunConfig, load_run, to_toml
from regard.data.batching import Batches, Position
from regard.errors import ConfigError
from regard.training import batch_finder, rate_finder
from regard.training.batch_finder import Sizes, Trial, _fullest, find_batch, search, settled
from regard.training.rate_finder import Finding, find_rate
from regard.training.trainer import train

sys.path.append(str(Path(__file__).parent))

from whole_runs import quiet


def linear(base: int, each: int) -> Callable[[int], Trial]:
    """A step whose memory grows with its size."""
    return lambda size: Trial(size, base + each * size, 1.0, size)


@given(st.integers(0, 10**9), st.integers(1, 10**6), st.integers(1, 10**11))
def test_what_is_suggested_fits_and_a_step_more_would_not(base: int, each: int, memory: int) -> None:
    found = search(linear(base, each), "batch_tokens", memory, 65_536)
    if base + 512 * each > memory:
        assert found.suggested is None
        return
    assert found.suggested is not None
    assert base + each * found.suggested <= memory
    assert found.suggested == 65_536 or base + each * (found.suggested + 64) > memory


def test_no_size_is_tried_that_the_line_says_would_not_fit() -> None:
    found = search(linear(100, 1), "batch_tokens", 5000, 65_536)
    assert [trial.size for trial in found.trials] == [512, 1024, 2048, 4096]
    assert found.ended == "8,192 would not fit"
    assert found.suggested == 4096 + 64 * 12


def test_memory_that_grows_faster_than_the_line_ends_the_search_too() -> None:
    found = search(lambda size: Trial(size, size**3, 1.0, 1), "batch_images", 3000, 1024)
    assert [trial.size for trial in found.trials] == [8, 16]
    assert found.ended == "16 did not fit"
    assert found.suggested == 8


def test_a_size_above_the_largest_is_neither_tried_nor_suggested() -> None:
    found = search(linear(0, 1), "batch_tokens", 10**12, 3000)
    assert [trial.size for trial in found.trials] == [512, 1024, 2048]
    assert found.suggested == 2048 + 64 * 14


def test_where_one_batch_holds_all_of_the_data_no_larger_one_is_tried_or_suggested() -> None:
    grows = linear(0, 1)
    found = search(lambda size: grows(size)._replace(whole=size >= 2048), "batch_tokens", 10**12, 65_536)
    assert [trial.size for trial in found.trials] == [512, 1024, 2048]
    assert found.suggested == 2048
    assert found.ended == "one batch of 2,048 holds all of the training data"


def test_the_fullest_batch_is_the_one_measured() -> None:
    class Three:
        def epoch_length(self, epoch: int) -> int:
            return 3

        def iterate(self, position: Position):
            return ((batch, position) for batch in ({"places": 3}, {"places": 9}, {"places": 5}))

        def tally(self, batch):
            return SimpleNamespace(places=batch["places"])

    assert _fullest(Three()) == ({"places": 9}, 9)


def test_what_is_measured_before_a_run_is_not_measured_on_the_short_rows_that_it_begins_with(
    toy_run: Callable[..., RunConfig], begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = toy_run()
    course = run.model_copy(update={"data": run.data.model_copy(update={"curriculum": CurriculumConfig(steps=99)})})
    shown: list[list[list[int]]] = []

    def look(step: object, batches: Batches, key: str, size: int, accumulation: int) -> Trial:
        shown.append(list(batches.rows()))
        return Trial(size, 1, 1.0, 1, whole=True)

    def feed(step: object, feed: Iterator[tuple[Batch, Position]], *_: object) -> Finding:
        shown.append([next(feed)[0]["input_ids"].tolist() for _ in range(5)])
        return Finding((), None, "", 1.0)

    monkeypatch.setattr(batch_finder, "tried", look)
    monkeypatch.setattr(rate_finder, "search", feed)
    for each in (run, course):
        find_batch(each, begun, memory=10**9, console=quiet())
        find_rate(each, begun, console=quiet())
    assert shown[:2] == shown[2:]


def test_auto_is_settled_once_and_the_run_goes_on_with_it(
    toy_run: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(batch_finder, "SIZES", {"batch_tokens": Sizes(512, 600, 64)})
    run, directory = toy_run(steps=2, batch_tokens="auto"), tmp_path / "run"
    train(run, directory, console=quiet())
    assert load_run(directory / "run.toml").training.batch_tokens == 576
    monkeypatch.setattr(batch_finder, "find_batch", None)  # not asked again
    again = settled(toy_run(steps=4, batch_tokens="auto"), directory, quiet())
    assert (again.training.steps, again.training.batch_tokens) == (4, 576)
    shutil.copytree(directory, tmp_path / "unsaved", ignore=shutil.ignore_patterns("checkpoints"))
    assert settled(run, tmp_path / "unsaved", quiet()).training.batch_tokens == 576
    with pytest.raises(TypeError, match="not callable"):  # another run, of which no step is saved: it is asked
        settled(toy_run(steps=4, batch_tokens="auto"), tmp_path / "unsaved", quiet())
    monkeypatch.undo()
    file = tmp_path / "auto.toml"
    file.write_text(to_toml(run))
    shutil.copytree(directory / "data", tmp_path / "other" / "data")
    assert main(["find-batch", str(file), "-o", str(tmp_path / "other"), "--memory", "0.001"]) == 0
    header, trial, *said = capsys.readouterr().out.splitlines()[-4:]
    assert header.split() == ["batch_tokens", "memory", "step", "tokens/s"]
    assert trial.split()[0] == "512"
    assert float(trial.split()[1]) > 0.1  # GB
    assert said[1].startswith("not even 512 fits 0.00 GB")
    assert {path.name for path in (tmp_path / "other").iterdir()} <= {"data", "lock", ".lock"}


def test_auto_is_refused_where_nothing_fits_or_several_workers_would_find_it(
    toy_run: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = toy_run(steps=2, batch_tokens="auto")
    monkeypatch.setattr(batch_finder, "free_memory", lambda: 10**6)
    with pytest.raises(ConfigError, match=r"not even training\.batch_tokens = 512 fits 0\.0 GB"):
        train(run, tmp_path / "run", console=quiet())
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["127.0.0.1:1"]}}')  # of --workers 1
    with pytest.raises(ConfigError, match=r"not even training\.batch_tokens = 512 fits"):
        train(run, tmp_path / "run", console=quiet())
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}}')
    with pytest.raises(ConfigError, match="is for one worker"):
        train(run, tmp_path / "run", console=quiet())
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="which `regard train` settles"):
        find_rate(run, tmp_path / "run", console=quiet())
    assert find_batch(toy_run(steps=2), tmp_path / "run", memory=1, console=quiet()).suggested is None
