from dataclasses import dataclass, field

import numpy as np
import pytest

from regard.errors import InputError
from regard.features.image import ImageProcessor
from regard.models.clip import from_config
from regard.models.family import Config
from regard.nn.output import Output
from regard.tasks.similarity import Matcher

SIDES = {
    "text_config": {"vocab_size": 60, "hidden_size": 4, "num_attention_heads": 2, "max_position_embeddings": 8},
    "vision_config": {"hidden_size": 4, "num_attention_heads": 2, "image_size": 4, "patch_size": 2},
}
SPEC = from_config(Config({"model_type": "clip", "projection_dim": 2, **SIDES}))
SCALE = 10.0


@dataclass
class Angles:
    """A text of n tokens points n * 10 degrees up, an image of brightness n likewise. Keeps its batches."""

    spec: object = SPEC
    batches: list = field(default_factory=list)

    def __call__(self, batch):
        self.batches.append(batch)
        if "pixel_values" in batch:
            return Output(image_embeds=self._at(batch["pixel_values"].mean((1, 2, 3))))
        return Output(text_embeds=self._at(batch["attention_mask"].sum(1)))

    def similarity(self, texts, images):
        return SCALE * texts @ images.T

    @staticmethod
    def _at(tens):
        angle = np.deg2rad(10 * np.asarray(tens, np.float64))
        return np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)


@pytest.fixture
def matcher(words):
    processor = ImageProcessor(size=(4, 4), do_rescale=False, do_normalize=False)
    return Matcher(Angles(), processor, words)


def bright(value):
    return np.full((3, 5, 3), value, np.uint8)


TEXTS = ["a b c", "a", "ada wrote the first"]  # with [CLS] and [SEP]: 5, 3 and 6 tokens


def cosines(image):
    return np.cos(np.deg2rad(10 * (np.array([5, 3, 6]) - image)))


def test_an_image_has_a_logit_and_a_probability_for_each_text_in_their_order(matcher):
    match = matcher(bright(4), TEXTS)
    assert match.texts == tuple(TEXTS)
    assert match.logits == pytest.approx(SCALE * cosines(4), rel=1e-5)
    powers = np.exp(SCALE * cosines(4))
    assert match.probabilities == pytest.approx(powers / powers.sum(), rel=1e-5)
    assert matcher(bright(6), TEXTS).text == "ada wrote the first"
    assert match.as_json() == {
        "texts": match.texts,
        "logits": match.logits,
        "probabilities": match.probabilities,
        "cut": (0, 0, 0),
    }


def test_several_images_come_in_their_order_and_the_texts_are_read_once(matcher):
    matches = matcher([bright(value) for value in (6, 5, 3)], TEXTS, batch_size=2)
    assert [match.text for match in matches] == ["ada wrote the first", "a b c", "a"]
    assert [match.logits for match in matches] == [matcher(bright(value), TEXTS).logits for value in (6, 5, 3)]
    read = ["text" if "input_ids" in batch else len(batch["pixel_values"]) for batch in matcher.engine.batches]
    assert read[:3] == ["text", 2, 1]
    assert matcher([], TEXTS) == []


def test_one_text_is_a_text_and_not_its_letters(matcher):
    match = matcher(bright(3), "ada")
    assert (match.texts, match.probabilities) == (("ada",), (1.0,))


def test_a_text_that_is_too_long_is_cut_before_its_end_and_counted(matcher, words):
    assert matcher.max_length == 8
    match = matcher(bright(3), ["a", "a b c x y a b c x y"])
    assert match.cut == (0, 4)
    ids = matcher.engine.batches[0]["input_ids"]
    assert ids.shape == (2, 8)
    assert words.sep_id in ids[:, -1]


def test_vectors_of_images_and_texts_have_length_1_and_their_products_are_the_cosines(matcher):
    images = np.stack(list(matcher.embed_images([bright(4), bright(9)], batch_size=1)))
    texts = matcher.embed_texts([*TEXTS, "a b c x y a b c x y"])
    assert images.dtype == texts[0].vector.dtype == np.float32
    assert [(text.tokens, text.cut) for text in texts] == [(5, 0), (3, 0), (6, 0), (8, 4)]
    found = images @ np.stack([text.vector for text in texts[:3]]).T
    np.testing.assert_allclose(found, [cosines(4), cosines(9)], atol=1e-6)


def test_nothing_to_compare_with_is_refused(matcher):
    with pytest.raises(InputError, match="there is nothing to compare images with: no texts"):
        matcher(bright(1), [])
