"""The graphs are written so that OpenVINO's processor plugin recognises them: attention over a cache, and rotary
positions, as one kernel each. Written another way they compute the same, at half the speed or less."""

from collections import Counter

import pytest

pytest.importorskip("openvino")
import openvino as ov

from regard.export.openvino_model import export_openvino
from regard.interop.checkpoints import save_model
from regard.models.catalog import FAMILIES
from regard.models.family import Config
from regard.models.forms import build_model

DEPTH = 2
SIZES = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": DEPTH,
    "intermediate_size": 24,
    "head_dim": 8,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
MARIAN = {
    "d_model": 16, "decoder_start_token_id": 29, "pad_token_id": 29,
    **{f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in
       {"layers": DEPTH, "attention_heads": 2, "ffn_dim": 24}.items()},
}  # fmt: skip
MODELS = {
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 16, "n_head": 2, "n_layer": DEPTH}),
    "llama": ("LlamaForCausalLM", SIZES),
    "llama, grouped keys": ("LlamaForCausalLM", GROUPED),
    "mistral, one head of keys, a window": (
        "MistralForCausalLM",
        {**GROUPED, "num_key_value_heads": 1, "sliding_window": 5},
    ),
    "qwen2, grouped keys": ("Qwen2ForCausalLM", GROUPED),
    "qwen3, grouped keys": ("Qwen3ForCausalLM", GROUPED),
    "marian": ("MarianMTModel", MARIAN),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_a_step_runs_the_kernels_that_are_meant(name, weights, tmp_path):
    architecture, sizes = MODELS[name]
    kind = name.split(",")[0]
    config = {"model_type": kind, "architectures": [architecture], "vocab_size": 30, **sizes}
    save_model(build_model(FAMILIES[kind].from_config(Config(config))), tmp_path / "model")
    export_openvino(tmp_path / "model", tmp_path / "exported", weights=weights)
    found = kernels(tmp_path / "exported" / "openvino_decoder.xml")
    assert found["ScaledDotProductAttention"] == DEPTH
    assert found["Softmax"] == (DEPTH if kind == "marian" else 0), "only attention without a cache is taken apart"
    if kind not in ("gpt2", "marian"):
        assert found["RoPE"] == 2 * DEPTH, "queries and keys"
        assert found["RMS"] >= 2 * DEPTH + 1


def kernels(graph):
    """How many of each kind the compiled graph has."""
    core = ov.Core()
    compiled = core.compile_model(core.read_model(graph), "CPU")
    operations = compiled.get_runtime_model().get_ordered_ops()
    return Counter(operation.get_rt_info()["layerType"].astype(str) for operation in operations)
