"""Turned, resized, outlined and recoloured images: laws; a turn corner by corner, Pillow's colours, as references."""

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from regard.data.distortion import outlined, recoloured, warped

ONE = np.ones(1)


def picture(seed: int = 0, height: int = 24, width: int = 20) -> np.ndarray:
    """Smooth, so that an interpolation of it is no guess."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def changed(image, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0):
    return recoloured(image[None], *(np.array([each]) for each in (brightness, contrast, saturation, hue)))[0]


@pytest.mark.parametrize("shape", [(24, 20), (1, 9), (9, 1), (1, 1)])
def test_nothing_asked_for_is_nothing_done(shape):
    image = picture(1, *shape)
    assert np.array_equal(warped(image[None], 0 * ONE, ONE)[0], image)
    assert np.abs(changed(image).astype(int) - image).max() <= 1


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarters_of_a_turn_are_exact(quarters):
    image = picture(2, 15, 15)
    turned = warped(image[None], 90.0 * quarters * ONE, ONE)[0]
    assert np.abs(turned.astype(int) - np.rot90(image, quarters)).max() <= 1  # Pillow cuts 199.99 to 199


@settings(deadline=None, max_examples=20)
@given(degrees=st.floats(-60, 60), scale=st.floats(0.6, 1.5), seed=st.integers(0, 9), height=st.integers(1, 24))
def test_each_place_is_read_where_the_turn_takes_it_from(degrees, scale, seed, height):
    """Corner by corner, in Python; beyond an edge its colour."""
    image, angle = picture(seed, height, 16), np.deg2rad(degrees)
    found = warped(np.stack([image, image]), np.array([0, degrees]), np.array([1, scale]))[1]
    middle = np.array([(height - 1) / 2, 15 / 2])
    for y, x in np.ndindex(height, 16):
        down, right = (np.array([y, x]) - middle) / scale
        turned = down * np.cos(angle) + right * np.sin(angle), right * np.cos(angle) - down * np.sin(angle)
        place = middle + np.array(turned)
        row, column = np.floor(place).astype(int)
        below, beside = place - [row, column]
        wanted = sum(
            weight * image[np.clip(row + i, 0, height - 1), np.clip(column + j, 0, 15)].astype(float)
            for i, j, weight in (
                (0, 0, (1 - below) * (1 - beside)),
                (0, 1, (1 - below) * beside),
                (1, 0, below * (1 - beside)),
                (1, 1, below * beside),
            )
        )
        assert np.abs(found[y, x] - wanted).max() <= 1.01


def test_grey_images_have_one_channel_and_beyond_an_edge_is_the_edges_colour():
    image = np.full((1, 9, 9, 1), 200, np.uint8)
    for degrees in (0, 30, 45, 200):
        assert (warped(image, degrees * ONE, 0.3 * ONE) == 200).all()


@settings(deadline=None, max_examples=20)
@given(ink=st.floats(0, 1), paper=st.floats(0, 1), seed=st.integers(0, 9), height=st.integers(1, 9))
def test_each_place_is_as_dark_as_its_neighbours_differ(ink, paper, seed, height):
    """Place by place, in Python."""
    image = picture(seed, height, 7)
    found = outlined(np.stack([image, image]), np.array([1, ink]), np.array([1, paper]))[1]
    for y, x in np.ndindex(height, 7):
        above, below = image[max(y - 1, 0), x].astype(float), image[min(y + 1, height - 1), x].astype(float)
        left, right = image[y, max(x - 1, 0)].astype(float), image[y, min(x + 1, 6)].astype(float)
        edge = min(max(np.hypot(below - above, right - left)) / 128, 1)
        colour = image[y, x] + paper * (255.0 - image[y, x])
        assert np.abs(found[y, x] - colour * (1 - ink * edge)).max() <= 0.51


def test_without_ink_and_paper_nothing_is_drawn_and_flat_places_get_no_line():
    image = picture(5)
    assert np.array_equal(outlined(image[None], 0 * ONE, 0 * ONE)[0], image)
    flat = np.full((1, 4, 4, 1), 50, np.uint8)
    assert np.array_equal(outlined(flat, ONE, 0 * ONE), flat)
    assert (outlined(flat, ONE, ONE) == 255).all()


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.3])
@pytest.mark.parametrize(
    ("key", "enhancer"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)],
)
def test_factors_are_pillows(key, enhancer, factor):
    image = picture(3)
    wanted = np.asarray(enhancer(Image.fromarray(image)).enhance(factor)).astype(int)
    assert np.abs(changed(image, **{key: factor}).astype(int) - wanted).max() <= 2


def test_without_saturation_an_image_is_grey_of_the_same_luma():
    image = picture(4)
    grey = changed(image, saturation=0.0)
    assert np.ptp(grey, axis=-1).max() == 0
    assert np.abs(grey[..., 0].astype(int) - np.asarray(Image.fromarray(image).convert("L"))).max() <= 1


@pytest.mark.parametrize("degrees", [-120, 40, 120])
def test_hues_turn_all_the_same_way_and_greys_stay(degrees):
    grey = np.full((3, 3, 3), 90, np.uint8)
    assert np.abs(changed(grey, hue=degrees).astype(int) - 90).max() <= 1
    red, blue = np.zeros((2, 1, 1, 3), np.uint8)
    red[...], blue[...] = (160, 100, 100), (100, 100, 160)
    moved = [_hue(changed(image, hue=degrees)) - _hue(image) for image in (red, blue)]
    assert all(np.cos(2 * np.pi * (turned - degrees / 360)) > 0.9 for turned in moved)


def _hue(image):
    return colorsys.rgb_to_hsv(*(image[0, 0] / 255))[0]
