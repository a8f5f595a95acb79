"""A model directory that says what cannot be is refused in one line, before it takes memory or waits."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import regard
from regard.errors import CheckpointError
from regard.interop.described import described
from regard.interop.opening import open_checkpoint
from regard.models.catalog import family
from regard.models.family import Config
from regard.models.forms import build_model

BERT = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "hidden_size": 8,
    "vocab_size": 20,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 6,
}
LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "vocab_size": 20,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 64,
}
T5 = {"model_type": "t5", "vocab_size": 20, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_heads": 2, "num_layers": 1}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    regard.save_model(build_model(family("bert").from_config(Config(BERT))), path)
    return path


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def refusal(directory, config):
    """What is said of a directory with this config.json: one line."""
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError) as raised:
        described(open_checkpoint(directory))
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("distance", [200_000_000, 10**15, 10**400])
def test_the_table_of_t5s_distances_has_a_bound(copy, distance):
    said = refusal(copy, T5 | {"relative_attention_max_distance": distance})
    assert "relative positions: max_distance must be at most 32768" in said
    said = refusal(copy, T5 | {"relative_attention_max_distance": 128, "relative_attention_num_buckets": distance})
    assert "relative positions: buckets must be at most 32768" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rope_theta": "abc"}, "rope_theta of the rotary positions must be a number, but is 'abc'"),
        ({"rope_theta": 10**400}, "rope_theta of the rotary positions must be a number"),
        ({"rope_theta": float("nan")}, "rope_theta of the rotary positions must be a number, but is nan"),
        ({"rope_theta": 0}, "theta must be above 0"),
        ({"rope_scaling": {"type": "linear", "factor": "x"}}, "factor of the rotary positions must be a number"),
        ({"rope_scaling": {"type": "linear", "factor": None}}, "factor of the rotary positions must be a number"),
        ({"rope_scaling": {"type": "linear"}}, "rope_type 'linear' needs a factor"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "rope_type 'yarn' needs a factor"),
        ({"rope_scaling": {**YARN, "rope_theta": 1.0}}, "theta must be above 1 for yarn, but is 1.0"),
        ({"rope_scaling": {**YARN, "original_max_position_embeddings": 10**30}}, "original_positions must be at most"),
        ({"rope_scaling": {**YARN, "mscale": "x", "mscale_all_dim": 1}}, "mscale of the rotary positions must be"),
        ({"rope_scaling": {**YARN, "truncate": "no"}}, "whole_bounds must be true or false"),
        ({"rope_scaling": {**LLAMA3, "high_freq_factor": 1.0}}, "high_frequency_factor must be above "),
        ({"rope_scaling": {**LLAMA3, "low_freq_factor": [1]}}, "low_freq_factor of the rotary positions must be"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "each type of layer (full_attention)"),
        ({"rope_parameters": "yarn"}, "rope_parameters must be an object, but is 'yarn'"),
    ],
)
def test_rotary_positions_that_cannot_be_are_refused_by_name(copy, changes, said):
    assert said in refusal(copy, LLAMA | changes)


def test_yarn_without_a_factor_of_its_own_stretches_to_the_longest_text():
    spec = family("llama").from_config(Config(LLAMA | {"rope_scaling": {**YARN, "factor": None}}))
    assert spec.decoder.layer.rotary.factor == 64 / 16


@pytest.mark.parametrize("count", ["many", 2.5, True, [2]])
def test_a_count_of_labels_that_is_no_whole_number_is_refused_by_name(copy, count):
    assert f"num_labels must be a whole number, but is {count!r}" in refusal(copy, BERT | {"num_labels": count})


@pytest.mark.parametrize("error", [ValueError("too odd"), OverflowError("too large"), IndexError("too short")])
def test_whatever_a_value_breaks_names_the_file(copy, monkeypatch, error):
    def broken(*_):
        raise error

    monkeypatch.setattr("regard.interop.described.family", lambda name: family(name)._replace(from_config=broken))
    assert refusal(copy, BERT).startswith(f"{copy / 'config.json'} has a value of the wrong type: too ")


def replaced_by_pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def ended(code, *arguments, within=100):
    """What a program prints that is ended when it waits for ever."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=within
    ).stdout


@pytest.mark.parametrize("name", ["../weights.safetensors", "/tmp/weights.safetensors", "a/b.safetensors", "a.bin", ""])
def test_an_index_names_weights_beside_it_and_no_other_file(copy, name):
    shutil.copy(copy / "model.safetensors", copy.parent / "weights.safetensors")
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"classifier.bias": name}}))
    with pytest.raises(CheckpointError, match=f"must name .safetensors files beside it, but names {name!r}"):
        open_checkpoint(copy)


@pytest.mark.parametrize("offsets", [[0, 10**12], [10**12, 10**12 + 4], [8, 0], [-4, 0], [0, 3], ["0", "8"], None])
def test_offsets_that_lie_are_refused_before_anything_is_read(copy, offsets):
    path = copy / "model.safetensors"
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["classifier.bias"]["data_offsets"] = offsets
    lies = json.dumps(header).encode()
    path.write_bytes(len(lies).to_bytes(8, "little") + lies + content[8 + size :])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged or no safetensors file") as raised:
        open_checkpoint(copy)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("size", [0, 2**62, 2**64 - 1])
def test_a_header_that_is_longer_than_its_file_is_refused(copy, size):
    path = copy / "model.safetensors"
    path.write_bytes(size.to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged or no safetensors file"):
        open_checkpoint(copy)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes by name on this system")
@pytest.mark.parametrize(
    ("name", "index"),
    [("config.json", None), ("model.safetensors", None), ("model.safetensors.index.json", None), ("a.safetensors", 1)],
)
def test_a_pipe_in_a_files_place_is_refused_without_waiting(copy, name, index):
    if name != "config.json":
        (copy / "model.safetensors").unlink()
    if index:
        listed = {"weight_map": {"classifier.bias": name}}
        (copy / "model.safetensors.index.json").write_text(json.dumps(listed))
    replaced_by_pipe(copy / name)
    code = (
        "import sys\nfrom regard.errors import CheckpointError\nfrom regard.interop.opening import open_checkpoint\n"
        "try:\n    open_checkpoint(sys.argv[1])\nexcept CheckpointError as error:\n    print(error)"
    )
    assert ended(code, copy).startswith(f"{copy / name} must be a file")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device on this system")
def test_a_link_to_a_device_is_refused_and_a_link_to_a_file_taken(copy, tmp_path):
    weights = copy / "model.safetensors"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    described(open_checkpoint(copy))
    weights.unlink()
    weights.symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match=r"model\.safetensors must be a file"):
        open_checkpoint(copy)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes by name on this system")
def test_a_pipe_among_the_chat_templates_does_not_go_along(copy):
    (copy / "chat_templates").mkdir()
    (copy / "chat_templates" / "plain.jinja").write_text("{{ messages }}")
    replaced_by_pipe(copy / "chat_templates" / "rag.jinja")
    assert [name for name in open_checkpoint(copy).companions if "chat" in name] == ["chat_templates/plain.jinja"]
