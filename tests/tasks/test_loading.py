import pytest

from regard.config import TokenizerConfig
from regard.errors import CheckpointError
from regard.features.tokenizer import Tokenizer
from regard.interop.checkpoints import save_model
from regard.models.catalog import spec
from regard.models.forms import build_model
from regard.tasks.loading import load

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
        ({"vocab_size": 400, "pad_id": 399}, r"its vocabulary is \d+, but the model's is 400"),
        ({"eos_id": 5}, "its eos id is 0, but the model's is 5"),
    ],
)
def test_a_tokenizer_of_another_model_is_refused(tmp_path, tokenizer, ids, complaint):
    with pytest.raises(CheckpointError, match=complaint):
        load(saved(tmp_path / "model", tokenizer, **ids))


def test_a_model_without_a_tokenizer_is_refused(tmp_path, directory):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((directory / name).read_bytes())
    with pytest.raises(CheckpointError, match=r"cannot read the tokenizer .*tokenizer\.json"):
        load(tmp_path)
