"""GGUF files that the package's own writer made, read back: names, order of values, config, dequantisation."""

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf.quants import dequantize, quantize

from regard.errors import CheckpointError
from regard.interop import gguf as ours
from regard.interop.gguf import read_gguf

WIDTH, FFN, HEADS, KV_HEADS, HEAD_WIDTH, VOCAB = 64, 96, 4, 2, 32, 30
SIZES = {
    "block_count": 2,
    "context_length": 77,
    "embedding_length": WIDTH,
    "feed_forward_length": FFN,
    "attention.head_count": HEADS,
    "attention.head_count_kv": KV_HEADS,
    "attention.key_length": HEAD_WIDTH,
    "attention.value_length": HEAD_WIDTH,
    "attention.layer_norm_rms_epsilon": 1e-6,
    "rope.freq_base": 10000.0,
}
GPT2_SIZES = {
    "block_count": 1,
    "context_length": 20,
    "embedding_length": WIDTH,
    "feed_forward_length": 4 * WIDTH,
    "attention.head_count": HEADS,
    "attention.layer_norm_epsilon": 1e-5,
}
TOKENS = [chr(ord("a") + i) for i in range(24)] + ["<s>", "</s>", "ab", "abc", "cd", "[PAD29]"]
TOKENIZER = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [1] * 24 + [3, 3, 1, 1, 1, 5],
    "tokenizer.ggml.merges": ["a b", "c d", "ab c"],
    "tokenizer.ggml.bos_token_id": 24,
    "tokenizer.ggml.eos_token_id": 25,
    "tokenizer.chat_template": "{{ messages[0]['content'] }}",
}


def rotary_weights(architecture, seed=0):
    """Under Hugging Face names, as a checkpoint has them."""
    draw = np.random.default_rng(seed).standard_normal
    shapes = {"model.embed_tokens.weight": (VOCAB, WIDTH), "model.norm.weight": (WIDTH,)}
    for layer in ("model.layers.0.", "model.layers.1."):
        shapes |= {f"{layer}{norm}.weight": (WIDTH,) for norm in ("input_layernorm", "post_attention_layernorm")}
        for name, heads in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
            shapes[f"{layer}self_attn.{name}_proj.weight"] = (heads * HEAD_WIDTH, WIDTH)
            if architecture == "qwen2":
                shapes[f"{layer}self_attn.{name}_proj.bias"] = (heads * HEAD_WIDTH,)
        if architecture == "qwen3":
            shapes |= {f"{layer}self_attn.{name}_norm.weight": (HEAD_WIDTH,) for name in "qk"}
        shapes[f"{layer}self_attn.o_proj.weight"] = (WIDTH, HEADS * HEAD_WIDTH)
        shapes |= {f"{layer}mlp.{name}_proj.weight": (FFN, WIDTH) for name in ("gate", "up")}
        shapes[f"{layer}mlp.down_proj.weight"] = (WIDTH, FFN)
    return {name: draw(shape).astype(np.float32) for name, shape in shapes.items()}


THEIRS = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers.": "blk.",
    "self_attn.o_proj": "attn_output",
    "self_attn.": "attn_",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.": "ffn_",
    "_proj": "",
}


def permuted(rows, heads):
    """What llama.cpp's converter does: a head's row i and row i + half become neighbours."""
    half = len(rows) // heads // 2
    order = [head * 2 * half + i + part * half for head in range(heads) for i in range(half) for part in (0, 1)]
    return rows[order]


def converted(weights, architecture):
    """Hugging Face's weights as llama.cpp's converter names and arranges them."""
    out = {}
    for name, tensor in weights.items():
        if architecture == "llama" and ".q_proj" in name:
            tensor = permuted(tensor, HEADS)
        if architecture == "llama" and ".k_proj" in name:
            tensor = permuted(tensor, KV_HEADS)
        for theirs, short in THEIRS.items():
            name = name.replace(theirs, short)
        out[name] = tensor
    return out


def write(path, architecture="llama", fields=None, tensors=None, kind=Kind.F32, endianess=gguf.GGUFEndian.LITTLE):
    """kind: how the matrices are stored."""
    writer = gguf.GGUFWriter(path, architecture, endianess=endianess)
    sizes = {f"{architecture}.{key}": value for key, value in SIZES.items()}
    for key, value in (sizes | TOKENIZER if fields is None else fields).items():
        add = {bool: "add_bool", int: "add_uint32", float: "add_float32", str: "add_string", list: "add_array"}
        getattr(writer, add[type(value)])(key, value)
    tensors = converted(rotary_weights(architecture), architecture) if tensors is None else tensors
    for name, tensor in tensors.items():
        stored = tensor.ndim > 1 and kind != Kind.F32 and tensor.dtype != np.uint8
        writer.add_tensor(name, quantize(tensor, kind) if stored else tensor, raw_dtype=kind if stored else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def fields(architecture="llama", **changes):
    sizes = SIZES | {key.replace("__", "."): value for key, value in changes.items()}
    return {f"{architecture}.{key}": value for key, value in sizes.items() if value is not None} | TOKENIZER


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write(tmp_path_factory.mktemp("gguf") / "llama.gguf")


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_tensors_come_back_under_hugging_faces_names_and_in_its_order_of_rows(architecture, tmp_path):
    found = read_gguf(write(tmp_path / "model.gguf", architecture)).tensors
    weights = rotary_weights(architecture)
    assert list(found) == sorted(weights)
    for name, tensor in weights.items():
        np.testing.assert_array_equal(found[name], tensor, name)
        assert found.shape(name) == tensor.shape


def test_the_rows_of_biases_are_put_back_too(tmp_path):
    weights = rotary_weights("qwen2")
    path = write(tmp_path / "model.gguf", tensors=converted(weights, "llama"))
    checkpoint = read_gguf(path)
    assert checkpoint.config["attention_bias"]
    for name in ("q", "k", "v"):
        name = f"model.layers.1.self_attn.{name}_proj.bias"
        np.testing.assert_array_equal(checkpoint.tensors[name], weights[name])


def test_the_config_is_that_of_hugging_face(llama):
    assert read_gguf(llama).config == {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "intermediate_size": FFN,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_WIDTH,
        "hidden_act": "silu",
        "max_position_embeddings": 77,
        "rms_norm_eps": 1e-06,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": 24,
        "eos_token_id": 25,
        "pad_token_id": None,
        "dtype": "float32",
    }


def test_the_output_table_unties_the_embeddings_unless_it_is_a_copy(tmp_path):
    tensors = converted(rotary_weights("llama"), "llama")
    table = tensors["token_embd.weight"]
    own = read_gguf(write(tmp_path / "own.gguf", tensors=tensors | {"output.weight": table + 1}))
    assert not own.config["tie_word_embeddings"]
    np.testing.assert_array_equal(own.tensors["lm_head.weight"], table + 1)
    copy = read_gguf(write(tmp_path / "copy.gguf", tensors=tensors | {"output.weight": table}))
    assert copy.config["tie_word_embeddings"]
    assert "lm_head.weight" not in copy.tensors


def test_gpt2s_kernels_are_turned_back(tmp_path):
    draw = np.random.default_rng(1).standard_normal
    kernels = {"attn.c_attn": (WIDTH, 192), "attn.c_proj": (WIDTH, WIDTH), "mlp.c_fc": (WIDTH, 40)}
    kernels["mlp.c_proj"] = (40, WIDTH)
    names = {"attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}
    weights = {f"transformer.h.0.{name}.weight": draw(shape).astype("f4") for name, shape in kernels.items()}
    tensors = {f"blk.0.{names[name[16:-7]]}.weight": tensor.T.copy() for name, tensor in weights.items()}
    tensors |= {"token_embd.weight": draw((VOCAB, WIDTH)).astype("f4"), "blk.0.ffn_up.bias": np.ones(40, "f4")}
    path = write(tmp_path / "gpt2.gguf", "gpt2", {f"gpt2.{k}": v for k, v in GPT2_SIZES.items()}, tensors)
    checkpoint = read_gguf(path)
    for name, tensor in weights.items():
        np.testing.assert_array_equal(checkpoint.tensors[name], tensor, name)
        assert checkpoint.tensors.shape(name) == tensor.shape
    assert checkpoint.tensors.shape("transformer.h.0.mlp.c_fc.bias") == (40,)
    assert checkpoint.config["n_inner"] == 40  # whatever feed_forward_length says
    assert checkpoint.config["architectures"] == ["GPT2LMHeadModel"]


@pytest.mark.parametrize("kind", [Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1])
def test_quantised_tensors_come_as_the_package_dequantises_them(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(ours, "VALUES_AT_ONCE", 5 * WIDTH)  # in several steps, the last one smaller
    weights = rotary_weights("llama")
    found = read_gguf(write(tmp_path / "model.gguf", kind=kind)).tensors
    for name, tensor in weights.items():
        expected = dequantize(quantize(tensor, kind), kind) if tensor.ndim > 1 else tensor
        np.testing.assert_array_equal(found[name], expected, name)
        assert found[name].dtype == np.float32


@pytest.mark.parametrize("kind", [Kind.Q2_K, Kind.Q3_K, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K])
def test_k_quants_come_as_the_package_dequantises_them(kind, tmp_path):
    size = gguf.GGML_QUANT_SIZES[kind][1]
    raw = np.random.default_rng(2).integers(0, 60, (VOCAB, size), np.uint8)  # of small, finite scales
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    for key, value in SIZES.items():
        getattr(writer, "add_uint32" if isinstance(value, int) else "add_float32")(f"llama.{key}", value)
    writer.add_tensor("token_embd.weight", raw, raw_dtype=kind)
    writer.add_tensor("output_norm.weight", np.ones(256, "f4"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tensors = read_gguf(tmp_path / "model.gguf").tensors
    assert tensors.shape("model.embed_tokens.weight") == (VOCAB, 256)
    np.testing.assert_array_equal(tensors["model.embed_tokens.weight"], dequantize(raw, kind))


@pytest.mark.parametrize(("kind", "dtype"), [(Kind.F16, "float16"), (Kind.BF16, "bfloat16"), (Kind.Q8_0, "float32")])
def test_half_floats_come_as_they_are_stored_where_that_is_asked_for(kind, dtype, tmp_path):
    path = write(tmp_path / "model.gguf", kind=kind)
    wide, stored = read_gguf(path), read_gguf(path, stored_floats=True)
    assert stored.config["dtype"] == dtype
    for name in stored.tensors:
        assert stored.tensors[name].dtype.name == stored.tensors.dtype(name)
        np.testing.assert_array_equal(stored.tensors[name].astype("f4"), wide.tensors[name])
    assert stored.tensors.dtype("model.layers.0.self_attn.q_proj.weight") == dtype


def test_shapes_and_names_are_told_without_reading_a_tensor(llama, monkeypatch):
    monkeypatch.setattr(ours, "dequantised", lambda *_: pytest.fail("a tensor was read"))
    tensors = read_gguf(llama).tensors
    assert {name: tensors.shape(name) for name in tensors} == {k: v.shape for k, v in rotary_weights("llama").items()}
    assert "model.norm.weight" in tensors
    assert "output_norm.weight" not in tensors
    with pytest.raises(KeyError):
        tensors.shape("no such tensor")


def test_a_tensor_of_an_unknown_name_keeps_it_so_that_it_is_missed_by_none(tmp_path):
    strange = {"blk.0.attn_q.scale": np.ones(3, "f4"), "blk.0.ffn_gate_exps.weight": np.ones((2, 3), "f4")}
    path = write(tmp_path / "model.gguf", tensors=converted(rotary_weights("llama"), "llama") | strange)
    assert strange.keys() <= set(read_gguf(path).tensors)


def llama3_factors(factor, low, high, original, theta=500000.0, width=HEAD_WIDTH):
    """As Transformers' `_compute_llama3_parameters` has them, one frequency at a time."""
    factors = []
    for i in range(0, width, 2):
        wavelength = 2 * np.pi * theta ** (i / width)
        if wavelength < original / high:
            factors.append(1.0)
        elif wavelength > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, "f4")


@pytest.mark.parametrize(
    "parameters", [(8.0, 1.0, 4.0, 8192), (32.0, 1.0, 4.0, 8192), (5.0, 1.0, 9.0, 600), (8.0, 2.0, 12.0, 1000)]
)
def test_llama3s_rope_scaling_is_found_from_its_factors(parameters, tmp_path):
    factors = llama3_factors(*parameters)
    tensors = converted(rotary_weights("llama"), "llama") | {"rope_freqs.weight": factors}
    path = write(tmp_path / "model.gguf", fields=fields(rope__freq_base=500000.0), tensors=tensors)
    checkpoint = read_gguf(path)
    rope = checkpoint.config["rope_parameters"]
    found = [rope[key] for key in ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings")]
    assert (rope["rope_type"], rope["rope_theta"], rope["factor"]) == ("llama3", 500000.0, parameters[0])
    np.testing.assert_allclose(llama3_factors(rope["factor"], *found), factors, rtol=1e-5)
    if parameters[1] == 1:
        assert found == list(parameters[1:])
    assert "rope_freqs.weight" not in checkpoint.tensors


def test_factors_of_another_scaling_are_refused_and_ones_are_none(tmp_path):
    tensors = converted(rotary_weights("llama"), "llama")
    ones = write(tmp_path / "ones.gguf", tensors=tensors | {"rope_freqs.weight": np.ones(16, "f4")})
    assert read_gguf(ones).config["rope_parameters"] == {"rope_type": "default", "rope_theta": 10000.0}
    for odd in (np.linspace(1, 8, 16), np.full(16, np.nan), np.arange(16) - 1, np.full(15, 2)):
        path = write(tmp_path / "odd.gguf", tensors=tensors | {"rope_freqs.weight": odd.astype("f4")})
        with pytest.raises(CheckpointError, match="rope_freqs"):
            read_gguf(path)


def test_linear_and_yarn_scaling_are_named_as_hugging_face_names_them(tmp_path):
    linear = fields(rope__scaling__type="linear", rope__scaling__factor=4.0)
    rope = read_gguf(write(tmp_path / "linear.gguf", fields=linear)).config["rope_parameters"]
    assert rope == {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
    yarn = {"rope__scaling__type": "yarn", "rope__scaling__original_context_length": 40, "rope__scaling__factor": 2.5}
    rope = read_gguf(write(tmp_path / "yarn.gguf", fields=fields(**yarn))).config["rope_parameters"]
    assert (rope["rope_type"], rope["factor"], rope["original_max_position_embeddings"]) == ("yarn", 2.5, 40)


def test_mistral_is_known_by_its_name_or_its_window(tmp_path):
    window = read_gguf(write(tmp_path / "window.gguf", fields=fields(attention__sliding_window=16))).config
    assert (window["model_type"], window["sliding_window"]) == ("mistral", 16)
    named = read_gguf(write(tmp_path / "named.gguf", fields=fields() | {"general.name": "Mistral 7B"})).config
    assert (named["model_type"], named["sliding_window"]) == ("mistral", None)
    assert named["architectures"] == ["MistralForCausalLM"]


def test_a_value_for_each_layer_must_be_one_value(tmp_path):
    same = write(tmp_path / "same.gguf", fields=fields(attention__head_count_kv=[2, 2]))
    assert read_gguf(same).config["num_key_value_heads"] == 2
    with pytest.raises(CheckpointError, match="head_count_kv must be one integer"):
        read_gguf(write(tmp_path / "other.gguf", fields=fields(attention__head_count_kv=[2, 1])))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_count": 2**31}, "block_count must be one integer from 1 to"),
        ({"block_count": 2**30}, "block_count must be at most 20, the number of tensors"),
        ({"embedding_length": 0}, "embedding_length must be one integer"),
        ({"context_length": "long"}, "context_length must be one integer"),
        ({"attention__layer_norm_rms_epsilon": float("nan")}, "must be a positive float, but is nan"),
        ({"attention__layer_norm_rms_epsilon": None}, "has no llama.attention.layer_norm_rms_epsilon"),
        ({"attention__value_length": 16}, "value_length must be the width of a head, 32"),
        ({"rope__dimension_count": 16}, "rope.dimension_count must be the width of a head, 32"),
        ({"rope__scaling__type": "longrope"}, "must be none, linear or yarn"),
        ({"attention__head_count": 3}, r"blk.0.attn_q.weight \(128, 64\) has no even number of rows for 3 heads"),
        ({"expert_count": 8}, "mixture of experts"),
    ],
)
def test_metadata_that_cannot_be_is_refused_by_name(changes, message, tmp_path):
    with pytest.raises(CheckpointError, match=message) as error:
        read_gguf(write(tmp_path / "model.gguf", fields=fields(**changes)))
    assert "\n" not in str(error.value)


def test_other_architectures_other_tables_and_parts_of_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="architecture 'mamba', and Regard reads llama, qwen2, qwen3, gpt2"):
        read_gguf(write(tmp_path / "mamba.gguf", "mamba"))
    with pytest.raises(CheckpointError, match="has no table of embeddings"):
        read_gguf(write(tmp_path / "empty.gguf", tensors={}))
    with pytest.raises(CheckpointError, match="31 tokens for 30 rows"):
        read_gguf(write(tmp_path / "long.gguf", fields=fields() | {"tokenizer.ggml.tokens": [*TOKENS, "more"]}))
    with pytest.raises(CheckpointError, match=r"bos_token_id must be a token of the vocabulary of 30, but is 30"):
        read_gguf(write(tmp_path / "bos.gguf", fields=fields() | {"tokenizer.ggml.bos_token_id": 30}))
    with pytest.raises(CheckpointError, match="one of 3 parts"):
        read_gguf(write(tmp_path / "part.gguf", fields=fields() | {"split.count": 3}))
