"""Contrastive losses against the formula written out in NumPy, and the laws that they keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.nn.contrast import contrastive_losses, segment_vectors


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def written_out(one: np.ndarray, other: np.ndarray, numbers: np.ndarray, temperature: float) -> float:
    """Each row's two cross-entropies, a row at a time."""
    total = 0.0
    for a, b in ((one, other), (other, one)):
        for row in range(len(a)):
            told_apart = [
                place for place in range(len(a)) if place == row or not (numbers[place] == numbers[row]).any()
            ]
            scores = np.array([a[row] @ b[place] / temperature for place in told_apart])
            total += np.log(np.exp(scores).sum()) - a[row] @ b[row] / temperature
    return total


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 7), temperature=st.floats(0.05, 2))
def test_the_loss_is_that_of_the_formula_and_equal_texts_are_no_negatives(
    seed: int, rows: int, temperature: float
) -> None:
    rng = np.random.default_rng(seed)
    one, other = (unit(rng.normal(size=(rows, 5))).astype(np.float32) for _ in range(2))
    numbers = rng.integers(0, rows, (rows, 2)).astype(np.int32)
    total, count = contrastive_losses(one, other, numbers, temperature)
    assert float(total) == pytest.approx(written_out(one, other, numbers, temperature), rel=1e-3, abs=1e-3)
    assert float(count) == 2 * rows


def test_a_repeated_pair_costs_nothing_more_and_a_lone_pair_nothing_at_all() -> None:
    rng = np.random.default_rng(0)
    one, other = (unit(rng.normal(size=(3, 5))).astype(np.float32) for _ in range(2))
    numbers = np.stack([np.arange(3)] * 2, 1).astype(np.int32)
    once = contrastive_losses(one, other, numbers, 0.1)
    twice = contrastive_losses(*(np.concatenate([side, side]) for side in (one, other)), np.tile(numbers, (2, 1)), 0.1)
    assert float(twice[0]) >= 2 * float(once[0]) - 1e-4  # both copies meet the others twice
    assert float(contrastive_losses(one[:1], other[:1], numbers[:1], 0.1)[0]) == pytest.approx(0, abs=1e-6)


def test_a_segment_is_its_own_mean_whatever_stands_beside_it() -> None:
    rng = np.random.default_rng(1)
    hidden = rng.normal(size=(2, 6, 4)).astype(np.float32)
    segments = np.array([[1, 1, 2, 2, 2, 0], [1, 2, 0, 0, 0, 0]], np.int32)
    vectors = np.asarray(segment_vectors(hidden, segments, 2))
    np.testing.assert_allclose(vectors[0, 1], unit(hidden[0, 2:5].mean(0)), rtol=1e-5)
    np.testing.assert_allclose(vectors[1, 0], unit(hidden[1, 0]), rtol=1e-5)
    changed = hidden.copy()
    changed[segments != 2] = 9
    np.testing.assert_allclose(np.asarray(segment_vectors(changed, segments, 2))[:, 1], vectors[:, 1], rtol=1e-5)
