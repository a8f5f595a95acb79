import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.data.shards import PreparedData, TokenShards, write_file, write_shard
from regard.errors import DataError

pairs_by_shard = st.lists(
    st.lists(st.tuples(*[st.lists(st.integers(0, 70_000), min_size=1, max_size=5)] * 2), min_size=1, max_size=6),
    min_size=1,
    max_size=4,
)


def written(directory, shards):
    names = [f"test-{number:05d}" for number in range(len(shards))]
    for name, pairs in zip(names, shards, strict=True):
        lengths = np.array([(len(source), len(target)) for source, target in pairs], np.int64)
        starts = np.cumsum(lengths.sum(1)) - lengths.sum(1)
        tokens = np.array([i for pair in pairs for side in pair for i in side], np.int32)
        texts = [(str(source), str(target), None, "de") for source, target in pairs]
        write_shard(directory, name, np.column_stack([starts, lengths]), tokens, texts)
    return TokenShards(directory, names, "")


@given(shards=pairs_by_shard)
@settings(deadline=None)
def test_pairs_and_texts_come_back_from_all_shards(shards, tmp_path_factory):
    read = written(tmp_path_factory.mktemp("shards"), shards)
    pairs = [pair for shard in shards for pair in shard]
    assert len(read) == len(pairs)
    for i, (source, target) in enumerate(pairs):
        assert [side.tolist() for side in read.row(i)] == [source, target]
        assert read.text(i) == (str(source), str(target), None, "de")
    assert read.lengths.tolist() == [[len(source), len(target)] for source, target in pairs]


@given(shards=pairs_by_shard, data=st.data())
@settings(deadline=None)
def test_gathering_rows_puts_their_ids_end_to_end(shards, data, tmp_path_factory):
    read = written(tmp_path_factory.mktemp("shards"), shards)
    pairs = [pair for shard in shards for pair in shard]
    rows = sorted(data.draw(st.sets(st.integers(0, len(pairs) - 1))))
    for side in (0, 1):
        assert read.gather(np.array(rows, int), side).tolist() == [i for row in rows for i in pairs[row][side]]


def test_small_ids_take_two_bytes_and_large_ones_four(tmp_path):
    for name, largest, dtype in (("a", 65_535, np.uint16), ("b", 65_536, np.int32)):
        write_shard(tmp_path, name, np.array([(0, 1, 1)]), np.array([1, largest], np.int32), None)
        assert np.load(tmp_path / f"{name}.tokens.npy").dtype == dtype


def test_the_text_of_training_pairs_is_not_kept(tmp_path):
    write_shard(tmp_path, "train-00000", np.array([(0, 1, 1)]), np.array([1, 2], np.int32), None)
    with pytest.raises(DataError, match="kept for validation and test only"):
        TokenShards(tmp_path, ["train-00000"], "").text(0)


def test_a_file_is_replaced_as_a_whole(tmp_path, monkeypatch):
    write_file(tmp_path / "a", b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match=r"cannot write .*a: No space left on device"):
        write_file(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "[]",
        "{}",
        '{"format": 1, "files": 3}',
        '{"format": 99, "files": {}}',
        '{"format": 1, "files": {"../a": ""}}',
    ],
)
def test_a_damaged_or_foreign_manifest_is_refused(manifest, tmp_path):
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(DataError, match=r"manifest\.json"):
        PreparedData.open(tmp_path)


def test_a_directory_without_a_manifest_holds_no_data(tmp_path):
    with pytest.raises(DataError, match="run `regard prepare`"):
        PreparedData.open(tmp_path)


def test_a_missing_or_changed_file_is_named(tmp_path):
    hashes = write_shard(tmp_path, "train-00000", np.array([(0, 1, 1)]), np.array([1, 2], np.int32), None)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, "files": hashes, "splits": {}}))
    file = tmp_path / "train-00000.tokens.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"train-00000\.tokens\.npy is missing or damaged"):
        PreparedData.open(tmp_path)
    file.unlink()
    with pytest.raises(DataError, match=r"train-00000\.tokens\.npy is missing or damaged"):
        PreparedData.open(tmp_path)
