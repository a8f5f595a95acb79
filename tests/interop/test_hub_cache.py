"""A hub id is read from the cache that the hub's own client keeps; no test has a network (HF_HUB_OFFLINE)."""

import os
from pathlib import Path

import numpy as np
import pytest

import regard
from regard.errors import CheckpointError
from regard.interop.opening import open_checkpoint

CASE = Path(__file__).parents[1] / "parity" / "cases" / "bert-sequence-class"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """blobs by their hash, a snapshot of links to them, and the commit that `main` is."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    place = tmp_path / "models--some--model"
    snapshot = place / "snapshots" / COMMIT
    for directory in (place / "blobs", place / "refs", snapshot):
        directory.mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    for number, name in enumerate(("config.json", "model.safetensors")):
        (place / "blobs" / str(number)).write_bytes((CASE / name).read_bytes())
        (snapshot / name).symlink_to(os.path.join("..", "..", "blobs", str(number)))
    return place


def test_a_hub_id_is_the_model_in_the_cache(cache):
    batch = {"input_ids": np.array([[5, 6, 7]])}
    expected = regard.load_model(CASE)(batch).logits
    np.testing.assert_array_equal(regard.load_model("some/model")(batch).logits, expected)


def test_what_the_cache_lacks_is_refused_offline_by_its_name(cache):
    with pytest.raises(CheckpointError, match="no model at some/other: there is no such directory, and the hub gives"):
        open_checkpoint("some/other")
    (cache / "snapshots" / COMMIT / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no model"):
        open_checkpoint("some/model")
