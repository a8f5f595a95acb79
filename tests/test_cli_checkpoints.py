"""`regard convert` and `regard verify`, through the command line."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import regard
from regard.cli import main
from regard.commands.probe import probe
from regard.commands.verify import first_difference
from regard.interop.tensors import Tensors
from regard.models.catalog import family
from regard.models.family import Config
from regard.models.inputs import check_features, check_ids, check_lengths

HERE = Path(__file__).parent
CASES = HERE / "parity" / "cases"


@pytest.fixture
def run(capsys):
    def command(*arguments):
        return main([str(argument) for argument in arguments]), *capsys.readouterr()

    return command


@pytest.fixture
def bert(tmp_path):
    """As an estate of TensorFlow has it."""
    place = tmp_path / "old"
    place.mkdir()
    shutil.copy(CASES / "bert-masked-lm" / "config.json", place)
    shutil.copy(HERE / "interop" / "h5" / "bert-masked-lm.h5", place / "tf_model.h5")
    for name in ("vocab.txt", "README.md", "onnx/model.onnx"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(name)
    return place


def test_convert_writes_what_was_read_and_says_what_it_left(run, bert, tmp_path):
    code, out, err = run("convert", bert, tmp_path / "new")
    first, files = out.splitlines()
    assert code == 0
    assert first.startswith(f"{tmp_path / 'new'}: 42 tensors (42 in float32), ")
    assert files == "files: config.json, model.safetensors, regard.json, vocab.txt"
    assert err == "regard: files not carried over: README.md, onnx/model.onnx\n"
    written, source = Tensors.open(tmp_path / "new"), Tensors.open(CASES / "bert-masked-lm")
    for name in written:
        np.testing.assert_array_equal(written[name], source[name])


def test_convert_takes_another_dtype_and_counts_for_machines(run, tmp_path):
    source = CASES / "legacy-t5-copies"
    code, out, _ = run("convert", source, tmp_path / "new", "--dtype", "bfloat16", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["dtypes"] == {"bfloat16": found["tensors"]}
    assert found["parameters"] == sum(np.prod(rule.shape) for rule in rules_of(regard.load_model(source)))
    assert {"lm_head.weight", "encoder.embed_tokens.weight"} < set(found["tensors_left"])
    assert found["files_left"] == ["case.json", "case.npz"]
    assert found["bytes"] == sum(path.stat().st_size for path in (tmp_path / "new").iterdir())


def rules_of(model):
    return family(model.spec.family).rules(model.spec)


def test_convert_takes_a_directory_of_sentence_transformers_whole(run, tmp_path):
    source = shutil.copytree(CASES / "sentence-bert-cls-dense", tmp_path / "st")
    assert run("convert", source, tmp_path / "new")[0] == 0
    same = ("modules.json", "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors")
    for name in same:
        assert (tmp_path / "new" / name).read_bytes() == (source / name).read_bytes()


def test_convert_keeps_the_encoder_where_the_modules_say(run, tmp_path):
    old = tmp_path / "st" / "0_Transformer"
    shutil.copytree(CASES / "sentence-bert-cls-dense", tmp_path / "st")
    old.mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "st" / name).rename(old / name)
    (old / "vocab.txt").write_text("words")
    modules = json.loads((tmp_path / "st" / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (tmp_path / "st" / "modules.json").write_text(json.dumps(modules))
    for options in ((), ("--overwrite",)):
        code, out, _ = run("convert", tmp_path / "st", tmp_path / "new", "--dtype", "float16", "--json", *options)
        found = json.loads(out)
        assert code == 0
        assert {"modules.json", "0_Transformer/vocab.txt", "1_Pooling/config.json"} < set(found["files"])
        assert found["files_left"] == ["case.json", "case.npz"]
    assert Tensors.open(tmp_path / "new" / "0_Transformer").dtype("pooler.dense.weight") == "float16"


def test_convert_replaces_nothing_unasked_and_nothing_but_a_model(run, bert, tmp_path):
    target = tmp_path / "new"
    assert run("convert", bert, target)[0] == 0
    (target / "note").write_text("mine")
    code, _, err = run("convert", bert, target)
    assert (code, err) == (2, f"regard: {target} is not empty: --overwrite replaces the model that is there\n")
    assert run("convert", bert, target, "--overwrite")[0] == 0
    assert not (target / "note").exists()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("years")
    assert "saving would empty it" in run("convert", bert, tmp_path / "work", "--overwrite")[2]
    assert "is a file" in run("convert", bert, tmp_path / "work" / "thesis.txt")[2]
    assert (tmp_path / "work" / "thesis.txt").read_text() == "years"
    assert run("convert", tmp_path / "nowhere", tmp_path / "other")[0] == 2
    assert not (tmp_path / "other").exists()


FAKE = """
import json, shutil, sys
from pathlib import Path
script = sys.stdin.read()
here = Path({place!r})
(here / "asked.json").write_text(json.dumps([sys.argv[1:], "import transformers" in script, str(Path.cwd())]))
shutil.copy("batch.npz", here)
if (here / "result.npz").exists():
    shutil.copy(here / "result.npz", ".")
{then}
"""


@pytest.fixture
def fake_python(tmp_path):
    """An interpreter with a Transformers that gives what the test has laid down."""

    def with_end(then=""):
        place = tmp_path / "python"
        place.mkdir(exist_ok=True)
        (place / "program.py").write_text(FAKE.format(place=str(place), then=then))
        python = place / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} {place}/program.py "$@"\n')
        python.chmod(0o755)
        return python

    return with_end


def lay_down(python, case, **changes):
    """What our own model gives for the probe, but for `changes`."""
    model = regard.load_model(case)
    asked = probe(model.spec)
    output = model(asked.forward)
    found = {"forward/logits": np.array(output.logits)}
    if asked.generate is not None:
        generation = model.generate(asked.generate, num_beams=1, do_sample=False, max_new_tokens=asked.new_tokens)
        found["generate"] = np.pad(generation.sequences[:, 0], ((0, 0), (0, 2)))
    for name, change in changes.items():
        change(found[name])
    about = json.dumps({"architecture": "GPT2LMHeadModel", "transformers": "5.0", "torch": "2.0"})
    np.savez(python.parent / "result.npz", about=np.array(about), **found)
    return asked, found


GPT2 = CASES / "gpt2-language-model"


def test_verify_hands_the_model_and_a_batch_to_the_python_that_is_named(run, fake_python):
    python = fake_python()
    asked, _ = lay_down(python, GPT2)
    code, out, err = run("verify", GPT2, "--python", python)
    assert (code, err) == (0, "")
    first, logits, generated, verdict = out.splitlines()
    assert first == "GPT2LMHeadModel, Transformers 5.0, torch 2.0"
    assert re.fullmatch(r"logits: largest \|difference\| 0\.0e\+00, of values up to \d\.\d+", logits)
    assert re.fullmatch(r"generated: all \d+ tokens equal", generated)
    assert verdict == "equal within 0.001"
    arguments, has_script, where = json.loads((python.parent / "asked.json").read_text())
    assert arguments == ["-", str(GPT2), json.dumps({"max_new_tokens": asked.new_tokens})]
    assert has_script
    assert not Path(where).exists()
    with np.load(python.parent / "batch.npz") as sent:
        for key, value in asked.forward.items():
            np.testing.assert_array_equal(sent[f"forward/{key}"], value)
        assert sent["generate/attention_mask"][1, 0] == 0  # on the left


def test_verify_tells_outputs_that_differ_and_looks_past_padding(run, fake_python):
    python = fake_python()

    def at_padding(logits):
        logits[1, -1, 3] += 5.0

    def at_a_token(logits):
        logits[0, 2, 3] += 0.5

    lay_down(python, GPT2, **{"forward/logits": at_padding})
    assert run("verify", GPT2, "--python", python)[0] == 0
    lay_down(python, GPT2, **{"forward/logits": at_a_token})
    code, out, _ = run("verify", GPT2, "--python", python, "--json")
    found = json.loads(out)
    assert code == 1
    assert found["outputs"]["logits"]["largest_difference"] == pytest.approx(0.5, abs=1e-5)
    assert (found["equal"], found["generated"]["first_difference"]) == (False, None)
    assert run("verify", GPT2, "--python", python, "--tolerance", "1")[0] == 0


def test_verify_names_the_first_token_that_differs(run, fake_python):
    python = fake_python()

    def change(ids):
        ids[1, 4] += 1
        ids[1, 5] += 1

    _, found = lay_down(python, GPT2, generate=change)
    there = int(found["generate"][1, 4])
    code, out, _ = run("verify", GPT2, "--python", python)
    assert code == 1
    assert f"generated: row 1 differs from token 4 on: {there - 1} here, {there} in Transformers" in out
    assert out.endswith("NOT equal within 0.001\n")
    assert first_difference(np.array([[3, 4]]), np.array([2]), np.array([[3]])) == (0, 1, 4, None)
    assert first_difference(np.array([[3, 0]]), np.array([1]), np.array([[3, 9]])) is None


def test_verify_says_what_is_missing(run, fake_python, tmp_path):
    python = fake_python("print('torch'); sys.exit(3)")
    code, _, err = run("verify", GPT2, "--python", python)
    assert code == 2
    assert f"{python} has no torch: pip install torch transformers, or name a Python" in err
    python = fake_python("print('Traceback', file=sys.stderr); print('ValueError: no', file=sys.stderr); sys.exit(1)")
    assert (
        f"Transformers ({python}) cannot compute with {GPT2}: ValueError: no"
        in run("verify", GPT2, "--python", python)[2]
    )
    assert "must be a Python that runs" in run("verify", GPT2, "--python", tmp_path / "none")[2]


def test_verify_asks_to_convert_what_transformers_does_not_load(run, bert, fake_python):
    code, _, err = run("verify", bert, "--python", fake_python())
    assert code == 2
    assert f"{bert} has no safetensors, which is what Transformers loads: regard convert {bert} NEW" in err


@pytest.mark.parametrize("case", sorted(CASES.iterdir()), ids=lambda case: case.name)
def test_a_probe_fits_every_form_and_pads_a_row_of_text(case):
    config = Config(json.loads((case / "config.json").read_text()))
    spec = family(config["model_type"]).from_config(config)
    forward, generate, new_tokens = probe(spec)
    again = probe(spec)
    assert {"input_ids", "pixel_values", "input_features"} & forward.keys()
    for key, value in forward.items():
        np.testing.assert_array_equal(value, again.forward[key])
        if key.endswith("input_ids"):
            check_ids(key, value, spec)
        if key in ("pixel_values", "input_features"):
            check_features(key, value, spec.image_side if spec.form == "pair" else spec)
    if "attention_mask" in forward and len(forward["attention_mask"]) > 1:
        assert forward["attention_mask"].sum(axis=1).tolist() == [12, 8]
    assert (generate is not None) == (spec.output.kind == "language")
    if generate is not None:
        check_lengths(generate, spec, new_tokens)
