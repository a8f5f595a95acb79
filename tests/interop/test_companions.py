"""What goes along with a model when it is saved: the tokenizer, chat templates, modules of sentence-transformers."""

import json
import os
from pathlib import Path

import pytest

from regard.interop.companions import companions_of, module_directories, write_companions


def lay(directory: Path, *names: str) -> Path:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    return directory


def name_modules(directory: Path, *paths: str) -> None:
    (directory / "modules.json").write_text(json.dumps([{"path": path, "type": "x.Pooling"} for path in paths]))


def test_tokenizers_templates_and_modules_go_along_and_nothing_else(tmp_path):
    along = (
        *("tokenizer.json", "target_vocab.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
        *("chat_templates/rag.jinja", "chat_templates/tool_use.jinja"),
        *("1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"),
    )
    lay(tmp_path, *along, "README.md", "training_args.bin", "chat_templates/x.py", "onnx/model.onnx", "config.json")
    name_modules(tmp_path, "", "1_Pooling", "2_Dense", "3_Normalize")
    found = companions_of(tmp_path)
    assert set(found) == {*along, "modules.json"}
    write_companions(found, tmp_path / "out")
    for name in along:
        assert (tmp_path / "out" / name).read_text() == name
    assert companions_of(tmp_path / "out").keys() == found.keys()


def test_files_that_are_links_into_a_hub_cache_go_along_as_files(tmp_path):
    lay(tmp_path, "blobs/1", "snapshot/1_Pooling/x")
    os.symlink("../../blobs/1", tmp_path / "snapshot" / "1_Pooling" / "config.json")
    name_modules(tmp_path / "snapshot", "1_Pooling")
    write_companions(companions_of(tmp_path / "snapshot"), tmp_path / "out")
    assert (tmp_path / "out/1_Pooling/config.json").read_text() == "blobs/1"
    assert not (tmp_path / "out/1_Pooling/config.json").is_symlink()


def test_a_module_that_stands_elsewhere_does_not_go_along(tmp_path):
    lay(tmp_path, "secret/key", "model/1_Pooling/config.json")
    name_modules(tmp_path / "model", "../secret", str(tmp_path / "secret"), ".", "..", "1_Pooling/..", "1_Pooling")
    assert module_directories(tmp_path / "model") == ["1_Pooling"]
    assert set(companions_of(tmp_path / "model")) == {"modules.json", "1_Pooling/config.json"}


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "3", '[{"type": "x"}]', '[{"path": 3}]', "[3]"])
def test_modules_that_are_none_stop_nothing(text, tmp_path):
    (tmp_path / "modules.json").write_text(text)
    assert set(companions_of(tmp_path)) == {"modules.json"}
