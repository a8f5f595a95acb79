"""Whole runs on images at toy size, on images that the test draws: they learn, go on exactly, and are used."""

import base64
import io
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from regard.cli import app
from regard.config import parse_run
from regard.config.sections import ModelConfig
from regard.data.shards import PreparedData
from regard.errors import ConfigError, TrainingInterrupted
from regard.interop.checkpoints import load_model
from regard.interop.directory import read_json
from regard.tasks.classify_image import ImageClassifier
from regard.tasks.loading import load
from regard.training.starting import open_start, processor_of
from regard.training.trainer import train

sys.path.append(str(Path(__file__).parent))

from whole_runs import assert_two_replicas_train_as_one_device, bits, quiet, validations, with_training

SIDE, STEPS = 8, 24
TINY = {"preset": "vit-mini", "width": 16, "heads": 2, "ffn_width": 32, "depth": 1, "patch_size": 4, "dropout": 0.1}


def striped(number, upright):
    """Stripes along one axis, in a colour of their own, with some noise."""
    rng = np.random.default_rng(number)
    wave = np.tile([0, 0, 255, 255], SIDE // 4)
    grey = np.broadcast_to(wave[None] if upright else wave[:, None], (SIDE, SIDE))
    coloured = grey[:, :, None] * rng.uniform(0.5, 1, 3) + rng.uniform(0, 40, (SIDE, SIDE, 3))
    return np.clip(coloured, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    folder = tmp_path_factory.mktemp("album")
    for split, numbers in (("train", range(64)), ("validation", range(64, 84))):
        lines = []
        for number in numbers:
            Image.fromarray(striped(number, number % 2 == 0)).save(folder / f"{number}.png")
            lines.append({"image": f"{number}.png", "label": "upright" if number % 2 == 0 else "lying"})
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return folder


def processor_in(directory, task="classify-image"):
    return processor_of(open_start(ModelConfig.model_validate({"from": str(directory)})), task)


def run_of(album, **sections):
    data = {split: [{"jsonl": f"{album}/{split}.jsonl"}] for split in ("train", "validation")}
    training = {"steps": STEPS, "batch_images": 24, "log_every": 4, "validate_every": 12, "dtype": "float32"}
    return parse_run(
        {
            "task": "classify-image",
            "seed": 3,
            "data": {**data, "workers": 1, **({} if "from" in sections.get("model", {}) else {"image_size": SIDE})},
            "model": TINY,
            "augmentation": {"crop_padding": 1, "flip": True, "erase": 0.2},
            "training": {
                **training,
                "label_smoothing": 0.1,
                "best": "accuracy",
                "schedule": {"name": "constant", "peak": 0.01, "warmup_steps": 1},
                **sections.pop("training", {}),
            },
            **sections,
        }
    )


@pytest.fixture(scope="module")
def undisturbed(album, tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed")
    train(run_of(album), directory, console=quiet())
    return directory


def test_a_classifier_of_images_learns_and_its_scores_are_those_of_its_predictions(album, undisturbed):
    _, last = validations(undisturbed)
    assert last["loss"] < np.log(2) / 2, "half of what guessing costs"
    assert last["accuracy"] > 0.8
    classifier = load(undisturbed)
    assert type(classifier) is ImageClassifier
    lines = [json.loads(line) for line in (album / "validation.jsonl").read_text().splitlines()]
    rankings = classifier([album / line["image"] for line in lines])
    right = sum(ranking.scores[0].label == line["label"] for ranking, line in zip(rankings, lines, strict=True))
    assert right / len(lines) == max(validations(undisturbed), key=lambda score: score["accuracy"])["accuracy"]


@pytest.mark.full  # make test stops, and goes on with, runs on texts, which share all of it (test_objectives.py)
def test_a_run_on_images_stopped_and_gone_on_with_ends_with_the_same_bits(album, undisturbed, tmp_path):
    asked_for = iter(range(100))
    with pytest.raises(TrainingInterrupted):
        train(run_of(album), tmp_path, stop=lambda: next(asked_for) > 6, console=quiet())
    train(run_of(album), tmp_path, console=quiet())
    assert bits(tmp_path) == bits(undisturbed)
    assert validations(tmp_path) == validations(undisturbed)


@pytest.mark.full
def test_two_replicas_train_on_images_as_one_device(album, tmp_path):
    run = with_training(run_of(album), steps=6, validate_every=3, batch_images=3, log_every=1)
    assert_two_replicas_train_as_one_device(run, tmp_path)


def test_a_checkpoint_says_how_its_images_are_prepared_and_what_its_labels_are(undisturbed):
    prepared = PreparedData.open(undisturbed / "data")
    assert processor_in(undisturbed) == prepared.processor
    assert processor_in(undisturbed).output_size == (SIDE, SIDE)
    config = read_json(undisturbed / "model", "config.json")
    assert config["architectures"] == ["ViTForImageClassification"]
    assert (config["image_size"], config["patch_size"]) == (SIDE, 4)
    assert config["id2label"] == {"0": "lying", "1": "upright"}
    assert not (undisturbed / "model" / "tokenizer.json").exists()


@pytest.mark.parametrize(("model_type", "kind"), [("vit", "ViT"), ("deit", "DeiT"), ("vision-encoder-decoder", "DeiT")])
def test_an_old_checkpoint_says_how_images_are_prepared_by_the_former_name(model_type, kind, tmp_path):
    """And one that leaves the name out by its family, a captioner's by that of its encoder."""
    captions = model_type == "vision-encoder-decoder"
    config = {"model_type": model_type} | ({"encoder": {"model_type": "deit"}} if captions else {})
    start = SimpleNamespace(place=tmp_path, config=config)
    for named in ({"feature_extractor_type": f"{kind}FeatureExtractor"}, {"do_resize": True}):
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(named))
        found = processor_of(start, "caption" if captions else "classify-image")
        assert (found.kind, found.output_size) == (f"{kind}ImageProcessor", (224, 224))


def test_a_run_goes_on_from_a_checkpoint_with_its_processor_and_the_head_of_its_labels(album, undisturbed, tmp_path):
    tuned = run_of(album, model={"from": str(undisturbed)}, training={"steps": 1, "validate_every": 1})
    slow = tuned.training.schedule.model_copy(update={"scale": 1e-30})
    tuned = tuned.model_copy(update={"training": tuned.training.model_copy(update={"schedule": slow})})
    train(tuned, tmp_path / "run", console=quiet())
    began, ended = (load_model(place / "model") for place in (undisturbed, tmp_path / "run"))
    for one, other in zip(began.trainable_variables, ended.trainable_variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-7, err_msg=one.path)
    assert processor_in(tmp_path / "run") == processor_in(undisturbed)


def test_the_command_line_trains_and_then_names_what_is_in_a_picture(album, undisturbed, tmp_path):
    (tmp_path / "run.toml").write_text(
        f"""
        task = "classify-image"
        data = {{ train = [{{ jsonl = "{album}/train.jsonl" }}], image_size = {SIDE}, workers = 1 }}
        model = {{ preset = "vit-mini", width = 8, heads = 2, depth = 1 }}
        training = {{ steps = 2, log_every = 1, dtype = "float32" }}
        """,
        "utf-8",
    )
    trained = CliRunner().invoke(app, ["train", str(tmp_path / "run.toml"), "-o", str(tmp_path / "run")])
    assert (trained.exit_code, trained.stdout) == (0, f"{tmp_path / 'run' / 'model'}\n")
    assert "images/s" in trained.stderr
    named = CliRunner().invoke(app, ["classify-image", str(undisturbed), str(album / "0.png"), "--top-k", "2"])
    assert sorted(named.stdout.split("\t")[::2]) == ["lying", "upright"]


def test_an_evaluation_of_images_finds_what_training_found_and_shows_the_pictures(undisturbed):
    said = CliRunner().invoke(app, ["evaluate", str(undisturbed), "--split", "validation", "--json"])
    assert said.exit_code == 0, said.output
    (group,) = json.loads(said.stdout)["groups"]
    best = max(validations(undisturbed), key=lambda score: score["accuracy"])
    assert group["scores"]["accuracy"]["value"] == pytest.approx(best["accuracy"])
    assert group["scores"]["macro_f1"]["value"] == pytest.approx(best["f1"])
    page = (undisturbed / "report.html").read_text("utf-8")
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) >= 12
    assert Image.open(io.BytesIO(base64.b64decode(pictures[0]))).size == (SIDE, SIDE)
    assert "images per second" in page
    maps = [json.loads(text) for text in re.findall(r'json">({"source".*?)</script>', page)]
    assert [(len(one["source"]), one["across"], one["target"]) for one in maps] == [(5, 2, ["class token"])] * 3
    for one in maps:
        assert sum(one["weights"][-1][0]) == pytest.approx(one["per"], abs=5), "a row of the rollout sums to 1"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"preset": "bert-tiny"}, r"must be one that reads images \(vit-mini, .*\) for classify-image"),
        ({**TINY, "patch_size": 3}, "data.image_size must be a multiple of the patches' 3 pixels"),
        ({**TINY, "max_positions": 8}, "model.max_positions is no key of vit-mini"),
    ],
)
def test_a_network_that_does_not_suit_images_is_refused_by_name(album, model, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        train(run_of(album, model=model), tmp_path, console=quiet())


def test_a_network_of_images_does_not_learn_from_texts(tmp_path):
    lines = [json.dumps({"text": f"number {number}", "label": "xy"[number % 2]}) for number in range(60)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    run = {"task": "classify", "data": {"train": [{"jsonl": f"{tmp_path}/texts.jsonl"}], "workers": 1}}
    run |= {"model": {"preset": "vit-mini"}, "training": {"steps": 1}, "tokenizer": {"vocab_size": 310}}
    with pytest.raises(ConfigError, match="needs an encoder or decoder of texts"):
        train(parse_run(run), tmp_path / "run", console=quiet())
