import tempfile
import threading
import time
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.data import batching
from regard.data.batching import (
    MAX_SHAPES,
    MULTIPLE,
    PREFETCH,
    BucketedBatches,
    Position,
    batches_by_length,
    choose_shapes,
)
from regard.data.objectives.text_to_text import pair_batches
from regard.data.shards import TokenShards, write_shard
from regard.errors import DataError

PAD = 999

lengths_of_pairs = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=120)


def shards_of(lengths, directory=None, per_shard=50):
    """Pairs of these lengths; every token of the whole data is a different number, so that it can be recognised."""
    directory = Path(directory or tempfile.mkdtemp())
    names, token = [], 1000
    for begin in range(0, len(lengths), per_shard):
        part = np.array(lengths[begin : begin + per_shard], np.int64)
        ends = np.cumsum(part.sum(1))
        tokens = np.arange(token, token + ends[-1], dtype=np.int32)
        token += int(ends[-1])
        names.append(f"train-{begin:05d}")
        write_shard(directory, names[-1], np.column_stack([ends - part.sum(1), part]), tokens, None)
    return TokenShards(directory, names, "")


def batches_of(lengths, batch_tokens=64, seed=0, **options):
    return pair_batches(shards_of(lengths), batch_tokens=batch_tokens, seed=seed, pad_id=PAD, **options)


def pairs_in(batch):
    """The pairs of a batch, without padding."""
    return [
        (tuple(ids[mask == 1].tolist()), tuple(labels[labels >= 0].tolist()))
        for ids, mask, labels in zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True)
    ]


def same(first, second):
    return all(np.array_equal(first[key], second[key]) for key in ("input_ids", "attention_mask", "labels"))


@given(lengths=lengths_of_pairs, batch_tokens=st.integers(1, 400), seed=st.integers(0, 9), epoch=st.integers(0, 3))
@settings(deadline=None)
def test_an_epoch_holds_every_pair_exactly_once(lengths, batch_tokens, seed, epoch):
    shards = shards_of(lengths)
    batches = pair_batches(shards, batch_tokens=batch_tokens, seed=seed, pad_id=PAD)
    seen = [pair for batch in batches.epoch(epoch) for pair in pairs_in(batch)]
    wanted = [tuple(tuple(side.tolist()) for side in shards.row(i)) for i in range(len(shards))]
    assert sorted(seen) == sorted(wanted)


@given(lengths=lengths_of_pairs, batch_tokens=st.integers(1, 400))
@settings(deadline=None)
def test_padding_is_only_behind_the_tokens_and_no_token_is_lost(lengths, batch_tokens):
    for batch in batches_of(lengths, batch_tokens).epoch():
        real, labelled = batch["attention_mask"] == 1, batch["labels"] != -100
        assert np.array_equal(batch["input_ids"] != PAD, real)
        assert (batch["labels"][~labelled] == -100).all()
        for mask in (real, labelled):
            assert mask[:, 0].all()
            assert (mask[:, 1:] <= mask[:, :-1]).all()
        assert {array.dtype for array in batch.values()} == {np.dtype(np.int32)}


@given(lengths=lengths_of_pairs, batch_tokens=st.integers(1, 400))
@settings(deadline=None)
def test_a_batch_keeps_the_token_budget_unless_it_is_one_pair(lengths, batch_tokens):
    for batch in batches_of(lengths, batch_tokens).epoch():
        rows, source = batch["input_ids"].shape
        target = batch["labels"].shape[1]
        assert rows == 1 or rows * max(source, target) <= batch_tokens
        assert source % MULTIPLE == target % MULTIPLE == 0


@given(lengths=lengths_of_pairs, seed=st.integers(0, 9), position=st.integers(0, 200), step=st.integers(0, 5))
@settings(deadline=None, max_examples=40)
def test_going_on_from_any_position_gives_exactly_the_remaining_batches(lengths, seed, position, step):
    whole = list(islice(batches_of(lengths, seed=seed).iterate(), position % 60 + step + 2))
    _, saved = whole[position % 60]
    rest = list(islice(batches_of(lengths, seed=seed).iterate(Position(*saved)), step + 1))
    for (batch, after), (again, after_again) in zip(whole[position % 60 + 1 :], rest, strict=True):
        assert after == after_again
        assert same(batch, again)


def test_epochs_follow_each_other_and_each_is_the_epochs_own_plan():
    batches = batches_of([(n % 30 + 1, n % 20 + 1) for n in range(90)])
    length = batches.epoch_length(0)
    stream = list(islice(batches.iterate(), 2 * length))
    assert [after for _, after in stream[:length]] == [*(Position(0, b) for b in range(1, length)), Position(1, 0)]
    expected = [*batches.epoch(0), *batches.epoch(1)]
    assert all(same(batch, other) for (batch, _), other in zip(stream, expected, strict=True))


@given(lengths=lengths_of_pairs, seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 1000))
@settings(deadline=None)
def test_a_plan_depends_on_seed_and_epoch_alone(lengths, seed, epoch):
    first, second = batches_of(lengths, seed=seed), batches_of(lengths, seed=seed)
    second.plan(epoch + 1)
    for name in ("order", "begins", "ends", "shapes"):
        assert np.array_equal(getattr(first.plan(epoch), name), getattr(second.plan(epoch), name))


def test_another_epoch_or_another_seed_gives_another_plan():
    lengths = [(5, 5)] * 200
    orders = [batches_of(lengths, seed=seed).plan(epoch).order for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert not any(np.array_equal(orders[a], orders[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_shuffling_mixes_rows_and_batches():
    batches = batches_of([(5, 5)] * 100 + [(20, 20)] * 100, batch_tokens=80)
    widths = [batches.plan(0)[b].sizes[0] for b in range(len(batches.plan(0)))]
    assert widths != sorted(widths)
    assert not np.array_equal(np.sort(batches.plan(0).order[:100]), batches.plan(0).order[:100])


def test_without_shuffling_every_epoch_keeps_the_order():
    batches = batches_of([(5, 5)] * 100, shuffle=False)
    assert batches.plan(0).order.tolist() == batches.plan(7).order.tolist() == list(range(100))


@given(lengths=lengths_of_pairs, batch_tokens=st.integers(1, 400))
@settings(deadline=None)
def test_the_padding_share_is_what_the_batches_hold(lengths, batch_tokens):
    batches = batches_of(lengths, batch_tokens)
    cells = sum(batch["input_ids"].size + batch["labels"].size for batch in batches.epoch())
    tokens = sum(source + target for source, target in lengths)
    assert batches.padding_share() == pytest.approx(1 - tokens / cells)
    assert batches.epoch_length() == len(list(batches.epoch()))


@given(lengths=lengths_of_pairs)
def test_every_pair_has_a_shape_that_holds_it_and_the_largest_is_no_larger_than_needed(lengths):
    array = np.array(lengths, np.int32)
    shapes = choose_shapes(array, 64)
    assert len(shapes) <= MAX_SHAPES
    assert (shapes.max(0) == -(-array.max(0) // MULTIPLE) * MULTIPLE).all()


def test_shapes_save_padding_and_stay_few():
    random = np.random.default_rng(0)
    source = np.clip(random.lognormal(3, 0.6, 20_000), 1, 128)
    lengths = np.column_stack([source, np.clip(source * random.normal(1, 0.15, 20_000), 1, 128)]).astype(np.int32)
    batches = batches_of(lengths, batch_tokens=4096)
    assert len(batches.shapes) <= MAX_SHAPES
    assert batches.padding_share() < 0.1
    assert len(choose_shapes(lengths[:50], 4096)) == 1


@pytest.mark.parametrize("batch_tokens", [4096, 8192])
def test_at_most_five_percent_is_padding_in_pairs_like_a_real_corpus_and_the_loss_sees_few_sizes(batch_tokens):
    random = np.random.default_rng(0)
    length = random.lognormal(2.85, 0.85, 110_000)
    sides = length * random.lognormal(0, 0.08, len(length)), 1.15 * length * random.lognormal(0, 0.2, len(length))
    lengths = np.clip(np.column_stack(sides) + 1, 2, 128).astype(np.int32)
    batches = BucketedBatches(lengths, lambda *_: {}, batch_tokens=batch_tokens, seed=0, max_tokens=128)
    plan = batches.plan(0)
    assert batches.padding_share() <= 0.05
    assert np.array_equal(np.sort(plan.order), np.arange(len(lengths)))
    assert len(np.unique((plan.ends - plan.begins) * plan.shapes[:, 1])) < 100


def test_rows_of_like_lengths_have_other_mates_in_each_epoch():
    batches = BucketedBatches(np.full((4000, 2), 20, np.int32), lambda *_: {}, batch_tokens=600, seed=0)
    first, second = ([frozenset(rows) for rows in batches.rows(epoch)] for epoch in (0, 1))
    mates = {row: rows for rows in first for row in rows}
    assert np.mean([len(rows & mates[row]) / len(rows) for rows in second for row in rows]) < 0.1


def test_long_pairs_have_coarser_sizes():
    shapes = choose_shapes(np.array([(3000, 2500), (5, 5)] * 1000, np.int32), 4096)
    assert shapes.tolist() == [[6, 6], [3000, 2500]]


def test_a_pair_above_max_tokens_is_refused():
    with pytest.raises(DataError, match="a side of 9 tokens, above max_tokens = 8"):
        batches_of([(9, 3)], max_tokens=8)


def test_an_error_of_a_thread_reaches_the_caller(monkeypatch):
    batches = batches_of([(5, 5)] * 9)
    monkeypatch.setattr(TokenShards, "gather", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(batches.iterate())


def made_by(arrange, threads, rows=60):
    """Ten batches of rows of one length."""
    lengths = np.ones((rows, 1), np.int32)
    return BucketedBatches(lengths, arrange, batch_tokens=rows // 10, seed=0, max_tokens=1, threads=threads)


def test_several_threads_work_at_once_and_hand_over_in_order():
    together, order = threading.Barrier(2, timeout=30), []

    def arrange(planned, epoch):
        together.wait()  # which one thread alone would do for ever
        time.sleep(0.002 * int(planned.rows[0] % 3))
        return {"labels": planned.rows}

    with closing(made_by(arrange, 2).iterate()) as feed:
        order = [batch["labels"].tolist() for batch, _ in islice(feed, 14)]
    plan = made_by(arrange, 1)
    assert order == [list(rows) for epoch in (0, 1) for rows in plan.rows(epoch)][:14]


def test_an_error_waits_until_all_batches_before_it_are_there():
    def arrange(planned, epoch):
        if planned.rows[0] == third:
            raise ZeroDivisionError
        time.sleep(0.01)
        return {"labels": planned.rows}

    batches = made_by(arrange, 4)
    third = list(batches.rows())[2][0]
    feed = batches.iterate()
    assert [next(feed)[1].batch for _ in range(2)] == [1, 2]
    with pytest.raises(ZeroDivisionError):
        next(feed)


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_than_a_few_are_made_ahead_and_none_after_the_end(threads):
    begun = []

    def arrange(planned, epoch):
        begun.append(planned)
        return {"labels": planned.rows}

    feed = made_by(arrange, threads).iterate()
    next(feed)
    time.sleep(0.05)
    assert len(begun) <= PREFETCH
    feed.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.mark.parametrize(
    ("cores", "share", "threads"), [(1, "", 1), (3, "", 3), (64, "", 4), (64, "2", 2), (8, "x", 4)]
)
def test_a_worker_feeds_itself_with_its_share_of_the_cores(monkeypatch, cores, share, threads):
    monkeypatch.setattr(batching, "available_cores", lambda: cores)
    monkeypatch.setenv("OMP_NUM_THREADS", share)
    assert batching.threads_to_feed() == threads


@given(lengths=st.lists(st.integers(0, 50), max_size=80), batch_tokens=st.integers(1, 200))
def test_batches_by_length_hold_each_index_once_within_the_budget(lengths, batch_tokens):
    batches = batches_by_length(lengths, batch_tokens)
    assert sorted(int(i) for rows in batches for i in rows) == list(range(len(lengths)))
    for rows in batches:
        longest = max(lengths[i] for i in rows)
        assert len(rows) == 1 or len(rows) * longest <= batch_tokens
    flat = [lengths[i] for rows in batches for i in rows]
    assert flat == sorted(lengths, reverse=True)


@given(lengths=lengths_of_pairs, spare=st.integers(0, 3))
@settings(deadline=None)
def test_no_batch_is_padded_beyond_max_tokens(lengths, spare):
    most = max(max(pair) for pair in lengths) + spare
    batches = batches_of(lengths, 64, max_tokens=most)
    assert batches.shapes.max() <= most
    assert sum(len(batch["labels"]) for batch in batches.epoch()) == len(lengths)
