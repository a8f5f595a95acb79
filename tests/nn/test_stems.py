"""Patches and frames against convolutions written out by hand."""

import math

import numpy as np
import pytest
from keras import ops

from regard.errors import InputError
from regard.models.weights import Rule
from regard.nn.stems import AudioStem, PatchStem
from regard.specs import AudioSpec, PatchSpec, PositionSpec
from regard.specs.tables import grid_sinusoids

RNG = np.random.default_rng(7)


def built(stem):
    stem.build()
    return stem


def drawn(*shape):
    return RNG.normal(size=shape).astype("float32")


def test_patches_are_read_as_the_convolution_that_a_checkpoint_stores():
    """Odd sizes, so that height and width cannot change places; what fills no patch is left out."""
    spec = PatchSpec(width=5, image_height=13, image_width=9, patch_height=4, patch_width=2, channels=3, extra_tokens=0)
    stem, kernel, pixels = built(PatchStem(spec, name="stem")), drawn(5, 3, 4, 2), drawn(2, 13, 9, 3)
    rule = Rule("kernel", ("weight",), (24, 5), "patches", stored=(5, 3, 4, 2))
    stem.projection.kernel.assign(rule.join([kernel]))
    stem.positions.table.assign(np.zeros((12, 5)))
    wanted = np.zeros((2, 12, 5))
    for row in range(3):
        for column in range(4):
            patch = pixels[:, 4 * row : 4 * row + 4, 2 * column : 2 * column + 2]
            wanted[:, 4 * row + column] = np.einsum("bhwc,dchw->bd", patch, kernel)
    np.testing.assert_allclose(stem(pixels), wanted, atol=1e-5)
    np.testing.assert_array_equal(rule.split(rule.join([kernel]))["weight"], kernel)


def test_learned_tokens_come_first_and_each_place_has_its_vector():
    spec = PatchSpec(width=4, image_height=4, image_width=4, patch_height=2, patch_width=2, channels=1, extra_tokens=2)
    stem = built(PatchStem(spec, name="stem"))
    tokens, places = drawn(2, 4), drawn(6, 4)
    stem.extra_tokens.assign(tokens)
    stem.positions.table.assign(places)
    hidden = np.asarray(stem(np.zeros((3, 4, 4, 1), np.float32)))
    np.testing.assert_allclose(
        hidden, np.tile(np.concatenate([tokens, np.zeros((4, 4))]) + places, (3, 1, 1)), atol=1e-6
    )


def test_patches_begin_where_they_stand_on_the_grid_and_learn_from_there():
    sizes = {"image_height": 8, "image_width": 12, "patch_height": 4, "patch_width": 4}
    table = built(PatchStem(PatchSpec(width=18, extra_tokens=2, **sizes), name="stem")).positions.table
    assert table.trainable
    assert not np.any(table[:2]), "the extra tokens are learned vectors anyway"
    grid = np.asarray(table)[2:].reshape(2, 3, 18)
    np.testing.assert_allclose(grid[0, :, 0], np.sin([0, 1, 2]), atol=1e-6)
    np.testing.assert_allclose(grid[0, :, 5], np.cos([0, 0.046416, 0.092832]), atol=1e-5)  # 10000 ** (-1 / 3)
    np.testing.assert_allclose(grid[:, 0, 8], np.sin([0, 1]), atol=1e-6)
    assert np.ptp(grid[..., :8], axis=0).max() == 0, "one half says the column"
    assert np.ptp(grid[..., 8:], axis=1).max() == 0, "the other the row"
    assert not grid[..., 16:].any()


@pytest.mark.parametrize("width", [1, 4, 7])
def test_a_width_without_room_for_a_grid_begins_at_zero(width):
    assert not grid_sinusoids(2, 3, width).any()


def test_frames_are_read_as_two_convolutions_with_exact_gelu():
    spec = AudioSpec(width=4, mels=3, positions=PositionSpec("stored", max_positions=5))
    stem, frames = built(AudioStem(spec, name="stem")), drawn(2, 10, 3)
    first, second, biases, places = drawn(4, 3, 3), drawn(4, 4, 3), drawn(2, 4), drawn(5, 4)
    for part, kernel, bias in ((stem.first, first, biases[0]), (stem.second, second, biases[1])):
        rule = Rule("kernel", ("weight",), (3 * kernel.shape[1], 4), "frames", stored=kernel.shape)
        part.kernel.assign(rule.join([kernel]))
        part.bias.assign(bias)
        np.testing.assert_array_equal(rule.split(rule.join([kernel]))["weight"], kernel)
    stem.positions.table.assign(places)
    wanted = convolved(gelu(convolved(frames, first, biases[0], 1)), second, biases[1], 2)
    np.testing.assert_allclose(stem(frames), gelu(wanted) + places, atol=1e-5)


def convolved(frames, kernel, bias, stride):
    """(B, A, M) with (D, M, 3): a window around every `stride`-th frame, zeros beyond the ends."""
    padded = np.pad(frames, ((0, 0), (1, 1), (0, 0)))
    windows = [padded[:, i : i + 3] for i in range(0, frames.shape[1], stride)]
    return np.stack([np.einsum("btm,dmt->bd", window, kernel) for window in windows], axis=1) + bias


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def test_a_stored_table_begins_as_sinusoids_and_is_not_trained():
    spec = AudioSpec(width=6, mels=3, positions=PositionSpec("stored", rates="tensor2tensor", max_positions=4))
    table = built(AudioStem(spec, name="stem")).positions.table
    angles = np.arange(4)[:, None] * 10000.0 ** (-np.arange(3) / 2)
    np.testing.assert_allclose(table, np.concatenate([np.sin(angles), np.cos(angles)], axis=1), atol=1e-6)
    assert not table.trainable


@pytest.mark.parametrize("sizes", [(2, 12, 3), (2, 10, 4), (10, 3)])
def test_frames_of_another_shape_are_refused(sizes):
    stem = built(AudioStem(AudioSpec(width=4, mels=3, positions=PositionSpec("stored", max_positions=5)), name="stem"))
    with pytest.raises(InputError, match=r"input_features must be \(B, 10, 3\), but is"):
        stem(ops.zeros(sizes))
