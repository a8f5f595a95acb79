import hashlib
import json
import logging

import pytest

from regard.errors import CheckpointError
from regard.tasks.locate import model_directory


def checkpoint(run, step, *, complete=True, best_step=None):
    directory = run / "checkpoints" / f"step-{step:08d}"
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    (directory / "state.json").write_text(json.dumps({"state": {"best_step": best_step}}))
    if complete:
        files = {path.name: path.read_bytes() for path in directory.iterdir()}
        hashes = {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        }
        (directory / "manifest.json").write_text(json.dumps({"files": hashes}))
    return directory


def test_a_model_directory_stands_for_itself(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert model_directory(tmp_path) == tmp_path
    assert model_directory(str(tmp_path)) == tmp_path


def test_a_run_stands_for_its_finished_model(tmp_path):
    checkpoint(tmp_path, 10)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    assert model_directory(tmp_path) == tmp_path / "model"


def test_an_unfinished_run_stands_for_its_best_complete_checkpoint_and_says_so(tmp_path, caplog):
    best = checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 20, best_step=10)
    checkpoint(tmp_path, 30, complete=False, best_step=30)
    with caplog.at_level(logging.INFO):
        assert model_directory(tmp_path) == best
    assert "taking its best checkpoint, step-00000010" in caplog.text


@pytest.mark.parametrize("best_step", [None, 5])
def test_without_a_best_checkpoint_on_disk_the_newest_complete_one_is_taken(tmp_path, caplog, best_step):
    checkpoint(tmp_path, 10)
    newest = checkpoint(tmp_path, 20, best_step=best_step)
    with caplog.at_level(logging.INFO):
        assert model_directory(tmp_path) == newest
    assert "taking its newest checkpoint, step-00000020" in caplog.text


def test_a_place_without_a_model_is_refused_by_what_it_is(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such directory"):
        model_directory(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="it is a file"):
        model_directory(tmp_path / "file")
    checkpoint(tmp_path / "run", 10, complete=False)
    with pytest.raises(CheckpointError, match=r"no config.json, no model/ and no complete checkpoint"):
        model_directory(tmp_path / "run")


@pytest.mark.parametrize(("damaged", "taken"), [((10,), 30), ((30,), 10), ((20, 30), 10), ((10, 30), 20)])
def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path, caplog, damaged, taken):
    directories = {step: checkpoint(tmp_path, step, best_step=10) for step in (10, 20, 30)}
    for step in damaged:
        (directories[step] / "config.json").write_text("[]")
    with caplog.at_level(logging.INFO):
        assert model_directory(tmp_path) == directories[taken]
    for step in damaged:
        if step != 20 or taken != 30:
            assert f"{directories[step] / 'config.json'} is damaged" in caplog.text


def test_a_run_whose_checkpoints_are_all_damaged_is_refused(tmp_path):
    (checkpoint(tmp_path, 10) / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="all of its checkpoints are damaged"):
        model_directory(tmp_path)
