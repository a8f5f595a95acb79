"""How weights get from a file into a model: piece by piece, without a second copy, each in the dtype it is stored."""

import json
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import regard
from regard.interop import checkpoints, tensors
from regard.interop.accounting import Named
from regard.interop.arrays import ALIGNMENT, empty, taken_over
from regard.interop.tensors import Tensors
from regard.models.catalog import family
from regard.models.family import Config

CASES = Path(__file__).parent.parent / "parity" / "cases"
ONE_EACH = (
    *("bert-masked-lm", "clip-similarity", "gpt2-language-model", "llama-language-model", "marian-seq2seq-bias"),
    *("t5-seq2seq", "vit-bare", "whisper-transcription", "vision-encoder-decoder-captioning"),
)


def rules_of(case):
    config = Config(json.loads((case / "config.json").read_text()))
    known = family(config["model_type"])
    named = Named(Tensors.open(case), known)
    return named, known.rules(known.adapt(known.from_config(config), named))


@pytest.mark.parametrize("name", ONE_EACH)
def test_a_variable_that_is_filled_in_pieces_is_the_one_that_is_joined(name, monkeypatch):
    monkeypatch.setattr(tensors, "PIECE", 50)
    named, rules = rules_of(CASES / name)
    for rule in rules:
        whole = rule.join([None if part is None else named[part] for part in rule.names])
        filled = np.full(rule.shape, np.nan, whole.dtype)
        rule.fill(filled, named.pieces)
        np.testing.assert_array_equal(filled, whole, err_msg=rule.path)


def test_a_tensor_is_read_a_piece_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "PIECE", 12)
    whole = {"table": np.arange(35.0).reshape(7, 5), "one": np.array(3.0), "long": np.arange(30.0)}
    save_file(whole | {"none": np.zeros((0, 3)), "wide": np.ones((2, 40))}, tmp_path / "model.safetensors")
    stored = Tensors.open(tmp_path)
    assert [len(piece) for piece in stored.pieces("table")] == [2, 2, 2, 1]
    assert [len(piece) for piece in stored.pieces("long")] == [12, 12, 6]
    assert [piece.shape for piece in stored.pieces("wide")] == [(1, 40), (1, 40)]
    assert [piece.shape for piece in stored.pieces("none")] == [(0, 3)]
    for name in ("table", "long"):
        np.testing.assert_array_equal(np.concatenate(list(stored.pieces(name))), whole[name])
    np.testing.assert_array_equal(list(stored.pieces("one")), [whole["one"]])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_a_tensor_takes_the_memory_of_an_array_over(dtype):
    for shape in ((3, 5), (1,), (), (0, 4), (1000, 7)):
        array = empty(shape, dtype)
        assert (array.shape, array.dtype.name) == (shape, dtype)
        assert array.size == 0 or array.ctypes.data % ALIGNMENT == 0
        array[...] = np.arange(array.size).reshape(shape)
        tensor = taken_over(array)
        assert (tuple(tensor.shape), tensor.dtype.name) == (shape, dtype)
        np.testing.assert_array_equal(tensor.numpy(), array)
        array[...] = 7
        np.testing.assert_array_equal(tensor.numpy(), array)


def test_an_array_that_begins_where_no_tensor_may_is_copied():
    array = empty((9,), "float32")[1:]
    array[...] = 7
    tensor = taken_over(array)
    array[...] = 8
    np.testing.assert_array_equal(tensor.numpy() * 2, np.full(8, 14))


@pytest.mark.parametrize("name", ONE_EACH)
def test_variables_begin_with_what_is_stored_and_are_not_made_twice(name, monkeypatch):
    later, original = [], checkpoints.assign_weights

    def recording(model, stored, but):
        rules = family(model.spec.family).rules(model.spec)
        later.extend(rule.path for rule in rules if rule.path not in but)
        original(model, stored, but)

    monkeypatch.setattr(checkpoints, "assign_weights", recording)
    regard.load_model(CASES / name)
    assert later == []


def mixed(tmp_path, name, **dtypes):
    """A case whose tensors have the dtype given for the end of their names."""
    copy = shutil.copytree(CASES / name, tmp_path / "mixed")
    stored = load_file(copy / "model.safetensors")
    for key, tensor in stored.items():
        wanted = next((dtype for end, dtype in dtypes.items() if end in key), dtypes["rest"])
        stored[key] = tensor.astype(ml_dtypes.bfloat16 if wanted == "bfloat16" else wanted)
    save_file(stored, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


MIXTURES = (
    {"norm": "float32", "rest": "bfloat16"},
    {"norm": "float32", "embed_tokens": "float32", "k_proj": "float16", "down_proj": "float32", "rest": "bfloat16"},
    {"down_proj": "bfloat16", "embed_tokens": "float16", "rest": "float32"},
)


@pytest.mark.parametrize("dtypes", MIXTURES, ids=str)
def test_auto_keeps_the_dtype_of_each_tensor_on_the_way_in_and_out(dtypes, tmp_path):
    place = mixed(tmp_path, "llama-language-model", **dtypes)
    model = regard.load_model(place, dtype="auto")
    held = {v.path: v.dtype for v in model.variables}
    assert held["decoder/final_norm/scale"] == "float32"
    assert held["decoder/layer_0/feed_forward/down/kernel"] == dtypes.get("down_proj", "bfloat16")
    assert model.compute_dtype == dtypes["rest"]
    regard.save_model(model, tmp_path / "out")
    before, after = (load_file(directory / "model.safetensors") for directory in (place, tmp_path / "out"))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        if "k_proj" in dtypes and "self_attn" in name and name.split(".")[-2] in ("q_proj", "k_proj", "v_proj"):
            assert after[name].dtype == np.float32  # of one variable with others: the widest, which rounds nothing
            np.testing.assert_array_equal(after[name], tensor.astype(np.float32))
        else:
            assert after[name].dtype == tensor.dtype
            np.testing.assert_array_equal(after[name], tensor)


@pytest.mark.parametrize("dtypes", MIXTURES, ids=str)
def test_a_model_of_several_dtypes_computes_in_that_of_most(dtypes, tmp_path):
    place = mixed(tmp_path, "llama-language-model", **dtypes)
    model, exact = (regard.load_model(place, dtype=dtype) for dtype in ("auto", "float32"))
    batch = {"input_ids": np.array([[3, 4, 5, 6, 7]])}
    ours, theirs = (np.asarray(each(batch).logits) for each in (model, exact))
    if dtypes["rest"] == "float32":
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    else:
        plain = np.asarray(regard.load_model(place, dtype="bfloat16")(batch).logits)
        assert 0 < np.abs(ours - theirs).max() <= 2 * np.abs(plain - theirs).max() + 1e-6
    found = model.generate(batch, max_new_tokens=6)
    assert found.lengths.min() > 0
