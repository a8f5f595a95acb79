"""tf_model.h5: files that Transformers 4.49 wrote for TensorFlow (make_h5.py), and files that lie."""

import shutil
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

import regard
from regard.errors import CheckpointError
from regard.interop import h5, opening
from regard.interop.accounting import Named
from regard.interop.h5 import H5Tensors, converted
from regard.interop.tensors import Tensors
from regard.models.catalog import family

HERE = Path(__file__).parent
CASES = HERE.parent / "parity" / "cases"
FILES = sorted((HERE / "h5").glob("*.h5"))
QUERY = "bert/tf_bert_model/bert/encoder/layer_._0/attention/self/query"


@pytest.fixture
def directory(tmp_path):
    def of(file):
        """A checkpoint of TensorFlow's alone."""
        for name in ("config.json", "generation_config.json"):
            if (CASES / file.stem / name).exists():
                shutil.copy(CASES / file.stem / name, tmp_path / name)
        shutil.copy(file, tmp_path / "tf_model.h5")
        return tmp_path

    return of


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_model_is_the_one_that_the_safetensors_file_gives(file, directory):
    found, expected = regard.load_model(directory(file)), regard.load_model(CASES / file.stem)
    assert found.spec == expected.spec
    paths = [rule.path for rule in family(found.spec.family).rules(found.spec)]
    ours, theirs = ({v.path: np.asarray(v.value) for v in model.variables} for model in (found, expected))
    for path in paths:
        np.testing.assert_array_equal(ours[path], theirs[path], err_msg=path)


def test_the_files_are_of_every_kind_of_layer():
    assert len(FILES) == 8
    opened = [H5Tensors.open(file) for file in FILES]
    assert {tensors.dtype(name) for tensors in opened for name in tensors} == {"float32"}


def test_what_is_loaded_from_it_is_saved_as_safetensors(directory, tmp_path):
    file = HERE / "h5" / "bert-masked-lm.h5"
    regard.save_model(regard.load_model(directory(file)), tmp_path / "out")
    written, known = Tensors.open(tmp_path / "out"), Named(Tensors.open(CASES / file.stem), family("bert"))
    assert not (tmp_path / "out" / "tf_model.h5").exists()
    for name in written:
        np.testing.assert_array_equal(written[name], known[name])


@pytest.mark.parametrize(
    ("path", "stored", "name", "shape"),
    [
        ("bert/tf_bert_model_1/bert/pooler/dense/kernel:0", (3, 5), "bert.pooler.dense.weight", (5, 3)),
        (
            "bert/tf_bert_for_pre_training/tf_bert_for_pre_training/bert/embeddings/LayerNorm/gamma:0",
            (3,),
            "bert.embeddings.LayerNorm.weight",
            (3,),
        ),
        (
            "nsp___cls/tf_bert/nsp___cls/seq_relationship/bias:0",
            (2,),
            "cls.seq_relationship.bias",
            (2,),
        ),
        ("transformer/tfgpt2/transformer/h_._0/c_attn/weight:0", (3, 9), "transformer.h.0.c_attn.weight", (3, 9)),
        ("transformer/tfgpt2/transformer/h_._0/c_attn/bias:0", (1, 9), "transformer.h.0.c_attn.bias", (9,)),
        ("shared/shared/shared/weight:0", (7, 3), "shared.weight", (7, 3)),
        ("model/model.shared/model.shared/weight:0", (7, 3), "model.shared.weight", (7, 3)),
        ("final_logits_bias/final_logits_bias:0", (1, 7), "final_logits_bias", (1, 7)),
        ("model/tf_whisper/model/encoder/conv1/kernel:0", (3, 7, 5), "model.encoder.conv1.weight", (5, 7, 3)),
        ("vit/tf_vit_model/vit/embeddings/cls_token:0", (1, 1, 3), "vit.embeddings.cls_token", (1, 1, 3)),
        ("clip/tfclip_model/clip/logit_scale:0", (1,), "logit_scale", ()),
        (
            "encoder/tf_encoder_decoder_model/encoder/bert/pooler/dense/kernel:0",
            (3, 5),
            "encoder.pooler.dense.weight",
            (5, 3),
        ),
        (
            "decoder/tf_encoder_decoder_model/decoder/roberta/pooler/dense/kernel:0",
            (3, 5),
            "decoder.roberta.pooler.dense.weight",
            (5, 3),
        ),
    ],
)  # fmt: skip
def test_names_and_layouts_become_those_of_pytorch(path, stored, name, shape):
    found, axes, given = converted(path, stored)
    assert (found, given) == (name, shape)
    assert sorted(axes) == list(range(len(stored)))


def write(path, arrays):
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file.create_dataset(name, data=value)
    return path


def test_safetensors_come_first(directory):
    place = directory(HERE / "h5" / "bert-masked-lm.h5")
    (place / "tf_model.h5").write_bytes(b"nothing")
    shutil.copy(CASES / "bert-masked-lm" / "model.safetensors", place)
    assert isinstance(opening.open_checkpoint(place).tensors, Tensors)


def test_a_tensor_too_many_is_named(directory):
    place = directory(HERE / "h5" / "gpt2-language-model-n-inner.h5")
    with h5py.File(place / "tf_model.h5", "a") as file:
        (model,) = file["transformer"]
        file["transformer/tfgpt2/transformer/stray/kernel:0"] = np.zeros((2, 3), "f4")
        file["transformer/tfgpt2/transformer/whole:0"] = np.arange(3)
        del file[f"transformer/{model}/transformer/ln_f/gamma:0"]
    with pytest.raises(CheckpointError) as error:
        regard.load_model(place)
    assert "1 tensors missing: transformer.ln_f.weight" in str(error.value)
    assert "2 tensors unexpected: transformer.stray.weight, transformer.whole" in str(error.value)


def test_a_table_that_is_stored_with_each_of_its_layers_must_be_the_same(tmp_path):
    table = np.arange(12, dtype="f4").reshape(4, 3)
    table[0, 0] = np.nan
    names = [f"{layer}/shared/shared/weight:0" for layer in ("encoder", "decoder")]
    tensors = H5Tensors.open(write(tmp_path / "same.h5", dict.fromkeys(names, table)))
    assert list(tensors) == ["shared.weight"]
    np.testing.assert_array_equal(tensors["shared.weight"], table)
    for other in (table + 1, table.astype("f8"), table.T):
        tensors = H5Tensors.open(write(tmp_path / "other.h5", dict(zip(names, (table, other), strict=True))))
        with pytest.raises(CheckpointError, match=r"two tensors shared\.weight that differ: (en|de)coder/shared"):
            tensors["shared.weight"]


def linked(file):
    file["bert"] = h5py.ExternalLink("/etc/passwd", "/x")


def soft(file):
    file["bert"] = h5py.SoftLink("/etc")


def chunked(file):
    file.create_dataset(QUERY, data=np.zeros((64, 64), "f4"), chunks=(8, 8), compression="gzip")


def absurd(file):
    file.create_dataset(QUERY, shape=(2**40, 2**20), dtype="f4")


def virtual(file):
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (3,))
    file.create_virtual_dataset(QUERY, layout)


def outside(file):
    file.create_dataset(QUERY, shape=(3,), dtype="f4", external=[("/etc/passwd", 0, 12)])


def deep(file):
    file["/".join("a" * 40)] = np.zeros(3, "f4")


def typed(file):
    file["type"] = np.dtype("f4")


def twice(file):
    file[f"{QUERY}/kernel:0"] = np.zeros((3, 3), "f4")
    file[f"{QUERY}/other:0"] = file[f"{QUERY}/kernel:0"]


@pytest.mark.parametrize(
    ("fill", "complaint"),
    [
        (linked, "bert is a link to elsewhere"),
        (soft, "bert is a link to elsewhere"),
        (chunked, "in one piece"),
        (absurd, "in one piece"),
        (virtual, "in one piece"),
        (outside, "in one piece"),
        (deep, "at most 32 groups deep"),
        (typed, "type must be a group or an array, but is a Datatype"),
        (twice, "lie on each other"),
        (lambda file: None, "holds no weights"),
    ],
)
def test_what_no_file_of_weights_needs_is_refused_and_takes_no_memory(fill, complaint, tmp_path):
    with h5py.File(tmp_path / "lie.h5", "w") as file:
        fill(file)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=complaint) as error:
            H5Tensors.open(tmp_path / "lie.h5")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value)


def test_a_file_of_more_entries_than_any_model_has_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(h5, "MOST_TENSORS", 20)
    with pytest.raises(CheckpointError, match="at most 20 entries"):
        H5Tensors.open(write(tmp_path / "many.h5", {f"a{i}": np.zeros(1, "f4") for i in range(21)}))


@pytest.mark.parametrize("dtype", ["int32", ">f4", "S5"])
def test_what_is_no_float_is_not_read(dtype, tmp_path):
    tensors = H5Tensors.open(write(tmp_path / "ints.h5", {"layer/model/whole:0": np.zeros(3, dtype)}))
    assert tensors.dtype("whole") is None
    with pytest.raises(CheckpointError, match="layer/model/whole:0 must be one of float16, float32, float64"):
        tensors["whole"]


def test_a_file_that_is_cut_or_none_is_refused_by_name(directory):
    place = directory(HERE / "h5" / "bert-masked-lm.h5")
    content = (place / "tf_model.h5").read_bytes()
    for size in (0, 7, 100, len(content) // 2, len(content) - 1):
        (place / "tf_model.h5").write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=r"tf_model\.h5 is (damaged or no HDF5 file|cut short)") as error:
            regard.load_model(place)
        assert "\n" not in str(error.value)


def test_without_weights_the_complaint_names_both_files_and_the_way_out(directory):
    place = directory(HERE / "h5" / "bert-masked-lm.h5")
    (place / "tf_model.h5").rename(place / "tf_model.h5.index.json")
    with pytest.raises(CheckpointError, match=r"no model\.safetensors and no tf_model\.h5; one in several files"):
        regard.load_model(place)
    (place / "tf_model.h5.index.json").rename(place / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is a pickle.*torch\.load\(sys.*weights_only=True"):
        regard.load_model(place)


def test_from_the_hub_it_is_fetched_where_there_is_nothing_else(directory, monkeypatch):
    place, asked = directory(HERE / "h5" / "bert-masked-lm.h5"), []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda name, allow_patterns: asked.append(allow_patterns) or str(place)
    )
    assert opening.local_copy("some/model") == place
    assert asked == [list(opening.FETCHED), ["tf_model.h5"]]
    (place / "model.safetensors").touch()
    opening.local_copy("some/model")
    assert len(asked) == 3
