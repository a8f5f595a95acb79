"""Images on their way to a batch: read once, kept as bytes, varied by hashes, normalised as the checkpoint will."""

import base64
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from regard.batch import ImageExample
from regard.config import AugmentationConfig, parse_run
from regard.data import augmentation
from regard.data.augmentation import AREA, ImageAugmenter
from regard.data.batching import Position
from regard.data.given import Given
from regard.data.objectives.catalog import objective_of
from regard.data.objectives.classify_image import ClassifyImage
from regard.data.objectives.files import opened
from regard.data.objectives.images import square
from regard.data.objectives.objective import Batching
from regard.data.prepare import prepare
from regard.data.shards import PreparedData
from regard.errors import ConfigError, DataError, InputError
from regard.features.image import ImageProcessor
from regard.features.tokenizer import Tokenizer

sys.path += [str(Path(__file__).parents[1] / "features" / "tokenizers")]

import tiny_tokenizers as vocabularies

SIDE = 8
SEES_ALL = Batching(batch_tokens=1, seed=3, shuffle=False, batch_rows=100)


def picture(seed, size=(SIDE, SIDE)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def inline(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def album(tmp_path):
    """Pictures beside the file that lists them, in a directory of its own."""
    folder = tmp_path / "album"
    (folder / "pictures").mkdir(parents=True)
    lines = []
    for number in range(6):
        Image.fromarray(picture(number, (12, 20))).save(folder / "pictures" / f"{number}.png")
        lines.append({"image": f"pictures/{number}.png", "label": "even" if number % 2 == 0 else "odd"})
    lines.append({"image": inline(picture(6)), "label": "even"})
    write(folder / "train.jsonl", lines)
    write(folder / "held.jsonl", [{"image": inline(picture(7)), "label": "odd"}])
    return folder


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def run_of(album, **sections):
    data = {"train": [{"jsonl": str(album / "train.jsonl")}], "validation": [{"jsonl": str(album / "held.jsonl")}]}
    values = {"task": "classify-image", "data": {**data, "workers": 1, "image_size": SIDE}, "training": {"steps": 1}}
    return parse_run({**values, **sections})


def batch_of(prepared, run, how=SEES_ALL, split="train", epoch=0):
    batches = objective_of(run).of(prepared).batches(prepared.split(split), prepared.tokenizer, how)
    return next(batches.iterate(Position(epoch, 0)))[0]


def test_a_batch_holds_what_the_processor_makes_of_each_file(album, tmp_path):
    run = run_of(album)
    prepared = prepare(run, tmp_path / "data")
    batch = batch_of(prepared, run)
    images = [*(album / "pictures" / f"{number}.png" for number in range(6)), opened(inline(picture(6)))]
    assert np.array_equal(batch["pixel_values"], square(SIDE)(images))
    assert batch["labels"].tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert prepared.manifest["names"] == ["even", "odd"]
    assert ImageProcessor.from_config(json.loads((tmp_path / "data" / "preprocessor_config.json").read_text())) == (
        square(SIDE)
    )


def test_shards_hold_bytes_and_a_repeated_image_lies_there_once(album, tmp_path):
    run = run_of(album)
    corpus = run.data.train[0].model_copy(update={"weight": 3.0})
    run = run.model_copy(update={"data": run.data.model_copy(update={"train": (corpus,)})})
    prepared = prepare(run, tmp_path / "data", pairs_per_shard=4)
    stored = [np.load(tmp_path / "data" / f"train-0000{number}.features.npy", mmap_mode="r") for number in (0, 1)]
    assert [part.shape for part in stored] == [(4 * SIDE, SIDE, 3), (3 * SIDE, SIDE, 3)]
    assert {part.dtype for part in stored} == {np.dtype(np.uint8)}
    batch = batch_of(prepared, run)
    assert len(batch["labels"]) == 21
    assert len(np.unique(batch["pixel_values"], axis=0)) == 7


def test_prepared_images_are_not_prepared_again_unless_one_of_them_changes(album, tmp_path, capsys):
    run = run_of(album)
    first = prepare(run, tmp_path / "data").content_hash
    assert prepare(run, tmp_path / "data").content_hash == first
    assert "nothing to do" in capsys.readouterr().err
    Image.fromarray(picture(99)).save(album / "pictures" / "3.png")
    assert prepare(run, tmp_path / "data").content_hash != first
    assert "changed since it was prepared: listed.train" in capsys.readouterr().err
    assert PreparedData.open(tmp_path / "data").content_hash != first


def test_what_cannot_be_read_is_dropped_with_its_reason_and_counted(album, tmp_path):
    lines = [json.loads(line) for line in (album / "train.jsonl").read_text().splitlines()]
    (album / "broken.png").write_bytes(b"\x89PNG but no more")
    bad = ["pictures/none.png", "broken.png", "data:image/png,raw", "data:image/png;base64,?"]
    write(album / "train.jsonl", [*lines, *({"image": image, "label": "odd"} for image in bad), {"image": "x"}])
    write(album / "held.jsonl", [{"image": inline(picture(7)), "label": label} for label in ("odd", "new")])
    splits = prepare(run_of(album), tmp_path / "data").manifest["splits"]
    assert splits["train"]["pairs"] == 7
    assert sorted(splits["train"]["dropped"]["counts"].values()) == [1, 1, 1, 1, 1]
    assert "an image that cannot be read (it is no file)" in splits["train"]["dropped"]["counts"]
    assert splits["validation"]["dropped"]["counts"] == {"a label that the training data does not have": 1}


def test_one_label_is_too_few(album, tmp_path):
    write(album / "train.jsonl", [{"image": inline(picture(n)), "label": "one"} for n in range(3)])
    with pytest.raises(DataError, match="has 1 different labels, but at least 2"):
        prepare(run_of(album), tmp_path / "data")


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"tokenizer": {"vocab_size": 400}}, "tokenizer says nothing to classify-image"),
        ({"training": {"steps": 1, "batch_tokens": 9}}, "training.batch_tokens says nothing to classify-image"),
        ({"data": {"builder": "fashion-mnist"}}, "data.image_size is missing"),
        ({"data": {"builder": "fashion-mnist", "image_size": 28}, "model": {"from": "vit"}}, "leave it out"),
        ({"task": "classify"}, "data.image_size is for classify-image, caption, but task is 'classify'"),
    ],
)
def test_keys_that_do_not_fit_images_are_refused_by_name(album, sections, words):
    with pytest.raises(ConfigError, match=words):
        run_of(album, **sections)


def test_a_builder_of_texts_is_no_corpus_of_images(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run = parse_run({"task": "classify-image", "data": {"builder": "demo", "image_size": 8}, "training": {"steps": 1}})
    with pytest.raises(ConfigError, match=r"data\.builder = 'demo' is for translate, but task is 'classify-image'"):
        prepare(run, tmp_path / "data")


@pytest.mark.parametrize("image", ["data:image/png,abc", "data:image/png;base64", "data:image/png;base64,a?"])
def test_a_data_uri_that_is_spelled_wrong_is_refused(image):
    with pytest.raises(InputError, match="data: URI"):
        opened(image)


EVERYTHING = AugmentationConfig(
    crop_padding=2, flip=True, turn=20, zoom=0.3, outline=0.5, colour=0.4, hue=20, grey=0.2, erase=0.5
)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 99), epoch=st.integers(0, 99), chosen=st.sets(st.integers(0, 11), min_size=1))
def test_an_image_is_varied_alike_whatever_its_batch_mates(seed, epoch, chosen):
    images, rows = np.stack([picture(number) for number in range(12)]), np.array(sorted(chosen))
    vary = ImageAugmenter(EVERYTHING, seed)
    together = vary(images, np.arange(12), epoch)
    assert np.array_equal(vary(images[rows], rows, epoch), together[rows])
    assert (together.dtype, together.shape) == (images.dtype, images.shape)
    assert np.array_equal(images, np.stack([picture(number) for number in range(12)])), "the input is left alone"


def test_every_epoch_and_seed_varies_anew():
    images, rows = np.stack([picture(number) for number in range(30)]), np.arange(30)
    made = [ImageAugmenter(EVERYTHING, seed)(images, rows, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert not any(np.array_equal(one, other) for one, other in ((made[0], made[1]), (made[0], made[2])))


def test_crops_are_windows_of_the_bordered_image_and_reach_every_place():
    image = picture(0)
    bordered = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    windows = [bordered[top : top + SIDE, left : left + SIDE] for top in range(3) for left in range(3)]
    for margin in (1, 3, 8, 11):
        bordered = np.pad(image, ((margin, margin), (margin, margin), (0, 0)))
        places = [bordered[y : y + SIDE, x : x + SIDE].tobytes() for y, x in np.ndindex(2 * margin + 1, 2 * margin + 1)]
        made = ImageAugmenter(AugmentationConfig(crop_padding=margin), 0)(np.stack([image] * 60), np.arange(60), 0)
        assert {each.tobytes() for each in made} <= set(places)
    cropped = ImageAugmenter(AugmentationConfig(crop_padding=1), 0)(np.stack([image] * 300), np.arange(300), 0)
    found = [next(place for place, window in enumerate(windows) if np.array_equal(window, one)) for one in cropped]
    assert np.bincount(found, minlength=9).min() > 15


@pytest.mark.parametrize(
    ("key", "value", "least", "most"),
    [("turn", 90.0, -90, 90), ("hue", 60.0, -60, 60), ("zoom", 0.5, 1 / 1.5, 1.5), ("colour", 0.4, 0.6, 1.4)],
)
def test_what_is_drawn_fills_the_range_that_is_asked_for_and_no_more(monkeypatch, key, value, least, most):
    drawn = []
    for name in ("warped", "recoloured"):
        monkeypatch.setattr(augmentation, name, lambda pixels, *numbers: drawn.extend(numbers) or pixels)
    ImageAugmenter(AugmentationConfig(**{key: value}), 0)(np.zeros((300, 2, 2, 3), np.uint8), np.arange(300), 0)
    place = {"turn": [0], "zoom": [1], "colour": [0, 1, 2], "hue": [3]}[key]
    for numbers in (drawn[each] for each in place):
        assert least <= numbers.min() < least + 0.1 * (most - least)
        assert most >= numbers.max() > most - 0.1 * (most - least)
    others = [numbers for number, numbers in enumerate(drawn) if number not in place]
    assert all(np.ptp(numbers) == 0 for numbers in others), "nothing else is varied"


def test_the_asked_share_of_images_is_grey():
    images = np.stack([picture(0)] * 400)
    made = ImageAugmenter(AugmentationConfig(grey=0.3), 0)(images, np.arange(400), 0)
    assert (np.ptp(made, axis=-1).max(axis=(1, 2)) == 0).mean() == pytest.approx(0.3, abs=0.08)


def test_the_asked_share_of_images_is_drawn_over():
    images = np.full((400, 8, 8, 3), 255, np.uint8)
    images[:, :, 4:] = 0
    made = ImageAugmenter(AugmentationConfig(outline=0.3), 0)(images, np.arange(400), 0)
    changed = (made != images).any(axis=(1, 2, 3))
    assert changed.mean() == pytest.approx(0.3, abs=0.08)
    lines, fill = made[changed][:, :, 3].astype(float), made[changed][:, :, 6].astype(float)
    assert lines.min() < 10 < 110 < lines.max() < 129, "from black to half as dark"
    assert fill.min() < 20 < 235 < fill.max(), "from the colour as it is to white"


def test_half_of_the_images_are_mirrored():
    images = np.stack([picture(0)] * 400)
    flipped = ImageAugmenter(AugmentationConfig(flip=True), 0)(images, np.arange(400), 0)
    mirrored = np.array([np.array_equal(one, picture(0)[:, ::-1]) for one in flipped])
    assert np.array_equal(flipped[~mirrored], images[~mirrored])
    assert mirrored.mean() == pytest.approx(0.5, abs=0.08)


def test_a_rectangle_of_the_asked_share_of_images_is_erased():
    images = np.zeros((300, 32, 32, 3), np.uint8)
    erased = ImageAugmenter(AugmentationConfig(erase=0.3), 0)(images, np.arange(300), 0)
    touched = erased.any(axis=3)
    assert touched.any(axis=(1, 2)).mean() == pytest.approx(0.3, abs=0.08)
    for one in touched[touched.any(axis=(1, 2))]:
        rows, columns = np.flatnonzero(one.any(1)), np.flatnonzero(one.any(0))
        inside = one[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert inside.mean() > 0.9, "one whole rectangle of noise"
        assert 0.5 * AREA[0] < inside.size / one.size < 1.2 * AREA[1]


def test_only_training_is_varied(album, tmp_path):
    run = run_of(album, augmentation={"crop_padding": 2, "flip": True, "erase": 0.5})
    prepared = prepare(run, tmp_path / "data")
    plain = batch_of(prepared, run)["pixel_values"]
    varied = [batch_of(prepared, run, SEES_ALL._replace(varied=True), epoch=epoch)["pixel_values"] for epoch in (0, 1)]
    again = batch_of(prepared, run, SEES_ALL._replace(varied=True))["pixel_values"]
    assert np.array_equal(varied[0], again)
    assert not any(np.array_equal(one, other) for one, other in ((varied[0], plain), (varied[0], varied[1])))


def test_batches_have_the_asked_number_of_images(album, tmp_path):
    run = run_of(album)
    prepared = prepare(run, tmp_path / "data")
    objective = objective_of(run).of(prepared)
    assert isinstance(objective, ClassifyImage)
    batches = objective.batches(prepared.split("train"), prepared.tokenizer, SEES_ALL._replace(batch_rows=3))
    assert [len(batch["labels"]) for batch in batches.epoch()] == [3, 3, 1]
    assert batches.tally(next(batches.epoch())) == (3, 3, 3)


def test_an_example_without_a_text_teaches_no_tokenizer():
    assert ImageExample("a.png", "cat").texts == ()


def captioned(folder, *lines):
    for number in range(len(lines)):
        Image.fromarray(picture(number)).save(folder / f"{number}.png")
    write(folder / "said.jsonl", [{"image": f"{number}.png", **line} for number, line in enumerate(lines)])
    data = {"train": [{"jsonl": str(folder / "said.jsonl")}], "validation": [{"jsonl": str(folder / "said.jsonl")}]}
    sizes = {"workers": 1, "image_size": SIDE, "max_tokens": 8, "language_tags": True}
    values = {"data": {**data, **sizes}, "tokenizer": {"vocab_size": 300}, "training": {"steps": 1}}
    return parse_run({"task": "caption", **values})


def test_a_caption_begins_with_the_tag_of_its_language_which_counts(tmp_path):
    said = [("en", "asdfgh"), ("de", "qw"), ("en", "zxcvbnm"), ("en", "p")]
    run = captioned(tmp_path, *({"caption": text, "language": language, "group": "g"} for language, text in said))
    prepared = prepare(run, tmp_path / "data")
    tokenizer, shards = prepared.tokenizer, prepared.split("train")
    assert tokenizer.tags == [">>de<<", ">>en<<"]
    kept = (0, 1, 3)  # the other one has 8 tokens with its end, and a tag
    assert [shards.row(row)[0].tolist() for row in range(len(shards))] == [
        tokenizer.encode(said[row][1], f">>{said[row][0]}<<") for row in kept
    ]
    assert prepared.split("validation").text(0)[1:] == ("asdfgh", "en", "g")


def test_a_caption_ends_where_the_tokenizer_of_a_checkpoint_puts_no_end(tmp_path):
    run = captioned(tmp_path, {"caption": "a dog"}, {"caption": "on a mat"})
    values = run.model_dump(exclude_unset=True, by_alias=True, exclude={"tokenizer"})
    values |= {"data": {**values["data"], "language_tags": False, "max_tokens": 32}, "model": {"from": "x"}}
    values["data"].pop("image_size")
    tokenizer = Tokenizer.load(vocabularies.write("gpt2", tmp_path / "gpt2"))
    assert tokenizer.encode("") == []
    prepared = prepare(parse_run(values), tmp_path / "data", given=lambda: Given(tokenizer, square(SIDE)))
    shards = prepared.split("train")
    for row, text in enumerate(("a dog", "on a mat")):
        assert shards.row(row)[0].tolist() == [*tokenizer.encode(text), tokenizer.end_id]


def test_tags_need_the_language_of_each_caption(tmp_path):
    run = captioned(tmp_path, {"caption": "a", "language": "en"}, {"caption": "b"})
    with pytest.raises(DataError, match=r'said\.jsonl:2 has none: give it a "language"'):
        prepare(run, tmp_path / "data")
