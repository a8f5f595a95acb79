import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

import regard
from regard.errors import CheckpointError, ConfigError, InputError
from regard.interop import directory
from regard.interop.checkpoints import assign_weights, weights_of
from regard.models.catalog import spec
from regard.models.forms import build_model
from regard.specs.tables import sinusoids


def fresh(order="post", seed=0):
    keras.utils.set_random_seed(seed)
    sizes = {"width": 12, "heads": 3, "ffn_width": 20, "encoder_depth": 1, "decoder_depth": 2, "max_positions": 40}
    return build_model(spec("tiny", vocab_size=23, pad_id=22, eos_id=0, norm_order=order, **sizes))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    regard.save_model(fresh(), path, regard={"scores": {"bleu": 12.5}})
    return path


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def edit(path, **changes):
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


BATCH = {"input_ids": np.array([[3, 4, 5]]), "labels": np.array([[6, 7, 0]])}


@pytest.mark.parametrize("order", ["post", "pre"])
def test_save_load_save_is_byte_identical_and_the_logits_are_equal(order, tmp_path):
    model = fresh(order)
    regard.save_model(model, tmp_path / "one")
    again = regard.load_model(tmp_path / "one")
    regard.save_model(again, tmp_path / "two")
    for name in ("config.json", "model.safetensors", "generation_config.json", "regard.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    np.testing.assert_array_equal(model(BATCH).logits, again(BATCH).logits)
    assert again.spec == model.spec


def test_whoever_may_read_the_config_may_read_the_weights(saved):
    modes = {path.name: path.stat().st_mode & 0o777 for path in saved.iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


def test_a_disk_that_is_too_full_for_the_weights_is_an_error_of_the_system_like_any_other(tmp_path, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(directory, "save_file", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        regard.save_model(fresh(), tmp_path / "model")
    assert (caught.value.errno, Path(caught.value.filename).name) == (errno.ENOSPC, "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_post_norm_is_marian_and_pre_norm_is_pegasus(tmp_path):
    for order, kind in (("post", "marian"), ("pre", "pegasus")):
        regard.save_model(fresh(order), tmp_path / order)
        assert json.loads((tmp_path / order / "config.json").read_text())["model_type"] == kind


def test_names_and_orientation_are_those_of_hugging_face(saved):
    tensors = load_file(saved / "model.safetensors")
    assert tensors["model.shared.weight"].shape == (23, 12)
    assert tensors["model.decoder.layers.1.fc1.weight"].shape == (20, 12)
    assert tensors["final_logits_bias"].shape == (1, 23)
    assert not tensors["final_logits_bias"].any()
    assert not tensors["model.shared.weight"][22].any()
    model = regard.load_model(saved)
    kernel = next(v for v in model.variables if v.path == "encoder/layer_0/self_attention/query_key_value/kernel")
    keys = tensors["model.encoder.layers.0.self_attn.k_proj.weight"]
    np.testing.assert_array_equal(np.asarray(kernel.value)[:, 12:24], keys.T)


def test_a_bias_on_the_logits_is_kept_where_it_says_something(copy, tmp_path):
    tensors = load_file(copy / "model.safetensors")
    tensors["final_logits_bias"][0, 5] = 2.0
    save_file(tensors, copy / "model.safetensors")
    model = regard.load_model(copy)
    assert model.spec.logits_bias
    plain = np.asarray(model(BATCH).logits)
    model.head.bias.assign(np.zeros(23))
    assert np.isclose((plain - np.asarray(model(BATCH).logits))[..., 5], 2.0, atol=1e-5).all()
    model.head.bias.assign(tensors["final_logits_bias"][0])
    regard.save_model(model, tmp_path / "again")
    np.testing.assert_array_equal(
        load_file(tmp_path / "again" / "model.safetensors")["final_logits_bias"], tensors["final_logits_bias"]
    )


def test_tied_and_recomputed_tensors_of_other_writers_are_read_past(copy):
    tensors = load_file(copy / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.shared.weight"]
    rounded = sinusoids(40, 12, "halves").astype("float32") + np.float32(1e-6)
    tensors |= {f"model.{side}.embed_positions.weight": rounded for side in ("encoder", "decoder")}
    save_file(tensors, copy / "model.safetensors")
    assert regard.load_model(copy).count_params() > 0


def test_weights_go_out_and_in_by_name():
    one, two = fresh(seed=1), fresh(seed=2)
    assign_weights(two, weights_of(one))
    for ours, theirs in zip(one.trainable_variables, two.trainable_variables, strict=True):
        np.testing.assert_array_equal(ours.value, theirs.value)


def test_every_tensor_is_accounted_for(copy):
    tensors = load_file(copy / "model.safetensors")
    tensors["stray"] = np.zeros(3, "float32")
    del tensors["model.encoder.layers.0.fc1.bias"]
    tensors["model.encoder.layers.0.fc2.bias"] = np.zeros(13, "float32")
    save_file(tensors, copy / "model.safetensors")
    with pytest.raises(CheckpointError) as error:
        regard.load_model(copy)
    message = str(error.value)
    assert "1 tensors missing: model.encoder.layers.0.fc1.bias" in message
    assert "1 tensors unexpected: stray" in message
    assert "model.encoder.layers.0.fc2.bias (13,) for (12,)" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"vocab_size": 10**12}, "another shape"),
        ({"vocab_size": 23.0}, "whole number"),
        ({"max_position_embeddings": 10**9}, "at most 32768"),
        ({"encoder_layers": 10**9}, "at most 1024"),
        ({"encoder_layers": 1.0}, "whole number"),
        ({"encoder_ffn_dim": 20.0}, "whole number"),
        ({"scale_embedding": "false"}, "true or false"),
        ({"decoder_start_token_id": 10**9}, "decoder_start must be an id below"),
        ({"eos_token_id": -5}, "eos must be an id below"),
        ({"d_model": -3}, "whole number of at least 1|multiple"),
        ({"encoder_layers": 2}, "tensors missing"),
        ({"model_type": "unheard"}, "unknown model_type"),
        ({"model_type": None}, "no model_type"),
        ({"d_model": None}, "has no d_model"),
        ({"encoder_attention_heads": "three"}, "wrong type"),
        ({"activation_function": "sigmoidal"}, "unknown activation_function"),
    ],
)
def test_a_config_that_lies_is_refused_before_anything_is_built(copy, changes, complaint):
    edit(copy / "config.json", **changes)
    with pytest.raises((CheckpointError, ConfigError), match=complaint):
        regard.load_model(copy)


def test_damaged_and_missing_files_are_named(copy, tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        regard.load_model(tmp_path / "nowhere")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        regard.load_model(copy)
    weights.rename(copy / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is a pickle, .* convert it"):
        regard.load_model(copy)
    (copy / "config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="must hold a JSON object"):
        regard.load_model(copy)
    (copy / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no model directory: it has no config\.json$"):
        regard.load_model(copy)
    (copy / "model").mkdir()
    (copy / "model" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"it has no config\.json; this run's model is .*/model$"):
        regard.load_model(copy)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "\ud800", "[1]"])
def test_json_that_is_none_is_refused_in_one_line(copy, text):
    (copy / "config.json").write_text(text, "utf-8", "surrogatepass")
    with pytest.raises(CheckpointError, match=r"config\.json") as error:
        regard.load_model(copy)
    assert "\n" not in str(error.value)


def test_a_config_that_is_a_device_or_too_large_is_not_read(copy):
    (copy / "config.json").unlink()
    (copy / "config.json").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match="must be a file of at most"):
        regard.load_model(copy)
    (copy / "config.json").unlink()
    with open(copy / "config.json", "wb") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(CheckpointError, match="must be a file of at most"):
        regard.load_model(copy)


def test_an_output_table_of_its_own_is_kept(copy, tmp_path):
    tensors = load_file(copy / "model.safetensors")
    save_file(tensors | {"lm_head.weight": tensors["model.shared.weight"] + 1}, copy / "model.safetensors")
    model = regard.load_model(copy)
    assert not model.spec.output.tied
    regard.save_model(model, tmp_path / "again")
    again = load_file(tmp_path / "again" / "model.safetensors")
    np.testing.assert_array_equal(again["lm_head.weight"], tensors["model.shared.weight"] + 1)


def test_tensors_that_are_no_floats_are_refused(copy):
    tensors = load_file(copy / "model.safetensors")
    name = "model.encoder.layers.0.fc1.bias"
    save_file(tensors | {name: tensors[name].astype("int32")}, copy / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"another type than F16, BF16, F32, F64: {name}"):
        regard.load_model(copy)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_another_dtype_is_loaded_saved_and_named(saved, tmp_path, dtype):
    model = regard.load_model(saved, dtype=dtype)
    regard.save_model(model, tmp_path / "one")
    assert json.loads((tmp_path / "one" / "config.json").read_text())["dtype"] == dtype
    assert {str(tensor.dtype) for tensor in load_file(tmp_path / "one" / "model.safetensors").values()} == {dtype}
    again = regard.load_model(tmp_path / "one", dtype=dtype)
    for ours, theirs in zip(model.trainable_variables, again.trainable_variables, strict=True):
        np.testing.assert_array_equal(keras.ops.cast(ours, "float64"), keras.ops.cast(theirs, "float64"))


def test_older_checkpoints_keep_their_way_of_decoding_in_config_json(copy):
    (copy / "generation_config.json").unlink()
    edit(copy / "config.json", num_beams=3, max_length=30, bad_words_ids=[[22]])
    options = regard.load_model(copy).generation_options
    assert (options.num_beams, options.max_length, options.bad_words_ids) == (3, 30, ((22,),))
    assert (options.eos_token_id, options.pad_token_id) == (0, 22)


def test_an_older_config_does_not_become_a_way_of_decoding_on_the_way_out(copy, tmp_path):
    (copy / "generation_config.json").unlink()
    edit(copy / "config.json", num_beams=3)
    regard.save_model(regard.load_model(copy), tmp_path / "out")
    said = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert said["num_beams"] == 3
    assert not said.keys() & {"model_type", "vocab_size", "architectures"}


def test_ways_of_decoding_that_are_unknown_here_are_named(copy, caplog):
    edit(copy / "generation_config.json", guidance_scale=1.5, penalty_alpha=0)
    regard.load_model(copy)
    assert "guidance_scale" in caplog.text
    assert "penalty_alpha" not in caplog.text
    edit(copy / "generation_config.json", forced_eos_token_id=99)
    with pytest.raises(CheckpointError, match="defaults of generation: forced_eos_token_id"):
        regard.load_model(copy)


def test_a_loaded_model_takes_its_tokenizer_and_its_record_along(copy, tmp_path):
    (copy / "tokenizer.json").write_text("{}")
    model = regard.load_model(copy)
    for target in (tmp_path / "other", copy):
        regard.save_model(model, target)
        assert (target / "tokenizer.json").read_text() == "{}"
        assert json.loads((target / "regard.json").read_text())["scores"] == {"bleu": 12.5}


def test_what_is_no_model_is_never_replaced(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (work / "thesis.txt").write_text("years")
    with pytest.raises(CheckpointError, match="saving would empty it"):
        regard.save_model(fresh(), work)
    with pytest.raises(CheckpointError, match="is a file"):
        regard.save_model(fresh(), work / "thesis.txt")
    assert (work / "thesis.txt").read_text() == "years"


def test_a_link_to_a_model_stays_a_link(copy, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(copy)
    regard.save_model(fresh(seed=5), link)
    assert link.is_symlink()
    assert (copy / "model.safetensors").read_bytes() == (link / "model.safetensors").read_bytes()


def test_what_the_layout_cannot_say_is_refused_by_name(tmp_path):
    spec = fresh().spec
    layer = replace(spec.decoder.layer, activation="silu")
    for other, named in (
        (replace(spec, decoder=replace(spec.decoder, layer=layer)), "decoder"),
        (replace(spec, encoder=replace(spec.encoder, layer=replace(spec.encoder.layer, norm_epsilon=1e-6))), "encoder"),
    ):
        with pytest.raises(ConfigError, match=f"cannot say this model's {named}"):
            regard.save_model(build_model(other), tmp_path / "model")
    with pytest.raises(ConfigError, match="is an encoder: it cannot be saved"):
        regard.save_model(build_model(replace(spec, decoder=None, head=None)), tmp_path / "model")


def test_saving_over_a_model_replaces_it_whole_and_leaves_nothing_beside_it(copy, monkeypatch):
    (copy / "stale.txt").write_text("old")
    regard.save_model(fresh(seed=3), copy)
    assert not (copy / "stale.txt").exists()
    before = (copy / "model.safetensors").read_bytes()

    class Breaks:
        def save(self, directory):
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        regard.save_model(fresh(seed=4), copy, tokenizer=Breaks())
    assert (copy / "model.safetensors").read_bytes() == before
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_generation_defaults_travel_with_the_checkpoint(tmp_path):
    model = fresh()
    model.generation_options = model.generation_options.merged(
        num_beams=3, length_penalty=0.6, length_penalty_form="gnmt", max_new_tokens=9
    )
    regard.save_model(model, tmp_path / "model")
    assert regard.load_model(tmp_path / "model").generation_options == model.generation_options


def test_interleaved_positions_are_refused_by_name(tmp_path):
    model = fresh()
    embedding = model.spec.embedding
    positions = replace(embedding.positions, layout="interleaved")
    interleaved = build_model(replace(model.spec, embedding=replace(embedding, positions=positions)))
    with pytest.raises(ConfigError, match="are interleaved: it cannot be saved"):
        regard.save_model(interleaved, tmp_path / "model")


def test_a_loaded_model_fits_with_keras_and_refuses_kerass_own_format(saved):
    model = regard.load_model(saved)
    model.compile(optimizer="adam", jit_compile=False)
    data = tf.data.Dataset.from_tensors({key: tf.constant(value) for key, value in BATCH.items()}).repeat(8)
    losses = [model.fit(data, verbose=0).history["loss"][0] for _ in range(2)]
    assert losses[1] < losses[0]
    with pytest.raises(InputError, match="save_model"):
        model.save("somewhere.keras")
