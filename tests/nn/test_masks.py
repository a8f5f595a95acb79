import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from regard.nn.masks import all_of, causal_mask, padding_mask, segment_mask
from regard.nn.positions import count_positions
from regard.specs.tables import sinusoids


def test_a_query_sees_itself_and_the_past():
    mask = np.asarray(causal_mask(4))[0, 0]
    assert [[query >= key for key in range(4)] for query in range(4)] == mask.tolist()


def test_padding_is_hidden_from_every_query():
    mask = np.asarray(padding_mask(np.array([[1, 1, 0], [1, 0, 0]])))
    assert mask.shape == (2, 1, 1, 3)
    assert mask[:, 0, 0].tolist() == [[True, True, False], [True, False, False]]


def test_segments_keep_to_themselves():
    mask = np.asarray(segment_mask(np.array([[1, 1, 2]]), np.array([[1, 2]])))
    assert mask[0, 0].tolist() == [[True, False], [True, False], [False, True]]


def test_joining_masks_allows_what_all_allow_and_no_mask_allows_everything():
    padding = padding_mask(np.array([[1, 1, 0]]))
    joint = np.asarray(all_of(None, padding, causal_mask(3)))[0, 0]
    assert joint.tolist() == [[True, False, False], [True, True, False], [True, True, False]]
    assert all_of(None, None) is None


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 3)), min_size=1, max_size=9))
def test_positions_count_the_real_tokens_of_each_segment(tokens):
    real = np.array([[real for real, _ in tokens]])
    segments = np.array([[segment for _, segment in tokens]])
    counted = np.asarray(count_positions(real, segments))[0]
    for i, (is_real, segment) in enumerate(tokens):
        if is_real:
            assert counted[i] == sum(r and s == segment for r, s in tokens[:i])
    plain = np.asarray(count_positions(real))[0]
    assert plain.tolist() == np.maximum(np.cumsum(real[0]) - 1, 0).tolist()


@given(st.integers(1, 40), st.integers(1, 8))
def test_sinusoids_follow_the_paper_in_both_orders(positions, half):
    width = 2 * half
    interleaved = sinusoids(positions, width, "interleaved")
    halves = sinusoids(positions, width, "halves")
    for position in range(positions):
        for i in range(half):
            angle = position / 10000 ** (2 * i / width)
            assert np.allclose(interleaved[position, [2 * i, 2 * i + 1]], [np.sin(angle), np.cos(angle)], atol=1e-9)
            assert np.allclose(halves[position, [i, half + i]], [np.sin(angle), np.cos(angle)], atol=1e-9)


def test_moving_a_sinusoid_by_k_places_is_a_rotation_that_depends_on_k_alone():
    table = sinusoids(60, 8, "halves")
    products = table @ table.T
    for shift in range(5):
        diagonal = np.diagonal(products, shift)
        assert np.allclose(diagonal, diagonal[0])
