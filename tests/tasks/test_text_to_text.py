"""Encoder-decoders of several families as translators and summarisers.

What they write is what Transformers 5.23 wrote from the same directories: by `generate` with forced_bos_token_id or
decoder_start_token_id, and with T5's words and options out of task_specific_params.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from regard.decoding.options import Generation, GenerationOptions
from regard.errors import CheckpointError
from regard.features.tokenizer import Tokenizer
from regard.models.catalog import family
from regard.models.family import Config
from regard.tasks.found import Found
from regard.tasks.loading import load
from regard.tasks.purpose import meant, summary_prompt, translation_prompts
from regard.tasks.summarise import Summariser
from regard.tasks.text_to_text import summariser, translator
from regard.tasks.translate import Translator

sys.path.append(str(Path(__file__).parent))

from tiny_writers import MODELS, T5_TASKS, write

TEXT = "The brown fox jumps over the lazy dog"
RIVALS = ["translate", "summarise", "generate"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    made = {}

    def make(kind, name=None, **config):
        key = name or kind
        if key not in made:
            made[key] = write(kind, tmp_path_factory.mktemp("writers") / key, **config)
        return made[key]

    return make


@dataclass
class Unbuilt:
    """A checkpoint as a model without a network."""

    spec: object
    kept_config: dict
    generation_options: GenerationOptions = field(default_factory=GenerationOptions)


def found(path):
    config = Config(json.loads((path / "config.json").read_text()))
    spec = family(config["model_type"]).from_config(config)
    return Found(Unbuilt(spec, config.unread()), path)


@pytest.mark.parametrize(
    ("kind", "source", "target", "ends", "written"),
    [
        ("mbart", None, "ro", (4, 215), [232, 200, 29, 29, 29, 119, 29, 29]),
        ("mbart", "en_XX", "de_DE", (4, 216), [215, 200, 29, 29, 29, 29, 29, 29]),
        ("mbart50", "de", "sl", (215, 2), [264, 50, 50, 50, 128, 128, 117, 261]),
        ("nllb", "en", "zho_Hans", (374, 2), [527, 330, 330, 330, 330, 330, 492, 492]),
        ("m2m_100", "de", "fr", (339, 2), [347, 306, 306, 306, 306, 306, 306, 29]),
    ],
)
def test_a_translator_writes_what_transformers_writes_in_the_language_that_is_asked_for(
    directory, kind, source, target, ends, written
):
    task = load(directory(kind))
    assert isinstance(task, Translator)
    ids = task.source_ids(TEXT, target, source)
    assert (ids[0], ids[-1]) == ends
    result = task(TEXT, source_lang=source, target_lang=target, max_new_tokens=8)
    assert list(result.token_ids) == written


def test_a_decoder_that_starts_with_a_language_starts_with_the_one_that_is_asked_for(directory):
    ro = Tokenizer.load(directory("mbart")).language_id("ro_RO")
    task = load(directory("mbart", "mbart that starts with a language", decoder_start_token_id=ro))
    own = task(TEXT, max_new_tokens=8)
    assert (own.target_lang, list(own.token_ids)) == ("ro_RO", [200, 200, 29, 29, 119, 119, 29, 29])
    other = task(TEXT, source_lang="en", target_lang="de", max_new_tokens=8, num_beams=3)
    assert list(other.token_ids) == [119, 200, 29, 29, 119, 29, 29, 29]


def test_t5_is_asked_in_the_words_and_with_the_options_of_its_config(directory):
    task = load(directory("t5", task_specific_params=T5_TASKS))
    assert isinstance(task, Translator)
    assert task.languages == ("de", "fr")
    greedy = {"num_beams": 1, "max_new_tokens": 8}
    assert list(task(TEXT, target_lang="de", **greedy).token_ids) == [98, *[16] * 7]
    assert list(task(TEXT, target_lang="de").token_ids) == [54, *[16] * 7]  # three beams, nine tokens with the start
    assert task.source_ids(TEXT, "fr")[:24] == [
        *(22, 9, 40, 14, 5, 6, 12, 4, 3, 95, 10, 45, 5, 18, 14, 19, 22, 7, 3, 96, 9, 24, 34, 19)
    ]
    summaries = load(directory("t5"), task="summarise")
    assert list(summaries(TEXT, min_new_tokens=0, **greedy).token_ids) == [54, *[144] * 7]
    assert (summaries.prefix, summaries.defaults.length_penalty, summaries.defaults.min_new_tokens) == (
        *("summarize: ", 2.0),
        3,
    )


def test_pegasus_summarises_as_in_transformers(directory):
    task = load(directory("pegasus"))
    assert isinstance(task, Summariser)
    result = task(TEXT, num_beams=3, max_new_tokens=8)
    assert list(result.token_ids) == [173, 173, 173, 173, 173, 205, 205, 205]


SUMMARY = {"summarization": T5_TASKS["summarization"], "summarization_cnn": {}}


@pytest.mark.parametrize(
    ("kind", "config", "task"),
    [
        ("bart", {}, "generate"),
        ("bart", {"task_specific_params": SUMMARY}, "summarise"),
        ("t5", {}, "generate"),
        ("t5", {"task_specific_params": SUMMARY}, "summarise"),
        ("t5", {"task_specific_params": T5_TASKS}, "translate"),
        ("pegasus", {}, "summarise"),
        ("marian", {}, "translate"),
        ("mbart50", {}, "translate"),
        ("m2m_100", {}, "translate"),
        ("mbart", {"task_specific_params": SUMMARY}, "translate"),
    ],
)
def test_what_a_checkpoint_says_chooses_among_the_tasks_of_writing(tmp_path, kind, config, task):
    checkpoint = found(write(kind, tmp_path, **config))
    assert meant(checkpoint, RIVALS) == task
    assert meant(checkpoint, RIVALS[:2]) == ("translate" if task == "generate" else task)
    assert meant(checkpoint, ["embed", "generate"]) == "embed"


@pytest.mark.parametrize("record", [{"task": "summarise"}, {"run": {"task": "summarise"}}])
def test_the_task_that_regard_trained_for_comes_before_all_else(tmp_path, record):
    (write("marian", tmp_path) / "regard.json").write_text(json.dumps(record))
    assert meant(found(tmp_path), RIVALS) == "summarise"


def test_what_generation_config_says_comes_before_task_specific_params(tmp_path):
    params = {"translation_en_to_de": {"max_length": 30, "num_beams": 4, "no_repeat_ngram_size": 3, "odd_key": 1}}
    checkpoint = found(write("t5", tmp_path, {"max_new_tokens": 7, "num_beams": 2}, task_specific_params=params))
    assert translation_prompts(checkpoint)["translation_en_to_de"].options == {"no_repeat_ngram_size": 3}
    (tmp_path / "generation_config.json").unlink()
    expected = {"max_new_tokens": 29, "num_beams": 4, "no_repeat_ngram_size": 3}
    assert translation_prompts(checkpoint)["translation_en_to_de"].options == expected
    made = translator(checkpoint)
    seen = []
    made.engine.generate = lambda batch, options: seen.append(options) or Generation(np.array([[[1]]]), np.array([[1]]))
    made("x", num_beams=1)
    assert (seen[0].max_new_tokens, seen[0].num_beams, seen[0].no_repeat_ngram_size) == (29, 1, 3)


def test_the_prefix_for_all_tasks_holds_where_a_task_has_none(tmp_path):
    checkpoint = found(write("bart", tmp_path, prefix=" ", task_specific_params={"summarization": {"num_beams": 4}}))
    assert summary_prompt(checkpoint) == (" ", {"num_beams": 4})
    assert summariser(checkpoint).prefix == " "


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"task_specific_params": [1]}, r"task_specific_params must be objects, but is \[1\]"),
        ({"task_specific_params": {"summarization": 4}}, "task_specific_params must be objects"),
        ({"task_specific_params": {"summarization": {"num_beams": "x"}}}, "summarization: num_beams must be an int"),
        ({"task_specific_params": {"summarization": {"max_length": None, "min_length": 90}}}, "min_new_tokens must be"),
        ({"prefix": 4}, "prefix must be a text, but is 4"),
    ],
)
def test_odd_params_are_named(tmp_path, config, complaint):
    with pytest.raises(CheckpointError, match=complaint):
        summariser(found(write("bart", tmp_path, **config)))


def test_ids_that_only_one_side_names_or_one_of_several_are_no_contradiction(tmp_path):
    text = found(write("t5", tmp_path)).spec.text

    def changed(ids: dict[str, object]) -> SimpleNamespace:
        facts = {"text": text, "vocab_size": text.vocab_size, "family": "t5", "form": "encoder-decoder"}
        return SimpleNamespace(tokens=SimpleNamespace(**ids), **facts)

    for ids in ({"eos": (7, 1), "pad": 0}, {"eos": None, "pad": 0}, {"eos": 1, "pad": None}):
        summariser(Found(Unbuilt(changed(ids), {}), tmp_path))
    for ids, complaint in (
        ({"eos": (7, 8), "pad": 0}, "its eos id is 1, but the model's is 7 or 8"),
        ({"eos": 1, "pad": 3}, "its pad id is 0, but the model's is 3"),
    ):
        with pytest.raises(CheckpointError, match=complaint):
            summariser(Found(Unbuilt(changed(ids), {}), tmp_path))


def test_a_table_without_a_row_for_the_mask_is_read_and_one_that_lacks_pieces_is_not(tmp_path):
    checkpoint = found(write("bart", tmp_path))
    mask = Tokenizer.load(tmp_path).mask_id
    assert mask == checkpoint.spec.text.vocab_size - 1  # as BART-CNN's, which has 50,264 rows for 50,265 ids
    changed = found(write("bart", tmp_path / "cnn", vocab_size=mask))
    assert changed.tokenizer.mask_id == mask
    with pytest.raises(CheckpointError, match=f"its vocabulary is {mask + 1}, but the model's is {mask - 1}"):
        assert found(write("bart", tmp_path / "less", vocab_size=mask - 1, eos_token_id=5)).tokenizer


def test_every_kind_of_checkpoint_here_has_a_tokenizer_that_fits(tmp_path):
    for kind in MODELS:
        checkpoint = found(write(kind, tmp_path / kind))
        assert translator(checkpoint).max_source_tokens == (None if kind == "t5" else 48)
        assert summariser(checkpoint).max_source_tokens == (None if kind == "t5" else 48)
