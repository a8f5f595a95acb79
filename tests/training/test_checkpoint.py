import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.errors import CheckpointError
from regard.training import checkpoint as module
from regard.training.checkpoint import MANIFEST, CheckpointStore, Entry, plan_kept, verify

Fill = Callable[[Path], None]


def filling(content: str) -> Fill:
    def fill(directory: Path) -> None:
        (directory / "weights").write_text(content * 100)
        (directory / "state.json").write_text(json.dumps({"content": content}))

    return fill


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


def names(store: CheckpointStore) -> list[str]:
    return sorted(path.name for path in store.directory.iterdir())


def test_a_checkpoint_is_found_again_with_what_was_written(store: CheckpointStore) -> None:
    store.write(10, filling("a"), 0)
    path = store.write(200, filling("b"), 0)
    assert store.newest_good() == (path, [])
    assert (path / "weights").read_text() == "b" * 100
    assert names(store) == ["step-00000010", "step-00000200"]


def test_a_run_without_checkpoints_has_none(store: CheckpointStore) -> None:
    assert store.newest_good() == (None, [])


def test_a_checkpoint_without_its_manifest_is_ignored(store: CheckpointStore) -> None:
    first = store.write(1, filling("a"), 0)
    second = store.write(2, filling("b"), 0)
    (second / MANIFEST).unlink()
    assert store.newest_good() == (first, [])
    assert store.complete() == [first]


@pytest.mark.parametrize("file", ["weights", "state.json", MANIFEST])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_checkpoint_is_named_and_the_previous_one_taken(
    store: CheckpointStore, file: str, damage: str
) -> None:
    first = store.write(1, filling("a"), 0)
    second = store.write(2, filling("b"), 0)
    target = second / file
    content = bytearray(target.read_bytes())
    content[len(content) // 2] ^= 0x10
    if damage == "remove" and file == MANIFEST:
        return  # without a manifest it is incomplete, which another test is about
    if damage == "remove":
        target.unlink()
    else:
        target.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    found, complaints = store.newest_good()
    assert found == first
    assert len(complaints) == 1
    assert file in complaints[0]
    assert names(store) == ["step-00000001", "step-00000002.damaged"]


def test_a_file_that_the_disk_does_not_give_is_damage_too(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (store.write(step, filling("a"), 0) for step in (1, 2))
    whole = module._fingerprint

    def failing(path: Path) -> dict[str, Any]:
        if path.parent == second:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return whole(path)

    monkeypatch.setattr(module, "_fingerprint", failing)
    found, (complaint,) = store.newest_good()
    assert found == first
    assert re.search(r"step-00000002/.* cannot be read: Input/output error; set aside", complaint)


def test_where_every_checkpoint_is_damaged_none_is_taken_and_all_stay_where_they_are(store: CheckpointStore) -> None:
    for step in (1, 2):
        (store.write(step, filling("a"), 0) / "weights").write_text("")
    found, complaints = store.newest_good()
    assert found is None
    assert [re.findall(r"step-0+(\d)/weights is damaged", complaint) for complaint in complaints] == [["2"], ["1"]]
    assert names(store) == ["step-00000001", "step-00000002"]


class Killed(BaseException):
    """Stands for a kill: no handler runs after it."""


@pytest.mark.parametrize("moment", ["sync", "_fingerprint", "sync_directory", "_seal"])
def test_a_kill_at_any_moment_of_writing_leaves_the_previous_checkpoint_in_force(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    first = store.write(1, filling("a"), 0)

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, moment, killed)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            store.write(2, filling("b"), 0)
    assert store.newest_good() == (first, [])
    second = store.write(2, filling("c"), 0)
    assert store.newest_good() == (second, [])
    store.thin_out([2])
    assert names(store) == ["step-00000002"]


def test_a_full_disk_leaves_no_trace_and_the_older_checkpoints_as_they_were(store: CheckpointStore) -> None:
    first = store.write(1, filling("a"), 0)

    def fill(directory: Path) -> None:
        filling("b")(directory)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        store.write(2, fill, 0)
    assert names(store) == ["step-00000001"]
    verify(first)


def test_free_space_is_asked_for_before_anything_is_written(store: CheckpointStore) -> None:
    def fill(directory: Path) -> None:
        raise AssertionError("nothing may be written")

    with pytest.raises(OSError, match=r"MiB free, but a checkpoint needs"):
        store.write(1, fill, 2**60)
    assert names(store) == []


def test_writing_a_step_again_replaces_its_checkpoint(store: CheckpointStore) -> None:
    store.write(5, filling("a"), 0)
    path = store.write(5, filling("b"), 0)
    verify(path)
    assert (path / "weights").read_text() == "b" * 100


def test_a_state_that_cannot_be_read_is_left_out_of_the_entries(store: CheckpointStore) -> None:
    store.write(1, filling("a"), 0)
    (store.write(2, filling("b"), 0) / "state.json").write_text("{")
    assert store.entries(lambda values: Entry(len(values["content"]))) == [Entry(1)]


def test_a_manifest_without_files_is_damaged(store: CheckpointStore) -> None:
    path = store.write(1, filling("a"), 0)
    (path / MANIFEST).write_text("{}")
    with pytest.raises(CheckpointError, match="lists no files"):
        verify(path)


ENTRIES = st.lists(
    st.builds(Entry, st.integers(1, 50), st.booleans(), st.none() | st.integers(0, 5).map(float), st.booleans()),
    unique_by=lambda entry: entry.step,
    max_size=12,
)


@given(ENTRIES, st.integers(1, 4), st.integers(1, 4))
def test_the_last_the_best_the_newest_and_the_newest_steady_are_kept_and_nothing_else(
    entries: list[Entry], keep_last: int, keep_best: int
) -> None:
    kept = plan_kept(entries, keep_last, keep_best)
    regular = sorted(entry.step for entry in entries if entry.regular)
    scored = sorted((entry.rank, entry.step) for entry in entries if entry.regular and entry.rank is not None)
    expected = {*regular[-keep_last:], *(step for _, step in scored[:keep_best])}
    expected |= {max(entry.step for entry in entries)} if entries else set()
    expected |= set(sorted(entry.step for entry in entries if entry.regular and entry.steady)[-1:])
    assert set(kept) == expected
    assert list(kept) == sorted(kept)


@given(ENTRIES, st.integers(1, 4), st.integers(1, 4))
def test_thinning_out_step_by_step_keeps_what_thinning_out_at_the_end_keeps(
    entries: list[Entry], keep_last: int, keep_best: int
) -> None:
    entries = sorted(entries, key=lambda entry: entry.step)
    there: list[Entry] = []
    for entry in entries:
        kept = plan_kept([*there, entry], keep_last, keep_best)
        there = [each for each in [*there, entry] if each.step in kept]
    assert {each.step for each in there} == set(plan_kept(entries, keep_last, keep_best))


def test_of_equal_scores_the_earlier_checkpoint_is_the_best() -> None:
    kept = plan_kept([Entry(1, rank=2.0), Entry(2, rank=1.0), Entry(3, rank=1.0), Entry(4, rank=3.0)], 1, 1)
    assert kept == {2: ["best"], 4: ["last"]}


def test_what_training_would_roll_back_to_stays_until_there_is_a_newer_one() -> None:
    entries = [Entry(1), Entry(2, steady=False), Entry(3, steady=False)]
    assert plan_kept(entries, 1, 1) == {1: ["steady"], 3: ["last"]}
    assert plan_kept([*entries, Entry(4)], 1, 1) == {4: ["last"]}


def test_a_checkpoint_between_validations_stays_only_while_it_is_the_newest() -> None:
    entries = [Entry(1, rank=1.0), Entry(2, regular=False)]
    assert plan_kept(entries, 1, 1) == {1: ["last", "best"], 2: ["newest"]}
    assert plan_kept([*entries, Entry(3, rank=2.0)], 1, 1) == {1: ["best"], 3: ["last"]}


@pytest.mark.parametrize("moment", ["sync", "_fingerprint", "sync_directory", "_seal"])
def test_a_step_that_cannot_be_written_again_keeps_its_checkpoint_and_nothing_else_stays(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    path = store.write(5, filling("a"), 0)
    calls = iter([True])

    def full(*arguments: object) -> None:
        if next(calls, False):
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, moment, full)
        with pytest.raises(OSError, match="No space left"):
            store.write(5, filling("b"), 0)
    verify(path)
    assert (path / "weights").read_text() == "a" * 100
    assert names(store) == ["step-00000005"]


def test_a_new_step_that_cannot_be_sealed_leaves_nothing(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_seal", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(5, filling("a"), 0)
    assert names(store) == []


@pytest.mark.parametrize("successor", ["none", "unsealed", "whole"])
def test_what_stood_aside_when_a_kill_came_is_put_back_unless_its_successor_is_whole(
    store: CheckpointStore, successor: str
) -> None:
    path = store.write(5, filling("a"), 0)
    path.rename(path.with_name(path.name + ".old"))
    if successor != "none":
        shutil.copytree(path.with_name(path.name + ".old"), path)
        (path / "weights").write_text("a" * 100 if successor == "whole" else "b")
    if successor == "unsealed":
        (path / MANIFEST).unlink()
    assert store.newest_good() == (path, [])
    assert (path / "weights").read_text() == "a" * 100
    assert names(store) == ["step-00000005"]


def test_thinning_out_removes_what_has_no_manifest(store: CheckpointStore) -> None:
    (store.write(1, filling("a"), 0) / MANIFEST).unlink()
    store.write(2, filling("a"), 0)
    store.thin_out([1, 2])
    assert names(store) == ["step-00000002"]


def test_a_checkpoint_that_cannot_go_now_is_none_any_more_and_goes_later(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        store.write(step, filling("a"), 0)
    with monkeypatch.context() as held:
        real = os.rmdir

        def busy(path: Any, *, dir_fd: int | None = None) -> None:
            if "step-00000001" in str(path):
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
            real(path, dir_fd=dir_fd)

        held.setattr(os, "rmdir", busy)  # as over NFS, while somebody holds one of its files open
        store.thin_out([2])
        assert names(store) == ["step-00000001", "step-00000002"]
        assert store.complete() == [store.path(2)]
    store.thin_out([2])
    assert names(store) == ["step-00000002"]


@pytest.mark.parametrize("entry", [None, 5, "abc", [], {}])
def test_a_manifest_with_an_entry_that_says_nothing_is_damaged(store: CheckpointStore, entry: object) -> None:
    path = store.write(1, filling("a"), 0)
    (path / MANIFEST).write_text(json.dumps({"files": {"weights": entry}}))
    with pytest.raises(CheckpointError, match="weights is damaged"):
        verify(path)
