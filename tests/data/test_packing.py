import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.data.batching import Position
from regard.data.packing import MOST_EMPTY, PackedBatches, best_fit, windows
from regard.data.shards import TokenShards, write_shard

WINDOW = 16
lengths_of_documents = st.lists(st.integers(2, 60), min_size=1, max_size=80)


def shards_of(lengths, per_shard=30):
    """Documents of these lengths; every token of the whole data is a different number."""
    directory, names, token = Path(tempfile.mkdtemp()), [], 1
    for begin in range(0, len(lengths), per_shard):
        part = np.array(lengths[begin : begin + per_shard], np.int64)
        tokens = np.arange(token, token + part.sum(), dtype=np.int32)
        token += int(part.sum())
        names.append(f"train-{begin:05d}")
        write_shard(directory, names[-1], np.column_stack([np.cumsum(part) - part, part]), tokens, None)
    return TokenShards(directory, names, "")


def packed(lengths, **options):
    settings_of = {"window": WINDOW, "batch_tokens": 3 * WINDOW, "seed": 1, "pad_id": 0, **options}
    return PackedBatches(shards_of(lengths), **settings_of)


@given(lengths=lengths_of_documents, epoch=st.integers(0, 2), shuffle=st.booleans())
@settings(deadline=None)
def test_every_token_but_each_document_s_first_is_a_label_exactly_once(lengths, epoch, shuffle):
    labels = np.concatenate([batch["labels"].ravel() for batch in packed(lengths, shuffle=shuffle).epoch(epoch)])
    firsts = np.cumsum([1, *lengths[:-1]])
    wanted = sorted(set(range(1, sum(lengths) + 1)) - set(firsts.tolist()))
    assert sorted(labels[labels >= 0].tolist()) == wanted


@given(lengths=lengths_of_documents, shuffle=st.booleans())
@settings(deadline=None)
def test_a_label_follows_its_own_document_s_tokens_in_one_segment_and_positions_restart(lengths, shuffle):
    document = np.repeat(np.arange(len(lengths)), lengths)
    for batch in packed(lengths, shuffle=shuffle).epoch():
        ids, segments, places = batch["input_ids"], batch["segment_ids"], batch["position_ids"]
        real = batch["attention_mask"] == 1
        assert ids.shape[1] == WINDOW
        assert np.array_equal(ids != 0, real)
        assert np.array_equal(segments > 0, real)
        assert (batch["labels"][~real] == -100).all()
        for row in range(len(ids)):
            for segment in range(1, segments[row].max() + 1):
                inside = np.flatnonzero(segments[row] == segment)
                assert len(set(document[ids[row, inside] - 1])) == 1
                assert ids[row, inside].tolist() == list(range(ids[row, inside[0]], ids[row, inside[0]] + len(inside)))
                assert places[row, inside].tolist() == list(range(len(inside)))
                assert batch["labels"][row, inside].tolist() == [-100, *ids[row, inside[1:]].tolist()]


@given(lengths=st.lists(st.integers(1, WINDOW), min_size=1, max_size=200), seed=st.integers(0, 9))
@settings(deadline=None)
def test_best_fit_overfills_no_bin_and_leaves_no_two_that_would_fit_into_one(lengths, seed):
    keys = np.random.default_rng(seed).random(len(lengths))
    bins = best_fit(np.array(lengths), WINDOW, keys)
    filled = np.bincount(bins, weights=lengths)
    assert filled.max() <= WINDOW
    assert np.array_equal(np.unique(bins), np.arange(len(filled)))
    emptiest = np.sort(filled)[:2]
    assert len(filled) == 1 or emptiest.sum() > WINDOW


@pytest.mark.parametrize("kind", ["short", "natural", "awkward"])
def test_a_corpus_leaves_less_than_two_percent_of_the_places_empty(kind):
    rng = np.random.default_rng(0)
    lengths = {
        "short": rng.integers(3, 30, 3000),
        "natural": np.maximum(3, rng.lognormal(4.5, 1.0, 3000).astype(int)),
        "awkward": np.full(500, 150),  # none of which fits beside another
    }[kind]
    batches = packed(lengths.tolist(), window=256, batch_tokens=1024)
    for epoch in range(2):
        assert batches.empty_share(epoch) < MOST_EMPTY


def test_whole_documents_are_cut_only_where_they_would_leave_too_much_empty():
    assert "0 cuts" in packed([8] * 40).describe()
    assert ", 0 cuts" not in packed([10] * 200).describe()
    assert "1 are longer than a window" in packed([8] * 40 + [17]).describe()
    whole = packed([10] * 200, shuffle=False)
    assert len(whole.packing().pieces.rows) == 200


@given(lengths=lengths_of_documents, position=st.integers(0, 9))
@settings(deadline=None, max_examples=15)
def test_going_on_from_any_position_gives_exactly_the_remaining_batches(lengths, position):
    whole = list(islice(packed(lengths).iterate(), position + 4))
    rest = list(islice(packed(lengths).iterate(Position(*whole[position][1])), 3))
    for (batch, after), (again, after_again) in zip(whole[position + 1 :], rest, strict=True):
        assert after == after_again
        assert all(np.array_equal(batch[key], again[key]) for key in batch)


def test_the_thread_that_makes_batches_may_be_epochs_behind_the_one_that_plans():
    batches = packed([5, 7])

    class Asked(int):
        """An epoch; while it is looked for, the other thread comes in between and plans further ahead."""

        def __hash__(self):
            for ahead in (7, 8, 9):
                batches.packing(ahead)
            return int.__hash__(self)

    wanted, found = batches.packing(0), batches.packing(Asked(0))
    assert np.array_equal(np.stack(found.pieces), np.stack(wanted.pieces))


def test_each_epoch_puts_other_documents_side_by_side():
    batches = packed([5] * 90)
    first, second = (np.concatenate([b["input_ids"] for b in batches.epoch(epoch)]) for epoch in (0, 1))
    assert {tuple(row) for row in first.tolist()} != {tuple(row) for row in second.tolist()}


@given(lengths=lengths_of_documents, shared=st.integers(0, 3))
def test_windows_hold_every_token_and_neighbours_share_as_many_as_asked(lengths, shared):
    pieces = windows(np.array(lengths), WINDOW, shared)
    assert pieces.lengths.max() <= WINDOW
    for row, length in enumerate(lengths):
        own = pieces.at(pieces.rows == row)
        ends = own.begins + own.lengths
        assert (own.begins[0], ends[-1]) == (0, length)
        assert (ends[:-1] - own.begins[1:] == shared).all()
