"""Tokens over time: what the page draws is what small networks, and scripted ones, say of made-up sounds."""

import base64
import io
import re
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from regard.explain.attention import opacity
from regard.explain.maps import Map
from regard.explain.sounds import BLANK, SILENCE, Spoken, frame_labels, spectrogram, transcript_attention
from regard.features.audio import Recording
from regard.features.mel import LogMel
from regard.models.forms import build_model
from regard.models.presets import Vocabulary, preset_spec

LOG_MEL = LogMel(feature_size=8, chunk_length=1)  # 100 frames, 50 places
FRAME = 0.01  # seconds
LETTERS = SimpleNamespace(
    tokens=lambda ids: ["abcdefgh"[token] for token in ids], decode=lambda ids: "".join("abcdefgh"[t] for t in ids)
)
PROMPT, WRITTEN = [9, 8], [3, 1, 7]


@pytest.fixture(scope="module")
def window():
    """0.4 s of noise, then silence."""
    samples = np.random.default_rng(0).normal(0, 0.1, int(0.4 * 16_000))
    return Recording(samples, 16_000, LOG_MEL).features_from(0)


@pytest.fixture(scope="module")
def model():
    sizes = {"width": 16, "heads": 2, "ffn_width": 16, "encoder_depth": 1, "decoder_depth": 2, "max_positions": 8}
    spec = preset_spec("whisper-mini", Vocabulary(10, 9, 7), source_positions=50, mels=8, **sizes)
    made, rng = build_model(spec), np.random.default_rng(1)
    for variable in made.trainable_variables:
        variable.assign(np.asarray(variable) + rng.normal(0, 0.5, variable.shape))
    return made


def cells_of(svg):
    """(row, place) -> how dark it is drawn."""
    groups = {group.get("class"): group for group in ElementTree.fromstring(svg).iter("g")}
    found = [cell.attrib for cell in groups["cells"]]
    return {(int(cell["y"]), int(cell["x"])): float(cell["fill-opacity"]) for cell in found}


def test_a_tokens_weights_are_those_by_which_it_was_predicted_and_silence_is_summed_up(model, window):
    example = transcript_attention(model, LETTERS, Spoken(window, PROMPT, WRITTEN), FRAME)
    read = np.array([[*PROMPT, *WRITTEN]], np.int32)
    batch = {"input_features": window.features[None], "decoder_input_ids": read}
    own = [np.asarray(one)[0, :, 1:4] for one in model(batch, return_attention=True).cross_attentions]
    assert (example.title, example.readers, example.others) == ("dbh", ("d", "b", "h"), (SILENCE,))
    assert (len(example.places), example.places[5], example.seconds) == (20, "0.10 s", pytest.approx(0.4))
    for layer, weights in enumerate(own):
        np.testing.assert_allclose(example.weights[layer, ..., :20], weights[..., :20], atol=1e-6)
        np.testing.assert_allclose(example.weights[layer, ..., 20], weights[..., 20:].sum(-1), atol=1e-5)
    np.testing.assert_allclose(example.weights.sum(-1), 1, atol=1e-5)
    assert np.ptp(example.weights) > 0.05, "else any row would do"


def test_the_drawing_and_the_scripts_data_are_the_weights_in_parts_of_the_strongest(model, window):
    example = transcript_attention(model, LETTERS, Spoken(window, PROMPT, WRITTEN), FRAME)
    shown = Map(example)
    for layer in range(2):
        for head, own in enumerate([example.weights[layer].mean(0), *example.weights[layer]]):
            np.testing.assert_allclose(np.reshape(shown.data["weights"][layer][head], (3, 21)) / 1e4, own, atol=5.1e-5)
    mean = np.round(example.weights[-1].mean(0).astype(np.float64), 4)[:, :20]
    drawn = cells_of(str(shown.svg))
    for row in range(3):
        for place in range(20):
            share = mean[row, place] / mean.max()
            assert drawn.get((row, place), 0.0) == (pytest.approx(opacity(share), abs=1e-3) if share > 0.01 else 0)


def test_a_path_of_frames_is_drawn_token_by_token_with_the_blanks_apart(window):
    """A scripted network: aa-abb--, the blank is the token 6, and beyond the recording it says c."""
    said = [0, 0, 6, 0, 1, 1, 6, 6]
    logits = np.zeros((1, 50, 10))
    for place in range(50):
        logits[0, place, said[place] if place < len(said) else 6 if place < 20 else 2] = 1 + place / 10

    class Scripted:
        def __call__(self, batch):
            assert batch["input_features"].shape == (1, 100, 8)
            return SimpleNamespace(logits=logits)

    example = frame_labels(Scripted(), LETTERS, window, 6, FRAME)
    assert (example.title, example.readers) == ("aab", ("a", "a", "b", BLANK))
    likely = (np.exp(logits[0]) / np.exp(logits[0]).sum(-1, keepdims=True)).max(-1)[:20]
    rows = [0, 0, 3, 1, 2, 2, *[3] * 14]
    wanted = np.zeros((4, 20))
    wanted[rows, np.arange(20)] = likely
    np.testing.assert_allclose(example.weights[0, 0], wanted)
    assert {place: row for row, place in cells_of(str(Map(example).svg))} == dict(enumerate(rows))


def test_a_path_that_says_nothing_is_all_blank(window):
    logits = np.zeros((1, 50, 10))
    logits[..., 6] = 5
    example = frame_labels(lambda batch: SimpleNamespace(logits=logits), LETTERS, window, 6, FRAME)
    assert (example.title, example.readers) == ("", (BLANK,))


def test_the_spectrogram_has_time_to_the_right_and_low_at_the_bottom():
    features = np.zeros((5, 3))
    features[4, 0] = 1  # the last frame, the lowest mel
    uri = spectrogram(features)
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert image.size == (5, 3)
    bright = np.asarray(image.convert("L"))
    assert np.unravel_index(bright.argmax(), bright.shape) == (2, 4)
    assert len(spectrogram(np.ones((4, 2)))) > 20, "of equal levels, too"


def test_places_tokens_and_the_spectrogram_share_one_axis(model, window):
    svg = str(Map(transcript_attention(model, LETTERS, Spoken(window, PROMPT, WRITTEN), FRAME)).svg)
    root = ElementTree.fromstring(svg)
    (image,) = root.iter("image")
    (ground,) = (each for each in root.iter("rect") if each.get("class") == "ground")
    assert image.get("width") == ground.get("width") == "20"
    times = [text.text for group in root.iter("g") if group.get("class") == "times" for text in group.iter("text")]
    assert times[0] == "0 s"
    assert times[-1] == "0.4 s"
    assert re.findall(r"<title>(.)</title>", svg) == ["d", "b", "h"]
