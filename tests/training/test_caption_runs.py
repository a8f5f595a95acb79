"""A whole run of captioning at toy size, on images that the test draws."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from regard.batch import CaptionExample
from regard.cli import app
from regard.config import TokenizerConfig, parse_run
from regard.data.objectives.images import square
from regard.data.prepare import prepare
from regard.data.shards import PreparedData
from regard.errors import ConfigError, TrainingInterrupted
from regard.features.tokenizer import Tokenizer
from regard.interop.checkpoints import load_model
from regard.interop.directory import read_json
from regard.metrics.captions import cider_d
from regard.metrics.translation import score
from regard.tasks.caption import Caption as Written
from regard.tasks.judging.images import CAPTIONS
from regard.training.caption_scores import CaptionScores
from regard.training.trainer import train

sys.path.append(str(Path(__file__).parent))

from whole_runs import assert_two_replicas_train_as_one_device, bits, quiet, validations, with_training

SIDE, STEPS = 8, 20
COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    folder = tmp_path_factory.mktemp("album")
    for split, numbers in (("train", range(48)), ("validation", range(48, 57))):
        lines = []
        for number in numbers:
            pixels = np.random.default_rng(number).integers(0, 60, (SIDE, SIDE, 3), np.uint8)
            pixels[:, :, number % 3] += 180
            Image.fromarray(pixels).save(folder / f"{number}.png")
            lines.append({"image": f"{number}.png", "caption": f"a {COLOURS[number % 3]} square on a wall"})
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return folder


def run_of(album, **sections):
    data = {split: [{"jsonl": f"{album}/{split}.jsonl"}] for split in ("train", "validation")}
    sizes = {"width": 32, "heads": 2, "ffn_width": 32, "encoder_depth": 1, "decoder_depth": 1}
    return parse_run(
        {
            "task": "caption",
            "seed": 3,
            "data": {**data, "workers": 1, "image_size": SIDE, "max_tokens": 16},
            "tokenizer": {"vocab_size": 300},
            "model": {"preset": "vit-gpt2-tiny", **sizes, "patch_size": 4, "max_positions": 32, "dropout": 0.1},
            "decoding": {"num_beams": 1, "max_new_tokens": 16},
            "training": {
                "steps": STEPS,
                "batch_images": 16,
                "log_every": 4,
                "validate_every": 10,
                "score_examples": 6,
                "dtype": "float32",
                "best": "bleu",
                "label_smoothing": 0.0,
                "schedule": {"name": "constant", "peak": 0.01, "warmup_steps": 1},
            },
            **sections,
        }
    )


@pytest.fixture(scope="module")
def undisturbed(album, tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed")
    train(run_of(album), directory, console=quiet())
    return directory


def test_a_captioner_learns_to_say_what_is_in_a_picture(album, undisturbed):
    assert validations(undisturbed)[-1]["bleu"] > 90
    paths = [str(album / f"{number}.png") for number in (48, 49, 50)]
    said = CliRunner().invoke(app, ["caption", str(undisturbed), *paths])
    assert (said.exit_code, said.stdout.splitlines()) == (0, [f"a {colour} square on a wall" for colour in COLOURS])


@pytest.mark.full  # make test stops, and goes on with, runs on texts, which share all of it (test_objectives.py)
def test_a_run_of_captions_stopped_and_gone_on_with_ends_with_the_same_bits(album, undisturbed, tmp_path):
    asked_for = iter(range(100))
    with pytest.raises(TrainingInterrupted):
        train(run_of(album), tmp_path, stop=lambda: next(asked_for) > 6, console=quiet())
    train(run_of(album), tmp_path, console=quiet())
    assert bits(tmp_path) == bits(undisturbed)
    assert validations(tmp_path) == validations(undisturbed)


@pytest.mark.full
def test_two_replicas_train_on_captions_as_one_device(album, tmp_path):
    run = with_training(run_of(album), steps=6, validate_every=3, batch_images=3, log_every=1, best="loss")
    assert_two_replicas_train_as_one_device(run, tmp_path)


def test_a_captioner_goes_on_from_the_weights_of_another_and_its_size_of_pictures(album, undisturbed, tmp_path):
    run = run_of(album).model_dump(exclude_unset=True, by_alias=True, exclude={"tokenizer"})
    run["data"].pop("image_size")
    run |= {"model": {"from": str(undisturbed)}}
    run["training"] |= {"steps": 2, "validate_every": 1, "schedule": {"name": "constant", "peak": 1e-5}}
    train(parse_run(run), tmp_path, console=quiet())
    assert validations(tmp_path)[0]["bleu"] > 90, "what it had learned is there after a step"
    assert read_json(tmp_path / "model", "preprocessor_config.json")["size"] == {"height": SIDE, "width": SIDE}
    again = {**run, "data": {**run["data"], "image_size": SIDE}}
    with pytest.raises(ConfigError, match=r"data\.image_size cannot stand beside model.from"):
        parse_run(again)


def test_an_evaluated_captioner_has_one_caption_an_image_and_scores_of_all_its_references(undisturbed):
    said = CliRunner().invoke(app, ["evaluate", str(undisturbed), "--split", "validation", "--json"])
    assert said.exit_code == 0, said.output
    (group,) = json.loads(said.stdout)["groups"]
    assert group["examples"] == 9
    assert group["scores"]["exact_match"]["value"] > 0.9
    assert group["scores"]["cider_d"]["value"] > 5
    page = (undisturbed / "report.html").read_text("utf-8")
    assert page.count("<img ") >= 9
    maps = [json.loads(text) for text in re.findall(r'json">({"source".*?)</script>', page)]
    written = Tokenizer.load(undisturbed / "model")
    for one, colour in zip(maps, COLOURS, strict=True):
        assert one["source"][:4] == ["row 1, column 1", "row 1, column 2", "row 2, column 1", "row 2, column 2"]
        assert one["target"] == list(written.tokens(written.encode(f"a {colour} square on a wall")))


class Bilingual:
    """Says what it was taught in the language of the first token; right in German, half right in English."""

    def __init__(self, tokenizer):
        self.tokenizer, self.asked = tokenizer, []

    def generate(self, batch, *, forced_bos_token_id):
        count, said = len(batch["pixel_values"]), {">>de<<": "ein roter Ball rollt", ">>en<<": "a red ball falls"}
        self.asked.append((forced_bos_token_id, count))
        tag = next(tag for tag in said if self.tokenizer.tag_id(tag) == forced_bos_token_id)
        return SimpleNamespace(sequences=np.array([[self.tokenizer.encode(said[tag], tag)]] * count))


class Held(list):
    """Records as prepared rows."""

    def __init__(self, records, tokenizer):
        super().__init__(records)
        self.tokenizer = tokenizer

    def row(self, place):
        return (np.array(self.tokenizer.encode(self[place].text, f">>{self[place].language}<<")),)

    def text(self, place):
        return tuple(self[place])

    def features(self, rows):
        return np.zeros((len(rows) * SIDE, SIDE, 3), np.uint8)


def test_validation_asks_for_each_caption_in_its_language_and_bleu_is_the_languages_mean():
    lines = {"de": "ein roter Ball rollt", "en": "a red ball rolls"}
    tokenizer = Tokenizer.train(list(lines.values()), TokenizerConfig(vocab_size=300), [">>de<<", ">>en<<"])
    records = [CaptionExample("x.png", lines[language], language) for language in ("de", "en", "de")]
    model = Bilingual(tokenizer)
    found = CaptionScores(model, Held(records, tokenizer), tokenizer, square(SIDE), 9).end(3.0, 2.0, lambda: False)
    assert model.asked == [(tokenizer.tag_id(">>de<<"), 2), (tokenizer.tag_id(">>en<<"), 1)]
    english = score(["a red ball falls"], ["a red ball rolls"], "en").bleu
    assert found["bleu"] == pytest.approx((100 + english) / 2)


def test_several_people_s_captions_of_an_image_are_its_references():
    examples = [CaptionExample("x.png", "a cat"), CaptionExample("y.png", "a dog"), CaptionExample("x.png", "one cat")]
    captions = [Written("one cat"), Written("a dog runs")]
    found = CAPTIONS.judge(examples, captions, {})
    assert [(each.reference, each.output, each.right) for each in found] == [
        ("a cat\none cat", "one cat", True),
        ("a dog", "a dog runs", False),
    ]
    expected = cider_d(["one cat", "a dog runs"], [["a cat", "one cat"], ["a dog"]])
    assert [each.statistics["cider_d"] for each in found] == [[score, 1] for score in expected]


def test_the_loss_of_captions_is_that_of_each_of_them_alone(undisturbed):
    prepared = PreparedData.open(undisturbed / "data")
    shards, nats, count = prepared.split("validation"), 0.0, 0
    model = load_model(undisturbed / "checkpoints" / f"step-{STEPS:08d}")
    for row in range(len(shards)):
        labels = shards.row(row)[0]
        pixels = prepared.processor.normalised(shards.features(np.array([row]))[None])
        before = np.concatenate([[prepared.tokenizer.eos_id], labels[:-1]])
        logits = model({"pixel_values": pixels, "decoder_input_ids": before[None].astype(np.int32)}).logits
        logits = np.asarray(logits, np.float64)[0]
        nats += float((np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]).sum())
        count += len(labels)
    assert validations(undisturbed)[-1]["loss"] == pytest.approx(nats / count, rel=1e-4)


def test_a_captioner_is_saved_as_transformers_has_it(undisturbed):
    config = read_json(undisturbed / "model", "config.json")
    assert config["architectures"] == ["VisionEncoderDecoderModel"]
    assert (config["encoder"]["model_type"], config["decoder"]["model_type"]) == ("vit", "gpt2")
    assert config["decoder_start_token_id"] == config["eos_token_id"] != config["pad_token_id"]
    assert {path.name for path in (undisturbed / "model").iterdir()} >= {"tokenizer.json", "preprocessor_config.json"}


def test_captions_that_are_too_long_are_dropped_and_counted(album, tmp_path):
    long = json.dumps({"image": "0.png", "caption": "a red square on a wall " * 9})
    (album / "long.jsonl").write_text(long + "\n" + (album / "train.jsonl").read_text("utf-8"), "utf-8")
    splits = {"train": [{"jsonl": f"{album}/long.jsonl"}], "validation": [{"jsonl": f"{album}/validation.jsonl"}]}
    data = {**splits, "workers": 1, "image_size": SIDE, "max_tokens": 16}
    train_split = prepare(run_of(album, data=data), tmp_path / "data").manifest["splits"]["train"]
    assert train_split["dropped"]["counts"] == {"a caption longer than data.max_tokens = 16": 1}


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"preset": "vit-tiny"}, r"must be one that reads images \(vit-gpt2-tiny, .*\) for caption"),
        ({"preset": "vit-gpt2-tiny", "depth": 2}, "model.depth is no key of vit-gpt2-tiny"),
        ({"preset": "vit-gpt2-tiny", "patch_size": 4, "max_positions": 8}, "data.max_tokens must be at most"),
    ],
)
def test_a_network_that_does_not_caption_is_refused_by_name(album, model, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        train(run_of(album, model=model), tmp_path, console=quiet())
