"""Attention over pictures: what the page draws is what networks with random weights say of made-up pictures."""

import base64
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from regard.errors import InputError
from regard.explain.attention import opacity, rollout
from regard.explain.curves import Curves
from regard.explain.maps import ROLLOUT, Map
from regard.explain.patches import EXTRA, PatchAttention, caption_attention, class_attention, draw
from regard.explain.report import Report, render
from regard.features.image import ImageProcessor
from regard.models.forms import build_model
from regard.models.presets import Vocabulary, preset_spec
from regard.nn.stems import cut_patches
from regard.specs import PatchSpec

HEIGHT, WIDTH, PATCH = 8, 12, 4
GRID = (HEIGHT // PATCH, WIDTH // PATCH)
PLACES = GRID[0] * GRID[1]
PROCESSOR = ImageProcessor(size=(HEIGHT, WIDTH))
LETTERS = SimpleNamespace(
    tokens=lambda ids: ["abcdefgh"[token] for token in ids], decode=lambda ids: "".join("abcdefgh"[t] for t in ids)
)
WRITTEN = [3, 1, 4, 7]


@pytest.fixture(scope="module")
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))


@pytest.fixture(scope="module")
def classifier():
    sizes = {"image_size": [HEIGHT, WIDTH], "patch_size": PATCH, "width": 16, "heads": 2, "ffn_width": 16, "depth": 3}
    spec = preset_spec("vit-mini", Vocabulary(0, None, None), labels=2, **sizes)
    model = build_model(spec)
    louder(model)
    return model


@pytest.fixture(scope="module")
def captioner():
    sizes = {"image_size": [HEIGHT, WIDTH], "patch_size": PATCH, "width": 16, "heads": 2, "ffn_width": 16}
    spec = preset_spec("vit-gpt2-tiny", Vocabulary(9, 8, 7), encoder_depth=1, decoder_depth=2, **sizes)
    model = build_model(spec)
    louder(model)
    return model


def louder(model):
    """Weights at which a network that has not learned anything prefers some places."""
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(np.asarray(variable) + rng.normal(0, 0.5, variable.shape))


def squares(svg):
    """(row, column) -> how dark it is drawn."""
    found = [dict(each.attrib) for each in ElementTree.fromstring(svg).iter("rect")]
    return {(int(each["y"]), int(each["x"])): float(each["fill-opacity"]) for each in found}


def test_the_class_tokens_weights_are_the_models_own_of_every_layer_and_head(classifier, picture):
    example = class_attention(classifier, PROCESSOR, picture, "a cat")
    own = classifier({"pixel_values": PROCESSOR(picture)}, return_attention=True).attentions
    assert (example.layers, example.heads, example.readers, example.others) == (3, 2, EXTRA[:1], EXTRA[:1])
    for layer, weights in enumerate(own):
        of_class = np.asarray(weights)[0, :, 0]  # (N, 1 + P), the class token first
        np.testing.assert_array_equal(example.weights[layer, :, 0, :PLACES], of_class[:, 1:])
        np.testing.assert_array_equal(example.weights[layer, :, 0, PLACES], of_class[:, 0])
    assert np.ptp(example.weights) > 0.1, "else the test would pass whatever row was taken"


def test_each_token_of_a_caption_has_the_weights_by_which_it_was_predicted(captioner, picture):
    example = caption_attention(captioner, PROCESSOR, LETTERS, picture, WRITTEN)
    batch = {"pixel_values": PROCESSOR(picture), "labels": np.array([WRITTEN], np.int32)}
    own = captioner(batch, return_attention=True).cross_attentions
    assert (example.title, example.readers) == ("dbeh", ("d", "b", "e", "h"))
    for layer, weights in enumerate(own):
        np.testing.assert_allclose(example.weights[layer, ..., :PLACES], np.asarray(weights)[0, ..., 1:], atol=1e-6)


def test_a_patch_is_drawn_over_its_own_pixels():
    """A scripted network, whose class token looks at each patch as much as it is bright."""
    pixels = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    source = PatchSpec(4, HEIGHT, WIDTH, PATCH, PATCH)

    class Brightness:
        spec = SimpleNamespace(source=source)

        def __call__(self, batch, *, return_attention):
            bright = np.asarray(cut_patches(batch["pixel_values"], source)).mean(-1)[0]  # (P,), about [-1, 1]
            weights = np.concatenate([[0.5], (bright + 1) / PLACES])
            return SimpleNamespace(attentions=[np.broadcast_to(weights, (1, 1, 1 + PLACES, 1 + PLACES))])

    example = class_attention(Brightness(), PROCESSOR, Image.fromarray(pixels), "")
    _, large, small = draw(example, 0, 0, "name")
    drawn = squares(large)
    bright = {
        (row, column): pixels[row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH].mean()
        for row in range(GRID[0])
        for column in range(GRID[1])
    }
    assert len(drawn) == PLACES
    for place, value in bright.items():
        assert drawn[place] == pytest.approx(opacity(value / max(bright.values())), abs=2e-3)
    assert small == []


def test_the_page_holds_each_weight_in_ten_thousandths_and_shares_of_the_strongest_are_drawn(captioner, picture):
    example = caption_attention(captioner, PROCESSOR, LETTERS, picture, WRITTEN)
    shown = Map(example, 5)
    data = shown.data
    for layer in range(example.layers):
        for head, own in enumerate([example.weights[layer].mean(0), *example.weights[layer]]):
            kept = np.reshape(data["weights"][layer][head], own.shape) / data["per"]
            np.testing.assert_allclose(kept, own, atol=5.1e-5)
    last = example.weights[-1].mean(0)
    strongest = last[:, :PLACES].max()
    assert float(shown.most) == pytest.approx(strongest, abs=1e-3)
    drawn = [squares(str(shown.pictures[1])), *(squares(str(svg)) for _, svg in shown.readers)]
    for row, cells in zip([0, 0, 1, 2, 3], drawn, strict=True):
        for place in range(PLACES):
            share = last[row, place] / strongest
            drawn_as = cells.get(divmod(place, GRID[1]), 0.0)
            # Just at the bound a rounded weight may fall on its other side, and that is 0.06 of opacity.
            expected = {opacity(share) if share > bound else 0 for bound in (0.0095, 0.0105)}
            assert any(drawn_as == pytest.approx(each, abs=1e-2) for each in expected)


def test_the_picture_on_the_page_is_what_the_model_reads_and_what_fills_no_patch_is_left_out(classifier):
    pixels = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    example = class_attention(classifier, PROCESSOR, Image.fromarray(pixels), "")
    found = re.findall(r'href="data:image/png;base64,([^"]+)"', str(draw(example, 0, "mean", "name")[0]))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(found[0])))), pixels)
    spec = SimpleNamespace(source=PatchSpec(4, HEIGHT, WIDTH, 3, 5))  # 2 x 2 patches of 6 x 10 pixels
    weights = np.full((1, 1, 5, 5), 0.2)

    class Even:
        def __call__(self, batch, *, return_attention):
            return SimpleNamespace(attentions=[weights])

    even = Even()
    even.spec = spec
    cut = class_attention(even, PROCESSOR, Image.fromarray(pixels), "")
    assert (cut.pixels.shape, cut.grid) == ((6, 10, 3), (2, 2))


def test_a_rollout_of_layers_that_look_at_themselves_moves_nothing_and_its_rows_sum_to_one(classifier, picture):
    np.testing.assert_allclose(rollout(np.broadcast_to(np.eye(4), (3, 2, 4, 4))), np.eye(4), atol=1e-12)
    weights = np.random.default_rng(4).dirichlet(np.ones(5), (3, 2, 5))
    by_hand = np.eye(5)
    for layer in (0, 1, 2):  # the last layer's places are made of the layer's before
        mean = (weights[layer, 0] + weights[layer, 1]) / 2
        by_hand = (0.5 * mean + 0.5 * np.eye(5)) @ by_hand
    np.testing.assert_allclose(rollout(weights), by_hand, atol=1e-12)
    np.testing.assert_allclose(rollout(weights).sum(-1), 1)
    shown = Map(class_attention(classifier, PROCESSOR, picture, ""))
    assert shown.layers == ["1", "2", "3", ROLLOUT]
    layers = classifier({"pixel_values": PROCESSOR(picture)}, return_attention=True).attentions
    own = np.stack([np.asarray(one)[0] for one in layers])
    (kept,) = shown.data["weights"][3]
    np.testing.assert_allclose(np.array(kept[:PLACES]) / 1e4, rollout(own)[0, 1:], atol=5.1e-5)


def test_the_page_shows_data_only_and_a_policy_lets_it(captioner, picture):
    example = caption_attention(captioner, PROCESSOR, LETTERS, picture, WRITTEN)
    page = render(Report("t", "s", {}, {}, Curves(), [], [], [], [example]))
    assert "img-src data:" in page, "else a browser shows none of the pictures"
    assert set(re.findall(r'<(?:image|use) href="(data:image/png|#picture-0)', page)) == {
        "data:image/png",
        "#picture-0",
    }
    assert not re.search(r'(?:href|src)="(?!#|data:image/png)', page)
    assert page.count('type="radio"') == len(WRITTEN)
    (data,) = (json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page))
    assert (data["drawn"], data["across"], data["source"][-1]) == (PLACES, GRID[1], EXTRA[0])
    assert data["source"][GRID[1]] == "row 2, column 1"


def test_what_cannot_be_shown_is_refused():
    pixels = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(InputError, match=r"\(layers, heads, 1, 5\).*\(1, 1, 1, 4\)"):
        PatchAttention("", pixels, (2, 2), ("class token",), ("class token",), np.ones((1, 1, 1, 4)))
    without = SimpleNamespace(spec=SimpleNamespace(source=PatchSpec(4, 8, 8, 4, 4, extra_tokens=0)))
    with pytest.raises(InputError, match="an encoder with a class token"):
        class_attention(without, PROCESSOR, Image.fromarray(pixels), "")
    with pytest.raises(InputError, match="at least one token"):
        caption_attention(without, PROCESSOR, LETTERS, Image.fromarray(pixels), [])
    with pytest.raises(InputError, match="a model that reads images"):
        class_attention(SimpleNamespace(spec=SimpleNamespace(source=None)), PROCESSOR, Image.fromarray(pixels), "")
