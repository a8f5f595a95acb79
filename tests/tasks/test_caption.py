from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image

from regard.batch import CaptionExample
from regard.config import TokenizerConfig
from regard.decoding.options import Generation, GenerationOptions
from regard.errors import ConfigError, InputError
from regard.features.image import ImageProcessor
from regard.features.tokenizer import Tokenizer
from regard.metrics.captions import cider_d
from regard.metrics.translation import bleu_statistics
from regard.models.catalog import FAMILIES
from regard.models.family import Config
from regard.tasks.caption import Caption, Captioner
from regard.tasks.judging.images import CAPTIONS
from regard.tasks.judging.judgement import ALL

ENCODER = {"model_type": "vit", "hidden_size": 4, "num_attention_heads": 2, "num_hidden_layers": 1, "image_size": 4}
DECODER = {"model_type": "gpt2", "vocab_size": 40, "n_embd": 4, "n_head": 2, "n_layer": 1, "bos_token_id": 3}
SPEC = FAMILIES["vision-encoder-decoder"].from_config(
    Config({"model_type": "vision-encoder-decoder", "encoder": {**ENCODER, "patch_size": 2}, "decoder": DECODER})
)


@dataclass
class Seer:
    """Says "ada wrote" as many times as the image is bright; hypothesis k says "x" k times more. Keeps its calls."""

    tokenizer: object
    spec: object = SPEC
    calls: list = field(default_factory=list)

    def generate(self, batch, options):
        pixels = batch["pixel_values"]
        self.calls.append((pixels, options))
        answers = [
            [
                self._ids(int(pixel.mean()), rank)[: options.max_new_tokens]
                for rank in range(options.num_return_sequences)
            ]
            for pixel in pixels
        ]
        lengths = np.array([[len(ids) for ids in row] for row in answers], np.int32)
        sequences = np.zeros((*lengths.shape, lengths.max()), np.int32)
        for place in np.ndindex(lengths.shape):
            sequences[place][: lengths[place]] = answers[place[0]][place[1]]
        scores = -np.arange(lengths.size, dtype=np.float32).reshape(lengths.shape)
        return Generation(sequences, lengths, scores if options.return_scores else None)

    def _ids(self, bright, rank):
        words = [*("ada", "wrote") * bright, *("x",) * rank]
        return [*(self.tokenizer.token_id(word) for word in words), self.tokenizer.sep_id]


@pytest.fixture
def captioner(words):
    processor = ImageProcessor(size=(4, 4), do_rescale=False, do_normalize=False)
    defaults = GenerationOptions(max_new_tokens=9, eos_token_id=words.sep_id, pad_token_id=0)
    return Captioner(Seer(words), processor, words, defaults)


def bright(value):
    return np.full((3, 5, 3), value, np.uint8)


def test_an_image_gives_a_caption_and_several_give_a_list_in_their_order(captioner):
    assert captioner(bright(1)).text == "ada wrote"
    assert isinstance(captioner(bright(1)), Caption)
    several = captioner([bright(2), bright(0), bright(1)], batch_size=2)
    assert [caption.text for caption in several] == ["ada wrote ada wrote", "", "ada wrote"]
    assert all(caption.finished for caption in several)
    assert captioner([]) == []
    assert [len(pixels) for pixels, _ in captioner.engine.calls][-2:] == [2, 1]


def test_the_options_are_the_checkpoints_own_unless_others_are_asked_for(captioner):
    captioner(bright(1))
    assert captioner.engine.calls[-1][1] == captioner.defaults
    cut = captioner(bright(3), max_new_tokens=4)
    assert (cut.text, cut.finished, len(cut.token_ids)) == ("ada wrote ada wrote", False, 4)
    with pytest.raises(ConfigError, match="unknown option num_beans: did you mean num_beams"):
        captioner(bright(1), num_beans=4)


def test_n_best_gives_the_other_captions_best_first_with_scores(captioner):
    best = captioner([bright(0), bright(1)], num_beams=3, num_return_sequences=3, return_scores=True)[1]
    assert (best.text, best.score) == ("ada wrote", -3)
    assert [(other.text, other.score) for other in best.alternatives] == [("ada wrote x", -4), ("ada wrote x x", -5)]
    record = best.as_json()
    assert (record["text"], record["tokens"]) == ("ada wrote", ("ada", "wrote", "[SEP]"))
    assert record["alternatives"] == [other.as_json() for other in best.alternatives]


def test_an_image_keeps_its_seed_whatever_its_batch(captioner):
    def seeds(**settings):
        captioner.engine.calls.clear()
        captioner([bright(1)] * 3, do_sample=True, **settings)
        return [options.seed for _, options in captioner.engine.calls]

    assert seeds(seed=7, batch_size=2) == [(7, 8), (9,)]
    assert seeds(seed=(4, 9, 1), batch_size=2) == [(4, 9), (1,)]
    assert seeds(batch_size=2) == [None, None]
    for wrong in ((1, 2), (1, 2, 3, 4)):
        with pytest.raises(ConfigError, match=r"one an item"):
            seeds(seed=wrong)
        assert not captioner.engine.calls, "before anything is read"
        with pytest.raises(ConfigError, match=r"one an item"):
            list(captioner.stream(iter([bright(1)] * 3), do_sample=True, seed=wrong))


def test_an_image_that_cannot_be_read_is_named_after_the_captions_before_it(captioner, tmp_path):
    paths = [tmp_path / name for name in ("one.png", "broken.png", "two.png")]
    for path in paths:
        Image.fromarray(bright(1)).save(path)
    paths[1].write_bytes(paths[1].read_bytes()[:50])
    done = []
    with pytest.raises(InputError, match=f"cannot read {paths[1]}"):
        done.extend(caption.text for caption in captioner.stream(paths))
    assert done == ["ada wrote"]


@pytest.fixture(scope="module")
def polyglot(tmp_path_factory):
    """A tokenizer with a tag for each of two languages."""
    return Tokenizer.train(["ada wrote a note"] * 9, TokenizerConfig(vocab_size=300), [">>de<<", ">>en<<"])


@dataclass
class Namer:
    """Says the first token that it is made to say, then the end. Keeps its options."""

    tokenizer: object
    spec: object = SPEC
    calls: list = field(default_factory=list)

    def generate(self, batch, options):
        self.calls.append(options)
        ids = [[[options.forced_bos_token_id, self.tokenizer.eos_id]]] * len(batch["pixel_values"])
        return Generation(np.array(ids, np.int32), np.full((len(ids), 1), 2, np.int32))


def told(tokenizer, **defaults):
    options = GenerationOptions(max_new_tokens=9, eos_token_id=tokenizer.eos_id, **defaults)
    return Captioner(Namer(tokenizer), ImageProcessor(size=(4, 4), do_normalize=False), tokenizer, options)


def test_a_language_is_the_first_token_that_is_written_and_no_part_of_the_text(polyglot):
    captioner = told(polyglot)
    assert captioner.languages == ("de", "en")
    for asked, tag in (("de", ">>de<<"), ("deu", ">>de<<"), ("en", ">>en<<")):
        caption = captioner(bright(1), language=asked)
        assert (caption.token_ids[0], caption.text) == (polyglot.tag_id(tag), "")


def test_a_language_is_asked_for_where_there_are_several_and_refused_where_there_is_none(polyglot, captioner):
    several = told(polyglot)
    with pytest.raises(InputError, match="writes in several languages: give language, one of de, en"):
        several(bright(1))
    with pytest.raises(InputError, match="language must be one of de, en, but is 'fr'"):
        several(bright(1), language="fr")
    assert not several.engine.calls
    assert told(polyglot, forced_bos_token_id=polyglot.tag_id(">>en<<"))(bright(1)).token_ids[0] == (
        polyglot.tag_id(">>en<<")
    )
    assert captioner.languages == ()
    with pytest.raises(InputError, match="writes in one language and takes no language, but got 'de'"):
        captioner(bright(1), language="de")


def test_each_group_and_language_of_captions_is_scored_by_itself(polyglot):
    said = [
        ("a", "Haus", "de", "old"),
        ("a", "a house", "en", "old"),
        ("c", "a red hut", "en", "old"),
        ("b", "红的树", "zh", "new"),
        ("a", "one hut", "en", "old"),
    ]
    examples = sorted((CaptionExample(*each) for each in said), key=CAPTIONS.order)
    outputs = ["红树", "Haus", "one hut", "a hut"]
    judged = CAPTIONS.judge(examples, [Caption(text) for text in outputs], {})
    assert [(each.group, each.reference, each.right) for each in judged] == [
        ("new, zh", "红的树", False),
        ("old, de", "Haus", True),
        ("old, en", "a house\none hut", True),
        ("old, en", "a red hut", False),
    ]
    assert judged[0].statistics["bleu"] == bleu_statistics(["红树"], ["红的树"], "zh")[0].tolist()
    english = cider_d(outputs[2:], [["a house", "one hut"], ["a red hut"]])
    assert [each.statistics["cider_d"] for each in judged[2:]] == [[score, 1] for score in english]
    assert [each.languages for each in judged] == [(None, "zh"), (None, "de"), (None, "en"), (None, "en")]
    assert set(CAPTIONS.signatures(judged)) == {"bleu new, zh", "bleu old, de", "bleu old, en"}
    one = CAPTIONS.judge([CaptionExample("x", "a"), CaptionExample("y", "b")], [Caption("a"), Caption("a")], {})
    assert {each.group for each in one} == {ALL}


def test_examples_are_captioned_in_their_languages_where_the_model_is_told(polyglot, captioner, tmp_path):
    Image.fromarray(bright(1)).save(tmp_path / "x.png")
    examples = [CaptionExample(str(tmp_path / "x.png"), "text", language) for language in ("de", "en")]
    found = list(CAPTIONS.predict(told(polyglot), examples, {}))
    assert [caption.token_ids[0] for caption in found] == [polyglot.tag_id(tag) for tag in (">>de<<", ">>en<<")]
    assert [caption.text for caption in CAPTIONS.predict(captioner, examples, {})] == ["ada wrote"] * 2
