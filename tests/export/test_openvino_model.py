"""Models for a runtime without TensorFlow: what goes out comes in, and decodes as the model that it was."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from regard.cli import main
from regard.decoding.options import GenerationOptions
from regard.errors import CheckpointError, ConfigError, InputError
from regard.export.openvino_engine import OpenVINOEngine
from regard.export.openvino_model import export_openvino, load_openvino
from regard.export.openvino_nodes import rounded_to_bfloat16
from regard.tasks.loading import load

sys.path.append(str(Path(__file__).parents[1] / "tasks"))

import tiny_writers

CASES = Path(__file__).parents[1] / "parity" / "cases"
IDS = np.array([[9, 4, 7, 5], [8, 6, 0, 0], [5, 5, 5, 0]])
REAL = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
BATCH = {"input_ids": IDS, "attention_mask": REAL}


@pytest.fixture(scope="module")
def marian():
    return load_openvino(CASES / "marian-seq2seq")


@pytest.fixture(scope="module")
def llama():
    return load_openvino(CASES / "llama-language-model")


@pytest.fixture(scope="module")
def exported_marian(tmp_path_factory):
    place = tmp_path_factory.mktemp("exported") / "marian"
    export_openvino(CASES / "marian-seq2seq", place)
    return place


def test_an_exported_directory_decodes_as_the_checkpoint(tmp_path, marian):
    export_openvino(CASES / "marian-seq2seq", tmp_path / "out")
    again = load_openvino(tmp_path / "out")
    assert again.generation_options == marian.generation_options
    for options in ({}, {"num_beams": 3, "num_return_sequences": 2}):
        one, other = (
            engine.generate(BATCH, max_new_tokens=6, return_scores=True, **options) for engine in (marian, again)
        )
        np.testing.assert_array_equal(one.sequences, other.sequences)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_smaller_weights_are_nearly_the_same_numbers(tmp_path, weights, marian):
    export_openvino(CASES / "marian-seq2seq", tmp_path / "out", weights=weights)
    small = load_openvino(tmp_path / "out", precision="float32")
    found = (engine.generate(BATCH, max_new_tokens=4, return_scores=True) for engine in (marian, small))
    one, other = (generation.token_scores[:, 0, 0] for generation in found)
    assert 0 < np.abs(one - other).max() < 0.05


def test_int8_is_a_quarter_of_the_size(tmp_path):
    sizes = {}
    for weights in ("float32", "int8"):
        export_openvino(CASES / "llama-language-model", tmp_path / weights, weights=weights)
        sizes[weights] = (tmp_path / weights / "openvino_decoder.bin").stat().st_size
    assert sizes["int8"] < 0.45 * sizes["float32"]  # scales and norms stay as they are


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"do_sample": True, "seed": 5}], ids=str)
def test_a_row_is_decoded_as_if_it_were_alone(llama, options):
    """Rows that are done leave the batch, and the others must not notice."""
    stops = {"eos_token_id": tuple(range(3, 40)), "max_new_tokens": 12, "return_scores": True, **options}
    seeds = {"seed": (7, 8, 9)} if "seed" in options else {}
    together = llama.generate(BATCH, **{**stops, **seeds})
    for row in range(3):
        alone = {key: value[row : row + 1] for key, value in BATCH.items()}
        found = llama.generate(alone, **{**stops, **({"seed": (7 + row,)} if seeds else {})})
        np.testing.assert_array_equal(found.sequences[0], together.sequences[row])
        np.testing.assert_allclose(found.scores[0], together.scores[row], atol=1e-5)
    assert len(set(together.lengths[:, 0].tolist())) > 1, "some end before others"


@pytest.mark.parametrize("name", ["marian-seq2seq", "bart-seq2seq", "t5-seq2seq", "m2m100-seq2seq"])
def test_texts_of_like_lengths_are_read_together_and_nothing_else_changes(monkeypatch, name):
    random, lengths = np.random.default_rng(0), [9, 2, 7, 3, 1, 8, 2, 5]
    real = np.array([[1] * length + [0] * (9 - length) for length in lengths])
    real[3:5] = real[3:5, ::-1]  # padded on the left
    ids = random.integers(5, 30, real.shape) * real + (1 - real)  # 1 is the padding of some, and to be ignored by all
    model, batch = load_openvino(CASES / name), {"input_ids": ids, "attention_mask": real}
    options = {"max_new_tokens": 5, "num_beams": 2, "min_new_tokens": 5}
    at_once = model.generate(batch, **options)
    monkeypatch.setattr("regard.export.openvino_engine.READ_TOGETHER", 2)
    shapes, run = [], model._encoder.run
    monkeypatch.setattr(model._encoder, "run", lambda feed: (shapes.append(feed["input_ids"].shape), run(feed)))
    apart = model.generate(batch, **options)
    assert shapes == [(2, 2), (2, 3), (2, 7), (2, 9)]
    np.testing.assert_array_equal(apart.sequences, at_once.sequences)
    np.testing.assert_allclose(apart.scores, at_once.scores, atol=1e-5)
    for row in range(len(ids)):
        alone = model.generate({key: value[row : row + 1] for key, value in batch.items()}, **options)
        np.testing.assert_allclose(apart.scores[row], alone.scores[0], atol=1e-5)


def test_a_process_of_several_keeps_to_its_share_of_the_processor(monkeypatch):
    found = {}
    for told in ("1", "2", "", "all"):
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        model = load_openvino(CASES / "marian-seq2seq")
        for request in (model._encoder, model._decoder):
            compiled = request._request.get_compiled_model()
            found.setdefault(told, []).append(compiled.get_property("INFERENCE_NUM_THREADS"))
    assert found["1"] == [1, 1]
    assert found["2"] == [min(2, len(os.sched_getaffinity(0)))] * 2  # no more than there are
    assert found[""] == found["all"]  # OpenVINO's own choice


def test_a_stream_ends_with_what_generate_finds(llama):
    *_, last = llama.generate_stream(BATCH, max_new_tokens=6, every=2)
    np.testing.assert_array_equal(last.sequences, llama.generate(BATCH, max_new_tokens=6).sequences)
    with pytest.raises(ConfigError, match="num_beams"):
        next(llama.generate_stream(BATCH, num_beams=2))


def test_rounding_to_bfloat16_is_to_nearest_ties_to_even():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    values[:3] = 1 + 2.0**-8, 1 + 3 * 2.0**-8, 0
    expected = values.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(rounded_to_bfloat16(values), expected)


def test_what_cannot_be_exported_is_refused(tmp_path, llama):
    with pytest.raises(CheckpointError, match="only models that generate tokens are exported"):
        export_openvino(CASES / "bert-masked-lm", tmp_path / "out")
    with pytest.raises(ConfigError, match="weights must be one of"):
        export_openvino(CASES / "llama-language-model", tmp_path / "out", weights="int2")
    with pytest.raises(InputError, match="position_ids"):
        llama.generate({**BATCH, "position_ids": IDS})
    with pytest.raises(InputError, match="hold 10000"):
        llama.generate({"input_ids": [[10000]]})
    export_openvino(CASES / "llama-language-model", tmp_path / "out")
    (tmp_path / "out" / "openvino_decoder.xml").unlink()
    with pytest.raises(CheckpointError, match=r"has no openvino_decoder.xml"):
        load_openvino(tmp_path / "out")


def test_the_engine_needs_neither_keras_nor_tensorflow(fresh_python, tmp_path):
    export_openvino(CASES / "marian-seq2seq", tmp_path / "out")
    code = f"""
import sys
sys.modules["keras"] = sys.modules["tensorflow"] = None
from regard.export.openvino_model import load_openvino
for place in ({str(tmp_path / "out")!r}, {str(CASES / "marian-seq2seq")!r}):
    print(load_openvino(place).generate({{"input_ids": [[9, 4, 7, 5]]}}, max_new_tokens=3).lengths.tolist())
"""
    finished = fresh_python(code)
    assert finished.returncode == 0, finished.stderr
    first, second = finished.stdout.splitlines()
    assert first == second


def test_the_verb_exports_and_refuses_to_overwrite(tmp_path, capsys):
    target = tmp_path / "out"
    assert main(["export", str(CASES / "marian-seq2seq"), str(target), "--weights", "int8"]) == 0
    assert "OpenVINO, weights in int8" in capsys.readouterr().err
    assert json.loads((target / "engine.json").read_text())["weights"] == "int8"
    assert main(["export", str(CASES / "marian-seq2seq"), str(target)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(["export", str(CASES / "marian-seq2seq"), str(target), "--overwrite"]) == 0
    assert json.loads((target / "engine.json").read_text())["weights"] == "float32"


def test_a_damaged_checkpoint_is_refused_before_anything_is_written(tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(CASES / "llama-language-model", broken)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "num_hidden_layers": config["num_hidden_layers"] + 1}))
    with pytest.raises(CheckpointError, match="missing"):
        export_openvino(broken, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_options_are_those_of_the_checkpoint(llama):
    assert isinstance(llama.generation_options, GenerationOptions)
    assert llama.generation_options.max_new_tokens == 20


def test_a_task_runs_on_the_engine_and_says_what_it_cannot(tmp_path):
    with pytest.raises(ConfigError, match="transcribe runs on TensorFlow alone"):
        load(CASES / "whisper-transcription", engine="openvino")
    with pytest.raises(ConfigError, match="engine must be one of tensorflow, openvino, but is 'jax'"):
        load(CASES / "marian-seq2seq", engine="jax")
    with pytest.raises(ConfigError, match="int8 is for engine='openvino'"):
        load(CASES / "marian-seq2seq", dtype="int8", engine="tensorflow")


@pytest.mark.parametrize("settings", [{}, {"num_beams": 2}], ids=str)
def test_a_translator_says_the_same_on_both_engines(tmp_path, settings):
    made = tiny_writers.write("nllb", tmp_path / "nllb")
    export_openvino(made, tmp_path / "exported")
    asked = {"source_lang": "eng_Latn", "target_lang": "deu_Latn", "max_new_tokens": 6, **settings}
    texts = ["a b c", "b"]
    found = [
        [result.text for result in load(place, task="translate", engine=engine)(texts, **asked)]
        for place, engine in ((made, "tensorflow"), (made, "openvino"), (tmp_path / "exported", None))
    ]
    assert found[0] == found[1] == found[2]
    with pytest.raises(ConfigError, match="was exported for OpenVINO"):
        load(tmp_path / "exported", engine="tensorflow")


def test_8_bits_run_on_openvino_where_no_engine_is_named(tmp_path):
    made = tiny_writers.write("nllb", tmp_path / "nllb")
    assert isinstance(load(made, task="translate", dtype="int8").engine, OpenVINOEngine)


def test_weights_that_an_exported_model_does_not_have_are_refused(tmp_path):
    made = tiny_writers.write("nllb", tmp_path / "nllb")
    export_openvino(made, tmp_path / "exported", weights="int8")
    assert load(tmp_path / "exported", task="translate", dtype="int8").engine
    with pytest.raises(ConfigError, match="was exported with weights in int8, which dtype bfloat16 does not change"):
        load(tmp_path / "exported", task="translate", dtype="bfloat16")
    assert load(made, task="translate", engine="openvino", dtype="bfloat16", assistant=tmp_path / "exported").engine


def test_an_export_of_before_is_refused(tmp_path):
    export_openvino(CASES / "llama-language-model", tmp_path / "out")
    graph = tmp_path / "out" / "openvino_decoder.xml"
    graph.write_text(graph.read_text().replace('"last"', '"late"'))
    with pytest.raises(CheckpointError, match="exported by an older Regard: export the model again"):
        load_openvino(tmp_path / "out")


def test_the_verbs_take_the_engine(tmp_path, capsys):
    made = str(tiny_writers.write("nllb", tmp_path / "nllb"))
    arguments = ["a b c", "--source-lang", "eng_Latn", "--target-lang", "deu_Latn", "--max-new-tokens", "5"]
    assert main(["translate", made, *arguments]) == 0
    expected = capsys.readouterr().out
    assert main(["translate", made, *arguments, "--engine", "openvino"]) == 0
    assert capsys.readouterr().out == expected
    assert main(["translate", made, *arguments, "--dtype", "int8"]) == 0
    assert capsys.readouterr().out
    assert main(["translate", made, *arguments, "--dtype", "int8", "--engine", "tensorflow"]) == 2
    assert "--engine openvino" in capsys.readouterr().err


def test_a_model_is_not_exported_over_itself(tmp_path, capsys):
    made = tmp_path / "made"
    shutil.copytree(CASES / "llama-language-model", made)
    before = sorted(made.iterdir())
    (tmp_path / "link").symlink_to(made)
    assert main(["export", str(made), str(tmp_path / "link"), "--overwrite"]) == 2
    assert "holds the model that is to be exported, and would lose it" in capsys.readouterr().err
    assert sorted(made.iterdir()) == before
    assert main(["export", str(made), str(made / "config.json")]) == 2
    assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "kept", "complaint"),
    [
        ("openvino_decoder.xml", 3000, r"openvino_decoder.xml, or its weights beside it, is damaged \(.*\): export"),
        ("openvino_decoder.xml", 0, r"openvino_decoder.xml, or its weights beside it, is damaged \(.*\): export"),
        ("openvino_encoder.bin", 300, r"openvino_encoder.xml, or its weights beside it, is damaged \(.*\): export"),
        ("openvino_decoder.bin", None, r"openvino_decoder.xml, or its weights beside it, is damaged \(.*\): export"),
        ("openvino_encoder.xml", None, r"has no openvino_encoder.xml: export the model again"),
    ],
)
def test_a_damaged_export_is_refused(tmp_path, exported_marian, file, kept, complaint):
    shutil.copytree(exported_marian, tmp_path / "out")
    damaged = tmp_path / "out" / file
    if kept is None:
        damaged.unlink()
    else:
        damaged.write_bytes(damaged.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=complaint) as raised:
        load_openvino(tmp_path / "out")
    assert "\n" not in str(raised.value)
