"""What NumPy's part of the operations does by a way of its own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.decoding import numpy_ops


@given(st.integers(0, 2**32 - 1), st.integers(1, 600), st.sampled_from(["distinct", "ties", "banned", "unknown"]))
def test_the_largest_of_a_long_row_are_those_of_a_stable_sort(seed, k, kind):
    random = np.random.default_rng(seed)
    x = random.normal(size=(2, 3, 600)).astype(np.float32)
    if kind == "ties":
        x = np.round(x)
    if kind == "banned":
        x[random.random(x.shape) < 0.99] = -np.inf
    if kind == "unknown":
        x[random.random(x.shape) < 0.5] = np.nan
    found = numpy_ops.top_k(x, k)
    expected = np.argsort(-x, axis=-1, kind="stable")[..., :k]
    np.testing.assert_array_equal(found.indices, expected)
    np.testing.assert_array_equal(found.values, np.take_along_axis(x, expected, axis=-1))
    assert found.indices.dtype == np.int32


@pytest.mark.parametrize("length", [5, 600])
def test_the_largest_of_no_rows_are_none(length):
    assert numpy_ops.top_k(np.zeros((0, length), np.float32), 3).indices.shape == (0, 3)
