"""A single matrix of more than 2 GB, the bound of a protocol buffer and so of a TensorFlow graph that holds its
weights: both engines read their weights beside the graph, and say the same."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from regard import load_model
from regard.export.openvino_model import export_openvino, load_openvino

WIDTH, VOCABULARY = 2048, 270_000  # 2.2 GB of float32


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A GPT-2 of one layer."""
    random = np.random.default_rng(1)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return random.standard_normal((rows, columns), np.float32) * np.float32(0.02)

    table = matrix(VOCABULARY, WIDTH)
    assert table.nbytes > 2**31
    layer = {
        "attn.c_attn": matrix(WIDTH, 3 * WIDTH), "attn.c_proj": matrix(WIDTH, WIDTH),
        "mlp.c_fc": matrix(WIDTH, 4 * WIDTH), "mlp.c_proj": matrix(4 * WIDTH, WIDTH),
    }  # fmt: skip
    tensors = {"transformer.wte.weight": table, "transformer.wpe.weight": matrix(32, WIDTH)}
    for name, kernel in layer.items():
        tensors[f"transformer.h.0.{name}.weight"] = kernel
        tensors[f"transformer.h.0.{name}.bias"] = np.zeros(kernel.shape[1], np.float32)
    for name in ("h.0.ln_1", "h.0.ln_2", "ln_f"):
        tensors[f"transformer.{name}.weight"] = np.ones(WIDTH, np.float32)
        tensors[f"transformer.{name}.bias"] = np.zeros(WIDTH, np.float32)
    config = {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": VOCABULARY, "n_positions": 32,
        "n_embd": WIDTH, "n_layer": 1, "n_head": 16, "bos_token_id": 0, "eos_token_id": 0,
    }  # fmt: skip
    directory = tmp_path / "large"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(config))
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    return directory


@pytest.mark.full
def test_both_engines_run_it_and_an_export_holds_it(checkpoint: Path, tmp_path: Path) -> None:
    batch = {"input_ids": np.array([[5, 269_000, 17], [3, 90_001, 140_000]])}

    def written(model) -> np.ndarray:
        return np.asarray(model.generate(batch, max_new_tokens=4).sequences)

    expected = written(load_model(checkpoint))
    assert len(np.unique(expected)) > 2
    np.testing.assert_array_equal(written(load_openvino(checkpoint)), expected)
    export_openvino(checkpoint, tmp_path / "exported")
    assert (tmp_path / "exported" / "openvino_decoder.bin").stat().st_size > 2**31
    np.testing.assert_array_equal(written(load_openvino(tmp_path / "exported")), expected)
