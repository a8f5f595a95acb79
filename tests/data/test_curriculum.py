"""Short examples first, then all; a pure function of the place in the data."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from regard.data.batching import BucketedBatches, Position
from regard.data.curriculum import Curriculum


def batches_of(batches, share=0.1, rows=400):
    lengths = np.random.default_rng(0).integers(1, 60, (rows, 2)).astype(np.int32)
    curriculum = Curriculum(batches, share) if batches else None
    arrange = lambda planned, epoch: {"rows": planned.rows, "size": np.array(planned.sizes)}  # noqa: E731
    return BucketedBatches(lengths, arrange, batch_tokens=120, seed=5, curriculum=curriculum)


@given(number=st.integers(0, 500), total=st.integers(1, 300), share=st.floats(0.01, 1))
def test_competence_is_the_paper_s_square_root(number, total, share):
    expected = min(1.0, math.sqrt(number * (1 - share**2) / total + share**2))
    assert math.isclose(Curriculum(total, share).competence(np.array([number]))[0], expected, rel_tol=1e-12)


def test_the_first_batches_are_of_the_shortest_and_after_the_curriculum_the_order_is_the_usual_one():
    usual, course = batches_of(0), batches_of(30)
    longest = max(sum(batch["size"]) for batch in usual.epoch())
    first = [sum(batch["size"]) for batch in course.epoch()]
    shortest_tenth = sorted(sum(batch["size"]) for batch in usual.epoch())[: len(first) // 10]
    assert first[0] <= shortest_tenth[-1]
    for number, size in enumerate(first[:30]):
        among = max(1, int(Curriculum(30, 0.1).competence(np.array([number]))[0] * len(first)))
        assert size <= sorted(sum(batch["size"]) for batch in usual.epoch())[among - 1]
    assert max(first) == longest
    for one, other in zip(list(usual.epoch())[30:], list(course.epoch())[30:], strict=True):
        np.testing.assert_array_equal(one["rows"], other["rows"])
    for one, other in zip(usual.epoch(1), course.epoch(1), strict=True):
        np.testing.assert_array_equal(one["rows"], other["rows"])


def test_a_curriculum_longer_than_an_epoch_goes_on_in_the_next_one():
    count = batches_of(0).epoch_length()
    course = batches_of(count + 20)
    usual, second = list(batches_of(0).epoch(1)), list(course.epoch(1))
    assert any((a["rows"].tolist() != b["rows"].tolist()) for a, b in zip(usual[:20], second[:20], strict=True))
    for one, other in zip(usual[20:], second[20:], strict=True):
        np.testing.assert_array_equal(one["rows"], other["rows"])


def test_a_stream_goes_on_from_any_place_within_the_curriculum():
    stream = batches_of(500).iterate()
    read = [next(stream) for _ in range(batches_of(500).epoch_length() + 5)]
    for place in (4, len(read) - 1):
        batch, _ = next(batches_of(500).iterate(Position(*read[place - 1][1])))
        np.testing.assert_array_equal(batch["rows"], read[place][0]["rows"])
