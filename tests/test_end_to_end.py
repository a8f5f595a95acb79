"""One run from raw text to scores through the command line: words are to be written in capitals."""

import json
import random
import re
import shutil
from pathlib import Path

import pytest

import regard
from regard.cli import main
from regard.models.forms import build_model

WORDS = "red blue green cat dog bird one two three sun".split()
RUN = """
seed = 3
[data]
train = [{tsv = "train.tsv"}]
validation = [{tsv = "validation.tsv"}]
test = [{tsv = "test.tsv"}]
max_tokens = 24
workers = 1
[tokenizer]
vocab_size = 320
[model]
preset = "tiny"
width = 48
heads = 2
ffn_width = 96
encoder_depth = 1
decoder_depth = 1
dropout = 0.0
norm_order = "pre"
max_positions = 32
[training]
steps = 10
batch_tokens = 768
validate_every = 100
log_every = 50
score_examples = 20
label_smoothing = 0.0
dtype = "float32"
[training.schedule]
name = "inverse_sqrt"
peak = 3e-3
warmup_steps = 60
[decoding]
num_beams = 2
max_new_tokens = 24
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run directory: trained for 10 steps, then for 320 by the same run file."""
    place = tmp_path_factory.mktemp("end_to_end")
    draw = random.Random(1)
    for name, size in (("train", 1500), ("validation", 20), ("test", 30)):
        lines = (" ".join(draw.choices(WORDS, k=draw.randint(1, 4))) for _ in range(size))
        (place / f"{name}.tsv").write_text("".join(f"{line}\t{line.upper()}\n" for line in lines))
    (place / "run.toml").write_text(RUN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(["train", "run.toml", "-o", "first"]) == 0
        assert main(["train", "first", "--set", "training.steps=320"]) == 0
    return place / "first"


@pytest.fixture
def command(run, monkeypatch, capsys):
    monkeypatch.chdir(run.parent)

    def call(*arguments: str):
        code = main(arguments)
        return code, *capsys.readouterr()

    return call


def test_training_went_on_where_it_stopped_and_learned(run):
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [record["loss"] for record in records if record["kind"] == "validation"]
    assert max(record["step"] for record in records) == 320
    assert losses[-1] < losses[0] / 4
    assert {"config.json", "model.safetensors", "tokenizer.json", "regard.json"} <= {
        path.name for path in (run / "model").iterdir()
    }


def test_evaluate_scores_the_held_out_split_and_keeps_the_record(command, run):
    code, out, err = command("evaluate", "first", "--json")
    assert (code, err) == (0, "")
    (direction,) = json.loads(out)["directions"]
    assert direction["count"] == 30
    assert direction["exact_match"] >= 50
    assert direction["chrf"] > 70
    record = json.loads((run / "evaluation-test.json").read_text())
    assert record["groups"][0]["scores"]["chrf"]["value"] == direction["chrf"]
    assert len((run / "evaluation-test.jsonl").read_text().splitlines()) == 30
    assert f"| test | all | chrF | {direction['chrf']:.2f} |" in (run / "model" / "README.md").read_text()
    assert json.loads((run / "model" / "regard.json").read_text())["scores"]["test"]["exact_match"] >= 50
    page = (run / "report.html").read_text()
    assert "12 unselected translations" in page
    assert page.count('class="heat-map"') == 3


def test_translate_agrees_with_python_line_by_line(command, run):
    texts = ["red cat", "", "sun sun sun", "two"]
    code, out, _ = command("translate", "first/model", *texts)
    translator = regard.load(run)
    assert code == 0
    assert out.split("\n")[:-1] == [entry.text for entry in translator(texts)]
    assert translator("red cat").text == "RED CAT"


def test_many_lines_by_two_processes_are_those_of_one(command, run):
    lines = [f"{one} {other}" for one in WORDS for other in WORDS][:80]  # in two blocks, one shorter
    (run.parent / "lines.txt").write_text("\n".join(lines) + "\n", "utf-8")
    one = command("translate", "first", "--file", "lines.txt", "--n-best", "1")
    many = command("translate", "first", "--file", "lines.txt", "--n-best", "1", "--workers", "2", "--output", "out")
    assert one[0] == many[0] == 0
    assert many[1] == ""
    rows = [line.split("\t") for line in one[1].splitlines()]
    found = [line.split("\t") for line in (run.parent / "out").read_text("utf-8").splitlines()]
    assert len(rows) == len(lines)
    assert [(number, text) for number, _, text in found] == [(number, text) for number, _, text in rows]
    assert [float(score) for _, score, _ in found] == pytest.approx([float(score) for _, score, _ in rows], abs=2e-4)


def test_tokens_scores_and_n_best_are_those_of_the_search(command):
    code, out, _ = command("translate", "first", "--json", "--num-beams", "3", "--n-best", "3", "blue dog")
    assert code == 0
    best = json.loads(out)
    scores = [best["score"], *(entry["score"] for entry in best["alternatives"])]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert len(best["tokens"]) == len(best["token_scores"])
    assert sum(best["token_scores"]) < 0


def test_a_shortlist_counted_in_the_training_pairs_gives_the_same_translations(command, run):
    code, _, err = command("shortlist", "first", "capitals.safetensors", "--best", "12", "--frequent", "4")
    assert code == 0
    assert "counted in 1,500 of 1,500 training pairs" in err
    kept, held = re.search(r"keeps (\d+) on average, among them ([\d.]+)%", err).groups()
    assert int(kept) < 100 < 320  # the vocabulary's size
    assert float(held) > 98
    lines = ["red cat", "three bird", "sun", "blue dog one two"]
    asked = ["translate", "first", *lines, "--engine", "openvino"]
    _, whole, _ = command(*asked)
    code, short, _ = command(*asked, "--shortlist", "capitals.safetensors")
    assert (code, short) == (0, whole)
    command("shortlist", "first", "poor.safetensors", "--best", "1", "--frequent", "1", "--pairs", "7")
    _, poor, _ = command(*asked, "--shortlist", "poor.safetensors")
    assert poor != whole
    code, out, _ = command(
        "evaluate", "first", "--engine", "openvino", "--shortlist", "capitals.safetensors", "--json", "-o", "short.json"
    )
    assert code == 0
    assert json.loads(out)["directions"]
    settings = json.loads(Path("short.json").read_text("utf-8"))["settings"]
    assert {"engine": "openvino", "shortlist": "capitals.safetensors"}.items() <= settings.items()
    said = {"num_beams": 2, "length_penalty": 0.6, "length_penalty_form": "gnmt"}
    assert said.items() <= settings.items(), "what the checkpoint searches with is said, too"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "x"], "nowhere holds no prepared data: give a run directory"),
        (["first", "x", "--best", "0"], "--best must be at least 1, but is 0"),
        (["first", "x", "--pairs", "0"], "--pairs must be at least 1, but is 0"),
    ],
)
def test_a_shortlist_of_nothing_is_one_line(command, arguments, message):
    code, _, err = command("shortlist", *arguments)
    assert code == 2
    assert err.startswith(f"regard: {message}")


def test_inspect_shows_the_network_the_tokenizer_and_the_scores(command, run):
    code, out, _ = command("inspect", "first")
    model = regard.load_model(run / "model")
    assert code == 0
    assert f"{model.count_params():,} parameters: " in out
    assert "1 layers, 2 heads of 24, feed-forward 96 (relu), pre-norm" in out
    assert "tokenizer: BPE, " in out
    assert "validation chrf: " in out


def test_a_script_hears_of_a_damaged_checkpoint(command, run, tmp_path):
    shutil.copytree(run, tmp_path / "copy")
    assert command("inspect", str(tmp_path / "copy"))[0] == 0
    weights = sorted((tmp_path / "copy" / "checkpoints").glob("step-*/model.safetensors"))[-1]
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    code, out, err = command("inspect", str(tmp_path / "copy"))
    assert code == 2
    assert "model.safetensors is damaged: its SHA-256" in " ".join(out.split())
    assert err.startswith("regard: 1 of the ")
    assert f"is damaged ({weights.parent.name}): `regard train` sets such aside" in err
    assert err.count("\n") == 1


def test_the_variables_that_inspect_lists_are_those_of_the_model(command, run):
    _, out, _ = command("inspect", "first", "--weights")
    listed = {tuple(line.split()[:2]) for line in out.splitlines() if line.startswith(("encoder/", "decoder/"))}
    model = build_model(regard.load_model(run / "model").spec)
    assert listed == {(weight.path, "x".join(map(str, weight.shape))) for weight in model.weights}


def test_a_tokenizer_of_another_model_is_one_line(command, run, tmp_path):
    for path in (run / "model").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["added_tokens"].append({**content["added_tokens"][-1], "id": 999, "content": "<more>"})
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    code, _, err = command("translate", str(tmp_path), "red")
    assert code == 2
    assert "the tokenizer is another model's: its vocabulary is " in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("letters", ["a ", "a"])
def test_a_line_of_a_million_characters_is_refused_in_one_short_line(command, tmp_path, letters):
    (tmp_path / "long.txt").write_text(letters * (1_000_000 // len(letters)) + "\n")
    code, out, err = command("translate", "first", "--file", str(tmp_path / "long.txt"))
    assert (code, out) == (2, "")
    assert err.startswith("regard: line 1 has ")
    assert "tokens, but the model reads at most 32" in err
    assert (err.count("\n"), len(err) < 300) == (1, True)


def test_text_beyond_the_models_positions_is_refused_or_split(command):
    long = " ".join(["red cat."] * 20)
    code, out, err = command("translate", "first", long)
    assert (code, out) == (2, "")
    assert "but the model reads at most 32" in err
    code, out, err = command("translate", "first", "--long", "split", long)
    assert (code, out.count("\n")) == (0, 1)
    assert "line 1 was split into 20 sentences" in err
