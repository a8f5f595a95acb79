"""The builder of captioned emoji, on packages that the test makes; and a whole run of three languages on them."""

import hashlib
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from regard.cli import app
from regard.config import parse_run
from regard.corpora import build, emoji, emoji_names, stamps
from regard.corpora.emoji import BOTH, COMBINATION, STAMPS, STYLE, TRAINED, UNSEEN, has_tone, split_of_drawing
from regard.corpora.emoji_names import sequence
from regard.corpora.fetch import Package
from regard.corpora.npm import NpmPackage
from regard.corpora.pictures import SIDE
from regard.corpora.stamps import captions_of
from regard.data.objectives.files import opened
from regard.errors import DataError
from regard.training.trainer import train

sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent / "training")]

from test_archives import ar, tar
from test_npm import tgz
from whole_runs import quiet

THINGS = {  # characters -> colour, names
    0x1F534: ((220, 20, 20), "red ball", "roter Ball", "红球"),
    0x1F7E2: ((20, 200, 20), "green ball", "grüner Ball", "绿球"),
    0x1F535: ((20, 20, 220), "blue ball", "blauer Ball", "蓝球"),
    0x26AB: ((20, 20, 20), "black ball", "schwarzer Ball", "黑球"),
}
TONED = {
    0x1F44E: "hand up",
    0x1F44F: "hand down",
    0x1F450: "hand open",
}  # of which a tone or two fall into the test split
TONE_NAMES = {0x1F3FB: "light", 0x1F3FD: "medium", 0x1F3FF: "dark"}
COLOURS = dict(zip(TONE_NAMES, ((250, 220, 180), (180, 130, 90), (90, 60, 40)), strict=True))


def made_catalog():
    """Sequence of characters -> colour, and its name in each language."""
    found = {(code,): (colour, {"en": en, "de": de, "zh": zh}) for code, (colour, en, de, zh) in THINGS.items()}
    for code, hand in TONED.items():
        shade = 70 * (code - 0x1F44E)
        found[(code,)] = ((250, shade, 250), {"en": hand, "de": f"die {hand}", "zh": f"手 {hand}"})
        for tone, name in TONE_NAMES.items():
            red, green, blue = COLOURS[tone]
            names = {"en": f"{hand}: {name}", "de": f"die {hand}: {name}", "zh": f"手 {hand}: {name}"}
            found[(code, tone)] = ((red, (green + shade) % 256, blue), names)
    return found


CATALOG = made_catalog()


def drawing(colour, style, kind="PNG"):
    """A square of a colour on a transparent ground; each artist frames it otherwise."""
    side = {"google": SIDE, "twitter": SIDE, "fluent-3d": 96}[style]
    pixels = np.zeros((side, side, 4), np.uint8)
    margin = {"google": 4, "twitter": 8, "fluent-3d": 6}[style]
    pixels[margin:-margin, margin:-margin] = (*colour, 255)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()


def spelled(codes, *, styled):
    """A file's stem, with or without the character that asks for a picture."""
    return "-".join(f"{code:04x}" for code in ((*codes, 0xFE0F) if styled else codes))


def npm_packages(catalog):
    """The content of each package, by the file that npm makes of it."""
    named = {folder: {language: {} for language in emoji_names.LANGUAGES} for folder in emoji_names.PACKAGES}
    for codes, (_, names) in catalog.items():
        folder = "annotationsDerived" if len(codes) > 1 else "annotations"
        for language, name in names.items():
            named[folder][language]["".join(map(chr, codes))] = {"default": ["x"], "tts": [name]}
    named["annotations"]["en"]["\U0001f4a9"] = {"default": ["x"], "tts": ["in English alone"]}
    named["annotations"]["de"]["x"] = {"default": ["no name"]}
    contents = {
        package: tgz(
            {
                f"{folder}/{language}/annotations.json": json.dumps({folder: {"annotations": entries}}).encode()
                for language, entries in named[folder].items()
            }
        )
        for folder, package in emoji_names.PACKAGES.items()
    }
    for style in TRAINED:
        kind = "WEBP" if style.suffix == ".webp" else "PNG"
        files = {
            spelled(codes, styled=style.name == "google" and len(codes) == 1): drawing(colour, style.name, kind)
            for codes, (colour, _) in catalog.items()
        }
        if style.name == "fluent-3d":
            files |= {spelled((0x26AB,), styled=True): files[spelled((0x26AB,), styled=False)], "1f4a9": b"nameless"}
            files[spelled((0x26AB,), styled=False)] = b"a second one, not read"
        folder = style.folder.removeprefix("package/")
        contents[style.package] = tgz({f"{folder}{stem}{style.suffix}": each for stem, each in files.items()})
    svgs = {spelled(codes, styled=False).upper(): bytes(colour) for codes, (colour, _) in catalog.items()}
    folder = UNSEEN.folder.removeprefix("package/")
    contents[UNSEEN.package] = tgz({f"{folder}{stem}.svg": colour for stem, colour in {**svgs, "E000": b"x"}.items()})
    return contents


def stamp_package():
    files = {
        "town/house.png": drawing((200, 100, 50), "google"),
        "town/house.txt": b"A red house.\nde.utf8=Ein rotes Haus.\nfr.utf8=Une maison.\nzh_CN.utf8=\n",
        "town/tree.svg": bytes((1, 200, 2)),
        "town/tree.txt": "A tree.\nzh_CN.utf8=树\n".encode(),
        "town/silent.png": b"no text, so not read",
    }
    return ar({"data.tar.xz": tar({f"usr/share/tuxpaint/stamps/{name}": each for name, each in files.items()})})


class Paints:
    """In the place of resvg: an SVG is three bytes, its colour. Counts what it draws."""

    drawn = 0

    def __init__(self, *_):
        pass

    def draw(self, svgs, side):
        Paints.drawn += len(svgs)
        return [self._drawn(svg, side) for svg in svgs]

    def _drawn(self, colour, side):
        buffer = io.BytesIO()
        pixels = np.full((side // 2, side, 3), tuple(colour), np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()


def pin_packages(cache, monkeypatch, catalog=CATALOG):
    """Put the packages into a cache, as if they had been fetched; there is neither npm nor apt."""
    (cache / "packages").mkdir(parents=True)
    pinned = {}
    for package, content in npm_packages(catalog).items():
        pinned[package] = NpmPackage(package.name, package.version, hashlib.sha256(content).hexdigest())
        (cache / "packages" / package.file).write_bytes(content)
    monkeypatch.setattr(emoji_names, "PACKAGES", {key: pinned[old] for key, old in emoji_names.PACKAGES.items()})
    monkeypatch.setattr(emoji, "TRAINED", [style._replace(package=pinned[style.package]) for style in TRAINED])
    monkeypatch.setattr(emoji, "UNSEEN", UNSEEN._replace(package=pinned[UNSEEN.package]))
    content = stamp_package()
    monkeypatch.setattr(stamps, "PACKAGE", Package("stamps", "1", hashlib.sha256(content).hexdigest()))
    (cache / "packages" / "stamps_1_all.deb").write_bytes(content)
    monkeypatch.setattr(emoji, "Rasteriser", Paints)
    monkeypatch.setattr(emoji, "PINNED", None)
    monkeypatch.setattr(emoji, "VALIDATION_BELOW", 150)
    monkeypatch.setenv("PATH", "")
    Paints.drawn = 0


@pytest.fixture
def cache(tmp_path, monkeypatch):
    pin_packages(tmp_path / "cache", monkeypatch)
    return tmp_path / "cache"


def pixels_of(example):
    image = opened(example.image)
    return np.array(Image.open(io.BytesIO(image) if isinstance(image, bytes) else image))


def test_each_picture_has_a_caption_in_each_language_on_one_side_of_the_split(cache):
    built = build("emoji", cache)
    sides = [{example.image for example in split} for split in (built.train, built.validation, built.test)]
    assert all(len(example.image) > 10 for split in (built.train, built.test) for example in split)
    assert sides[0].isdisjoint(sides[1])
    by_name = {name: (codes, names) for codes, (_, names) in CATALOG.items() for name in [names["en"]]}
    for split in (built.train, built.validation):
        for picture in {example.image for example in split}:
            captions = {example.language: example.text for example in split if example.image == picture}
            assert captions == by_name[captions["en"]][1]
    drawn = len(built.train) // 3 + len(built.validation) // 3
    held = [example for example in built.test if example.group == COMBINATION]
    assert drawn + len(held) // 3 == 3 * len(CATALOG)
    assert built.counts["left out: fluent-3d's second of an emoji"] == 1
    assert built.counts["left out: fluent-3d's, of no name or not asked for"] == 1


def test_held_out_combinations_are_in_no_style_of_training_and_their_words_are_known(cache):
    built = build("emoji", cache)
    groups = {name: {each.text for each in built.test if each.group == name} for name in (STYLE, COMBINATION, BOTH)}
    trained = {example.text for example in built.train}
    assert groups[COMBINATION]
    assert groups[COMBINATION] == groups[BOTH]
    assert groups[COMBINATION].isdisjoint(trained)
    assert groups[STYLE]
    assert groups[STYLE] <= trained
    known = {word for text in trained for word in text.split()}
    assert {word for text in groups[COMBINATION] for word in text.split()} <= known
    for codes, (_, names) in CATALOG.items():
        splits = {split_of_drawing(style.name, sequence(codes)) for style in TRAINED}
        assert not has_tone(sequence(codes)) or len(splits) == 1
        assert (names["en"] in groups[COMBINATION]) == (splits == {"test"})


def test_a_held_out_name_with_an_unknown_word_or_a_drawing_that_training_has_is_dropped(cache, monkeypatch):
    held = {each.text for each in build("emoji", cache).test if each.group == COMBINATION}
    codes = next(codes for codes, (_, names) in CATALOG.items() if names["en"] in held)
    colour, names = CATALOG[codes]
    pin_packages(cache.with_name("words"), monkeypatch, {**CATALOG, codes: (colour, {**names, "de": "unerhört"})})
    built = build("emoji", cache.with_name("words"))
    assert names["en"] not in {each.text for each in built.test}
    assert built.counts["dropped: test name with a word that training does not have"] == len(TRAINED)
    trained = next(
        code for code in THINGS if all(split_of_drawing(each.name, f"{code:x}") == "train" for each in TRAINED)
    )
    pin_packages(cache.with_name("copies"), monkeypatch, {**CATALOG, codes: (THINGS[trained][0], names)})
    built = build("emoji", cache.with_name("copies"))
    assert names["en"] not in {each.text for each in built.test if each.group == COMBINATION}
    assert built.counts["dropped: test drawing that training has"] == len(TRAINED)


def test_pictures_are_squares_on_white_in_the_colours_of_the_file(cache):
    built = build("emoji", cache)
    colours = {names["en"]: colour for colour, names in CATALOG.values()}
    for example in [each for each in (*built.train[::7], *built.test[::5]) if each.language == "en"]:
        pixels = pixels_of(example)
        assert pixels.shape == (SIDE, SIDE, 3)
        assert (pixels[0, 0] == 255).all()
        if example.group != STAMPS:
            assert tuple(pixels[SIDE // 2, SIDE // 2]) == colours[example.text]


def test_stamps_have_their_own_group_and_only_the_languages_that_they_have(cache):
    built = build("emoji", cache)
    said = {(each.language, each.text) for each in built.test if each.group == STAMPS}
    assert said == {("en", "A red house."), ("de", "Ein rotes Haus."), ("en", "A tree."), ("zh", "树")}
    assert built.counts["dropped: stamp without a text"] == 1
    assert captions_of("") == captions_of("\nde.utf8=ohne Englisch\n") == {}


def test_a_second_build_draws_nothing_is_the_same_and_other_counts_or_pixels_are_refused(cache, monkeypatch):
    lines = []
    first = build("emoji", cache, lines.append)
    drawn, Paints.drawn = Paints.drawn, 0
    again = build("emoji", cache, lines.append)
    assert (drawn > 5, Paints.drawn) == (True, 0)
    assert again == first
    assert len({line for line in lines if "SHA-256" in line}) == 1
    found = len(first.train), len(first.validation), len(first.test)
    monkeypatch.setattr(emoji, "PINNED", emoji.Pinned(*found, "another"))
    with pytest.raises(DataError, match="but another is pinned for these packages"):
        build("emoji", cache)
    monkeypatch.setattr(emoji, "PINNED", emoji.Pinned(1, 2, 3, "another"))
    with pytest.raises(DataError, match="but 1 and 2 and 3 are pinned"):
        build("emoji", cache)
    damaged = next((cache / "emoji").rglob("*.png"))
    damaged.write_bytes(damaged.read_bytes()[:60])
    with pytest.raises(DataError, match=r"is damaged .*: remove it, and it is drawn again"):
        build("emoji", cache)


def test_a_whole_run_of_three_languages_captions_in_each_and_scores_each_by_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pin_packages(tmp_path / "regard", monkeypatch)
    sizes = {"width": 32, "heads": 2, "ffn_width": 64, "encoder_depth": 1, "decoder_depth": 1}
    run = parse_run(
        {
            "task": "caption",
            "seed": 1,
            "data": {"builder": "emoji", "language_tags": True, "workers": 1, "image_size": 16, "max_tokens": 32},
            "tokenizer": {"vocab_size": 320},
            "model": {"preset": "vit-gpt2-tiny", **sizes, "patch_size": 8, "max_positions": 32, "dropout": 0.0},
            "decoding": {"num_beams": 1, "max_new_tokens": 32},
            "training": {
                "steps": 70,
                "batch_images": 24,
                "validate_every": 70,
                "score_examples": 0,
                "dtype": "float32",
                "best": "loss",
                "schedule": {"name": "constant", "peak": 0.01, "warmup_steps": 1},
            },
        }
    )
    train(run, tmp_path / "run", console=quiet())
    picture = tmp_path / "regard" / "emoji" / "twitter-16.0.0-64" / "1f534.png"
    said = CliRunner().invoke(app, ["caption", str(tmp_path / "run"), str(picture), "--language", "de"])
    assert (said.exit_code, said.stdout) == (0, "roter Ball\n"), said.output
    scored = CliRunner().invoke(app, ["evaluate", str(tmp_path / "run"), "--json"])
    assert scored.exit_code == 0, scored.output
    groups = {group["name"]: group for group in json.loads(scored.stdout)["groups"]}
    assert set(groups) == {
        f"{group}, {language}" for group in (STYLE, COMBINATION, BOTH, STAMPS) for language in ("en", "de", "zh")
    }
    assert groups["stamps, de"]["examples"] == groups["stamps, zh"]["examples"] == 1
    assert groups["stamps, en"]["languages"] == [None, "en"]
    record = (tmp_path / "run" / "evaluation-test.jsonl").read_text("utf-8")
    said = [(each["languages"][1], each["output"]) for each in map(json.loads, record.splitlines())]
    spoken = {"en": r"hand .*|.* ball", "de": r"die hand .*|.* Ball", "zh": r"手 .*|.球"}
    assert not [text for language, text in said if not re.fullmatch(spoken[language], text)]
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    looked = [json.loads(text) for text in re.findall(r'json">({"source".*?)</script>', page)]
    assert len(looked) == 3
    assert all(one["source"][0] == "row 1, column 1" for one in looked)
