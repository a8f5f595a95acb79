"""tokenizer.path: a tokenizer that somebody else trained, from whatever files hold it."""

import json
import sys
from pathlib import Path

import pytest

from regard.config import parse_run
from regard.data.prepare import prepare
from regard.errors import CheckpointError, ConfigError, DataError

sys.path.append(str(Path(__file__).parents[1] / "features" / "tokenizers"))

import tiny_tokenizers as vocabularies


def prepared(tmp_path, path):
    (tmp_path / "pairs.tsv").write_text("".join(f"the fox {n}\tder Fuchs {n}\n" for n in range(60)))
    corpus = {"tsv": str(tmp_path / "pairs.tsv")}
    values = {
        "data": {"train": [corpus], "validation": [corpus], "workers": 1},
        "tokenizer": {"path": str(path)},
        "training": {"steps": 1},
    }
    return prepare(parse_run(values), tmp_path / "data")


def test_one_that_is_a_sentencepiece_model_alone_is_taken(tmp_path):
    data = prepared(tmp_path, vocabularies.write("t5", tmp_path / "t5"))
    source, target = data.split("train").row(3)
    assert source[-1] == target[-1] == data.tokenizer.eos_id == 1
    assert data.tokenizer.encode("the fox 3") == source.tolist()


@pytest.mark.parametrize("name", ["spiece.model", "tokenizer_config.json"])
def test_a_change_of_any_of_its_files_is_seen(tmp_path, capsys, name):
    directory = vocabularies.write("t5", tmp_path / "t5")
    prepared(tmp_path, directory)
    if name == "spiece.model":
        first = [("<pad>", 3), ("</s>", 3), ("<unk>", 2)]
        (directory / name).write_bytes(vocabularies.piece_model(first=first, lines=vocabularies.LINES[:5]))
    else:
        vocabularies.write_json(directory / name, {"tokenizer_class": "T5Tokenizer", "extra_ids": 6})
    prepared(tmp_path, directory)
    assert "changed since it was prepared: tokenizer.path; preparing again" in capsys.readouterr().err
    prepared(tmp_path, directory)
    assert "nothing to do" in capsys.readouterr().err


def test_one_of_an_encoder_ends_texts_by_its_sep(tmp_path):
    data = prepared(tmp_path, vocabularies.write("bert", tmp_path / "bert"))
    source, target = data.split("train").row(3)
    assert source[-1] == target[-1] == data.tokenizer.end_id == data.tokenizer.sep_id
    assert data.tokenizer.decode(target) == "der fuchs 3"


@pytest.mark.parametrize("role", ["pad", "unk"])
def test_one_without_a_token_that_translation_needs_is_refused_by_its_name(tmp_path, role):
    directory = vocabularies.write("t5", tmp_path / "t5")
    config = json.loads((directory / "tokenizer_config.json").read_text())
    vocabularies.write_json(directory / "tokenizer_config.json", {**config, f"{role}_token": None})
    with pytest.raises(ConfigError, match=f"has no {role} token, which a text that is written needs"):
        prepared(tmp_path, directory)


def test_one_that_does_not_end_its_texts_is_refused(tmp_path):
    directory = vocabularies.write("llama", tmp_path / "llama")
    config = json.loads((directory / "tokenizer_config.json").read_text())
    vocabularies.write_json(directory / "tokenizer_config.json", {**config, "pad_token": "<s>"})
    with pytest.raises(ConfigError, match="must end every text with its eos token, and put nothing but cls before it"):
        prepared(tmp_path, directory)


def test_one_that_begins_a_text_with_a_language_is_refused(tmp_path):
    """Both sides would have the default one."""
    with pytest.raises(ConfigError, match="put nothing but cls before it, but does not"):
        prepared(tmp_path, vocabularies.write("nllb", tmp_path / "nllb"))


def test_a_directory_without_a_tokenizer_and_a_path_to_nothing_are_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"empty has no tokenizer: none of tokenizer\.json"):
        prepared(tmp_path, tmp_path / "empty")
    with pytest.raises(DataError, match=r"cannot read .*nowhere: No such file or directory"):
        prepared(tmp_path, tmp_path / "nowhere")
