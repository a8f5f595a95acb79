import errno
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from regard import cli
from regard.cli import main
from regard.commands.text import program
from regard.config import load_run
from regard.errors import TrainingInterrupted
from regard.training.lock import locked

TEXT_TASKS = ["summarise", "embed", "classify", "tag", "fill-mask", "answer"]
VERBS = ["demo", "prepare", "train", "evaluate", "translate", "inspect", *TEXT_TASKS]
RUN_MAIN = "import sys; from regard.cli import main; sys.exit(main())"


@pytest.fixture
def regard(capsys):
    """The command line in this process: exit code, stdout and stderr."""

    def run(*arguments: object):
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def run_file(tmp_path):
    """Writes a run file over a tiny corpus, with some of its lines replaced."""
    (tmp_path / "corpus.tsv").write_text("".join(f"one {n}\tONE {n}\n" for n in range(50)))

    def write(**replaced: str):
        sections = {
            "data": f'train = [{{tsv = "{tmp_path}/corpus.tsv"}}]\nmax_tokens = 16\nworkers = 1',
            "tokenizer": "vocab_size = 300",
            "model": 'preset = "tiny"\nmax_positions = 16',
            "training": "steps = 1",
        } | replaced
        path = tmp_path / "run.toml"
        path.write_text("".join(f"[{name}]\n{lines}\n" for name, lines in sections.items()))
        return path

    return write


def one_line(err: str) -> str:
    assert err.startswith("regard: ")
    assert err.count("\n") == 1
    return err


def test_help_and_the_package_itself_import_neither_tensorflow_nor_keras():
    script = (
        "import sys, regard\nfrom regard.cli import main\nassert main(['--help']) == 0\n"
        "loaded = {'tensorflow', 'keras', 'sacrebleu', 'tokenizers'} & set(sys.modules)\nassert not loaded, loaded"
    )
    finished = subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL)
    assert finished.returncode == 0


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_each_verb_has_examples(regard, verb):
    code, out, _ = regard(verb, "--help")
    assert code == 0
    assert "Examples:" in out
    assert f"regard {verb}" in out


def test_help_names_every_verb_and_no_verb_at_all_shows_it(regard):
    code, out, err = regard()
    assert (code, err) == (2, "")
    assert all(verb in out for verb in VERBS)
    assert regard("--version") == (0, f"regard {cli.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'? See regard --help."),
        (["train"], "Missing argument 'RUN'. See regard train --help."),
        (["translate", "m", "--num-beam", "2"], "No such option: --num-beam"),
        (["translate", "m", "--num-beams", "two"], "Invalid value for '--num-beams'"),
        (["evaluate", "m", "--split", "dev"], "'dev' is not one of 'validation', 'test'"),
        (["--nonsense"], "No such option: --nonsense"),
    ],
)
def test_a_usage_error_is_one_line_and_code_2(regard, arguments, message):
    code, out, err = regard(*arguments)
    assert (code, out) == (2, "")
    assert message in one_line(err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "nowhere.toml"], "cannot read the run file nowhere.toml: No such file or directory"),
        (["train", "nowhere.toml"], "cannot read the run file nowhere.toml: No such file or directory"),
        (["train", "."], ". is no run directory: it has no run.toml; give a run file instead"),
        (["train", ".", "-o", "x"], ". is a run directory and goes on in itself: leave --output out"),
        (["translate", "nowhere", "text"], "no model at nowhere: the directory does not exist"),
        (["summarise", "nowhere", "text"], "no model at nowhere: the directory does not exist"),
        (["evaluate", "nowhere"], "there is no run directory nowhere: give one, or --source and --reference for a "),
        (["evaluate", "."], ". holds no prepared data: give a run directory, or --source and --reference"),
        (["inspect", "bas"], "'bas' is neither a model nor a preset: did you mean base?"),
        (["inspect", "minilmm"], "'minilmm' is neither a model nor a preset: did you mean minilm?"),
        (["inspect", "xyz"], "'xyz' is neither a model nor a preset: the names are tiny, small, base, big, "),
        (["inspect", "./nowhere"], "no model at ./nowhere: there is no such directory"),
        (["inspect", "no/model/here"], "no model at no/model/here: the directory does not exist"),
        (["demo", "--set", "training.step=1"], "unknown key training.step: did you mean steps?"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do(regard, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = regard(*arguments)
    assert (code, out) == (2, "")
    assert message in one_line(err)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"training": "stepps = 1"}, "unknown key training.stepps: did you mean steps?"),
        ({"training": "steps = 0"}, "training.steps"),
        ({"data": "train = [{tsv = 'nowhere.tsv'}]"}, "nowhere.tsv"),
        ({"data": "builder = 'nowhere'"}, "no corpus is called 'nowhere'"),
        ({"data": "train = ["}, "is not valid TOML"),
    ],
)
def test_a_wrong_run_file_is_one_line(regard, run_file, tmp_path, replaced, message):
    code, _, err = regard("prepare", run_file(**replaced), "-o", tmp_path / "run")
    assert code == 2
    assert message in one_line(err)


def test_an_empty_corpus_is_one_line(regard, run_file, tmp_path):
    (tmp_path / "corpus.tsv").write_text("")
    path = run_file()
    (tmp_path / "corpus.tsv").write_text("")
    code, _, err = regard("prepare", path, "-o", tmp_path / "run")
    assert code == 2
    assert "regard: " in err
    assert "Traceback" not in err


def test_prepare_writes_the_data_where_train_looks_for_it(regard, run_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments, directory in (([], "runs/run"), (["-o", "elsewhere"], "elsewhere")):
        code, out, _ = regard("prepare", run_file(), *arguments)
        assert code == 0
        assert re.fullmatch(rf"{directory}/data: ready, \d\d pairs to train on\n", out)
        assert (tmp_path / directory / "data/manifest.json").is_file()


def test_overrides_come_after_the_file_in_their_order(regard, run_file, tmp_path):
    overrides = ["--set", "tokenizer.vocab_size=400", "--set", "tokenizer.vocab_size=3"]
    code, _, err = regard("prepare", run_file(), *overrides, "-o", tmp_path / "run")
    assert code == 2
    assert "tokenizer.vocab_size: should be greater than or equal to 300 (is 3)" in one_line(err)


def test_an_unknown_preset_in_a_run_file_is_one_line(regard, run_file, tmp_path):
    path = run_file(model="preset = 'bass'")
    regard("prepare", path, "-o", tmp_path / "run")
    code, _, err = regard("train", path, "-o", tmp_path / "run")
    assert code == 2
    assert "unknown preset 'bass': did you mean base?" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_without_tensorflow_the_line_says_what_to_install(regard, run_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    code, _, err = regard("train", run_file(), "-o", tmp_path / "run")
    assert code == 2
    assert one_line(err) == (
        "regard: TensorFlow is not installed: pip install 'regard[cpu]', or 'regard[gpu]' for a GPU\n"
    )


@pytest.mark.parametrize("arguments", [["--debug", "train", "nowhere.toml"], ["train", "nowhere.toml", "--debug"]])
def test_debug_shows_the_traceback_before_and_after_the_verb(regard, arguments):
    code, _, err = regard(*arguments)
    assert code == 2
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-1].startswith("regard: cannot read the run file")


def test_debug_after_two_dashes_is_a_text():
    arguments = ["translate", "m", "--debug", "--", "--debug"]
    assert cli._take_debug(arguments)
    assert arguments == ["translate", "m", "--", "--debug"]


def test_an_unexpected_error_is_one_line_with_code_1(regard, monkeypatch):
    def explode(*_, **__):
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr("regard.commands.inspect.spec", explode)
    code, _, err = regard("inspect", "base")
    assert code == 1
    assert one_line(err) == "regard: unexpected ZeroDivisionError: a b (run again with --debug for the traceback)\n"


def test_interrupted_training_leaves_with_code_75(regard, run_file, monkeypatch):
    def interrupted(*_):
        raise TrainingInterrupted("stopped at step 7 and saved; the same command goes on")

    monkeypatch.setattr("regard.commands.train.train_run", interrupted)
    assert regard("train", run_file()) == (75, "", "regard: stopped at step 7 and saved; the same command goes on\n")


@pytest.mark.parametrize("arguments", [["inspect", "base", "--weights"], ["inspect", "base"], ["--version"]])
def test_a_reader_that_goes_away_is_no_traceback(arguments):
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = subprocess.Popen(
        [sys.executable, "-c", RUN_MAIN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered
    )
    command.stdout.close()
    assert command.stderr.read() == b""
    assert command.wait() == 141


def test_inspect_counts_the_parameters_of_the_papers_models(regard):
    for preset, count in (("base", "63,082,496"), ("big", "214,245,376")):
        code, out, _ = regard("inspect", preset, "--vocab-size", "37000")
        assert code == 0
        assert f"{count} parameters: " in out
    assert "857.0 MB in float32" in out
    assert "16 heads of 64, feed-forward 4096 (relu), post-norm" in out


def test_the_rows_of_inspect_sum_to_its_total_and_weights_lists_every_variable(regard):
    _, modules, _ = regard("inspect", "tiny", "--vocab-size", "500")
    _, weights, _ = regard("inspect", "tiny", "--vocab-size", "500", "--weights")
    total = int(re.search(r"([\d,]+) parameters:", modules)[1].replace(",", ""))
    rows = [line.split() for line in modules.splitlines() if line.startswith(("encoder/", "decoder/"))]
    assert sum(int(row[-2].replace(",", "")) for row in rows) == total
    variables = [line.split() for line in weights.splitlines() if line.startswith(("encoder/", "decoder/"))]
    assert sum(int(row[-1].replace(",", "")) for row in variables) == total
    assert ["decoder/layer_1/cross_attention/query/kernel", "128x128", "16,384"] in variables


def test_prepare_leaves_the_data_of_a_run_that_has_begun(regard, run_file, tmp_path):
    path, run = run_file(), tmp_path / "run"
    assert regard("prepare", path, "-o", run)[0] == 0
    begun = run / "checkpoints" / "step-00000001"
    begun.mkdir(parents=True)
    saved = load_run(path).model_dump(mode="json")
    (begun / "state.json").write_text(json.dumps({"run": saved, "state": {"step": 1}}))
    (begun / "manifest.json").write_text('{"files": {}}')
    before = {file.name: file.read_bytes() for file in (run / "data").iterdir()}
    code, _, err = regard("prepare", path, "-o", run, "--set", "tokenizer.vocab_size=310")
    assert code == 2
    assert "tokenizer.vocab_size cannot change when a run goes on: it was 300" in one_line(err)
    (tmp_path / "corpus.tsv").write_text("another\tcorpus\n")
    assert regard("prepare", path, "-o", run)[0] == 0
    assert {file.name: file.read_bytes() for file in (run / "data").iterdir()} == before
    damaged = run / "checkpoints" / "step-00000002"
    damaged.mkdir()
    (damaged / "state.json").write_text('{"run": ')
    (damaged / "manifest.json").write_text('{"files": {"state.json": {"bytes": 9, "sha256": ""}}}')
    assert regard("prepare", path, "-o", run)[0] == 0, "the one before is whole, as training would find"
    assert {file.name: file.read_bytes() for file in (run / "data").iterdir()} == before
    (begun / "manifest.json").write_text('{"files": {"weights": {"bytes": 9, "sha256": ""}}}')
    code, _, err = regard("prepare", path, "-o", run)
    assert code == 2
    assert f"{run / 'checkpoints'} has no good checkpoint left to go on from; bring one back" in one_line(err)
    assert {file.name: file.read_bytes() for file in (run / "data").iterdir()} == before


def test_two_processes_in_one_run_directory_are_one_line(regard, run_file, tmp_path):
    with locked(tmp_path / "run"):
        code, _, err = regard("prepare", run_file(), "-o", tmp_path / "run")
    assert code == 2
    assert f"another process prepares or trains in {tmp_path}/run: " in one_line(err)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_nothing_is_one_line_with_code_2(regard, run_file, monkeypatch, number):
    def full(*_):
        raise OSError(number, os.strerror(number), "runs/x/metrics.jsonl")

    monkeypatch.setattr("regard.commands.train.train_run", full)
    code, _, err = regard("train", run_file())
    what = "cannot read or write" if number == errno.EACCES else "cannot write"
    assert (code, err) == (2, f"regard: {what} runs/x/metrics.jsonl: {os.strerror(number)}\n")


def test_the_help_of_train_names_the_exit_code_of_an_interrupted_run(regard):
    assert "exit code 75" in " ".join(regard("train", "--help")[1].split())


@pytest.mark.parametrize(
    ("started", "on_path", "shown"),
    [
        ("/opt/v/bin/regard", None, "/opt/v/bin/regard"),
        ("/opt/v/bin/regard", "/opt/v/bin/regard", "regard"),
        ("/opt/v/bin/regard", "/usr/bin/regard", "/opt/v/bin/regard"),
        ("regard", None, "regard"),
        ("-c", None, "regard"),
        ("/usr/lib/pytest/__main__.py", None, "regard"),
    ],
)
def test_the_program_is_named_as_it_was_started(monkeypatch, started, on_path, shown):
    monkeypatch.setattr(sys, "argv", [started])
    monkeypatch.setattr(shutil, "which", lambda name: on_path)
    assert program() == shown


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("translate", "translate.translate_texts"),
        ("generate", "generate.generate_texts"),
        ("summarise", "summarise.summarise_texts"),
        ("caption", "caption.caption_images"),
        ("evaluate", "evaluate.evaluate_model"),
    ],
)
def test_the_verbs_that_search_pass_the_threshold_between_beams_on(monkeypatch, verb, body):
    said = {}
    monkeypatch.setattr(f"regard.commands.{body}", lambda *given, **settings: said.update(settings))
    assert main([verb, "m", "--num-beams", "4", "--beam-threshold", "2"]) == 0
    options = {**said, **said.get("options", {})}
    assert (options["num_beams"], options["beam_threshold"]) == (4, 2.0)
