"""The tasks on images over networks: recorded checkpoints of Transformers, and what it computed with them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from regard.errors import CheckpointError
from regard.tasks.caption import Captioner
from regard.tasks.classify_image import ImageClassifier
from regard.tasks.loading import load
from regard.tasks.similarity import Matcher

CASES = Path(__file__).parents[1] / "parity" / "cases"
AS_THEY_ARE = {"do_resize": False, "do_center_crop": False, "do_rescale": False, "do_normalize": False}
WORDS = 67  # of the recorded vocabularies


def write_json(path, values):
    path.write_text(json.dumps(values), "utf-8")


def write_tokenizer(directory):
    """Token n is the word "n", and nothing stands around a text; "0", the padding, is no part of one."""
    special = {"id": 0, "content": "0", "special": True}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{**special, **flags}],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": {str(n): n for n in range(WORDS)}, "unk_token": "0"},
    }
    write_json(directory / "tokenizer.json", {**tokenizer, "truncation": None, "padding": None, "normalizer": None})
    write_json(directory / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "0"})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A recorded checkpoint that takes pixel values as they are, with a tokenizer, and its arrays by call."""
    root = tmp_path_factory.mktemp("seeing")

    def make(name, **processor):
        if not (root / name).exists():
            shutil.copytree(CASES / name, root / name)
            write_tokenizer(root / name)
        write_json(root / name / "preprocessor_config.json", {**AS_THEY_ARE, **processor})
        return root / name, np.load(CASES / name / "case.npz")

    return make


@pytest.mark.parametrize("name", ["vit-image-class", "deit-image-class-teacher"])
def test_the_classes_of_images_have_the_probabilities_of_the_recorded_logits(checkpoint, name):
    path, arrays = checkpoint(name)
    classifier = load(path)
    assert type(classifier) is ImageClassifier
    powers = np.exp(np.float64(arrays["plain/out/logits"]))
    expected = powers / powers.sum(1, keepdims=True)
    found = classifier(list(arrays["plain/in/pixel_values"]), batch_size=1)
    for ranking, row in zip(found, expected, strict=True):
        assert [entry.label for entry in ranking.scores] == [f"label-{place}" for place in np.argsort(-row)]
        assert [entry.score for entry in ranking.scores] == pytest.approx(np.sort(row)[::-1], abs=1e-5)


@pytest.mark.parametrize("search", ["greedy", "beam"])
def test_captions_are_the_recorded_ids(checkpoint, search):
    name = "vision-encoder-decoder-captioning-equal"
    path, arrays = checkpoint(name)
    captioner = load(path)
    assert type(captioner) is Captioner
    searches = {one["name"]: one["options"] for one in json.loads((path / "case.json").read_text("utf-8"))["generate"]}
    found = captioner(list(arrays["prompt/in/pixel_values"]), batch_size=3, **searches[search])
    sequences, lengths = (arrays[f"generate/{search}/{what}"][:, 0] for what in ("sequences", "lengths"))
    for caption, ids, length in zip(found, sequences.tolist(), lengths, strict=True):
        assert list(caption.token_ids) == ids[:length]
        assert caption.text == " ".join(str(token) for token in ids[:length] if token)
    if search == "beam":
        np.testing.assert_allclose(
            [caption.score for caption in found], arrays["generate/beam/scores"][:, 0], atol=1e-4
        )


@pytest.mark.parametrize("name", ["clip-similarity", "clip-similarity-legacy-eos", "clip-similarity-pad-eos"])
def test_images_and_texts_have_the_recorded_logits_and_vectors(checkpoint, name):
    path, arrays = checkpoint(name)
    matcher = load(path)
    assert type(matcher) is Matcher
    rows = zip(arrays["right/in/input_ids"].tolist(), arrays["right/in/attention_mask"], strict=True)
    texts = [" ".join(map(str, ids[: mask.sum()])) for ids, mask in rows]
    images = list(arrays["right/in/pixel_values"])
    matches = matcher(images, texts, batch_size=1)
    assert matches[0].cut == (0, 0, 0)
    np.testing.assert_allclose([m.logits for m in matches], arrays["right/out/logits_per_image"], atol=1e-4)
    np.testing.assert_allclose(list(matcher.embed_images(images)), arrays["right/out/image_embeds"], atol=1e-5)
    vectors = [text.vector for text in matcher.embed_texts(texts)]
    np.testing.assert_allclose(vectors, arrays["right/out/text_embeds"], atol=1e-5)


def test_a_processor_that_names_no_class_has_the_defaults_of_the_models_family(checkpoint):
    """DeiT's crop to 224, where ViT's would resize to 224 x 224; the model reads 12 x 12."""
    path, _ = checkpoint("deit-image-class-teacher", do_center_crop=True)
    with pytest.raises(CheckpointError, match=r"images of 224 x 224 pixels .* its model reads 12 x 12"):
        load(path)
    path, _ = checkpoint("deit-image-class-teacher", do_resize=True, do_center_crop=True, crop_size=12)
    assert load(path).batches.processor.size == (256, 256)
    path, _ = checkpoint("clip-similarity", do_center_crop=True, crop_size=12)
    assert load(path).batches.processor.image_mean[0] == 0.48145466
    path, _ = checkpoint("vision-encoder-decoder-captioning-equal", do_resize=True, size=8)
    assert load(path).batches.processor.resample == 2


def test_a_checkpoint_without_a_processor_is_refused(tmp_path):
    shutil.copytree(CASES / "vit-image-class", tmp_path / "vit")
    with pytest.raises(CheckpointError, match=r"it has no processor_config\.json and no preprocessor_config\.json"):
        load(tmp_path / "vit")


def test_images_and_texts_are_no_business_of_each_others_tasks(checkpoint):
    path, _ = checkpoint("vit-image-class")
    with pytest.raises(CheckpointError, match="a captioner is an encoder of images with a decoder of texts"):
        load(path, task="caption")
    with pytest.raises(CheckpointError, match="is no model for classify: it is an encoder"):
        load(path, task="classify")
