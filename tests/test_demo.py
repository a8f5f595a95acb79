"""The demo's flow over a tiny corpus; what the real one learns takes minutes, and is measured by `make demo`."""

import json
import sys
from pathlib import Path

import pytest

from regard import corpora
from regard.batch import Example
from regard.cli import main
from regard.corpora.corpus import Builder, Corpora
from regard.demo import _command, _kind_of_error, _print

DAYS = {"en": "day {}", "de": "{}. Tag", "zh": "第{}天"}
SMALL = {
    "tokenizer.vocab_size": 300,
    "model.width": 16,
    "model.heads": 2,
    "model.ffn_width": 16,
    "model.encoder_depth": 1,
    "model.decoder_depth": 1,
    "training.steps": 2,
    "training.score_examples": 2,
    "training.schedule.warmup_steps": 1,
    "decoding.max_new_tokens": 6,
    "data.workers": 1,
}


def build_days(cache, report):
    examples = [
        Example(DAYS[source].format(n), DAYS[target].format(n), source, target)
        for n in range(50)
        for source in DAYS
        for target in DAYS
        if source != target
    ]
    return Corpora(examples[60:], examples[:30], examples[30:60], {}, "made up")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The directory of a finished demo, and how to start one there again."""
    directory = tmp_path_factory.mktemp("demo") / "run"
    overrides = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(corpora.BUILDERS, "demo", Builder(build_days, ("translate",), ""))
        assert main(["demo", "-o", str(directory), *overrides]) == 0
        yield directory, overrides


@pytest.fixture
def again(demo, capsys):
    def start(*arguments: str):
        code = main(["demo", "-o", str(demo[0]), *arguments])
        return code, *capsys.readouterr()

    return start


def test_a_finished_demo_prints_its_results_again_without_training(demo, again, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    for arguments in ([], demo[1]):
        code, out, err = again(*arguments)
        assert code == 0
        for direction in ("de → en", "de → zh", "en → de", "en → zh", "zh → de", "zh → en"):
            assert direction in out
        assert "exact match" in out
        assert str(demo[0] / "report.html") in out
        assert "to start over, remove it or give another --output" in err


def test_it_shows_two_translations_a_direction_and_the_worst_errors_lowest_chrf_first(demo, again):
    results = json.loads((demo[0] / "demo.json").read_text())
    assert len(results["translations"]) == 12
    assert len({(entry["source_lang"], entry["target_lang"]) for entry in results["translations"]}) == 6
    scores = [error["chrf"] for error in results["errors"]]
    assert scores == sorted(scores)
    wrong = sum(round(entry["count"] * (1 - entry["exact_match"] / 100)) for entry in results["scores"])
    assert sum(results["error_kinds"].values()) == wrong
    _, out, _ = again()
    for entry in results["translations"]:
        assert f"{entry['source']}  =>  " in out


def test_the_page_the_model_and_its_scores_are_saved(demo):
    page = (demo[0] / "report.html").read_text()
    assert page.count("Cross-attention, layer 1") >= 3
    record = json.loads((demo[0] / "model/regard.json").read_text())
    assert set(record["scores"]["test"]["en → de"]) == {"exact_match", "bleu", "chrf"}
    assert record["score"]["loss"] > 0


def test_another_run_in_the_directory_of_a_finished_demo_is_refused(again):
    code, out, err = again("--seed", "7")
    assert (code, out) == (2, "")
    assert "holds a finished demo of another run: remove it, or give another --output" in err


@pytest.mark.parametrize(
    ("output", "reference", "kind"),
    [
        ("a 12", "a 12", "none"),
        ("a 13", "b 12", "other digits"),
        ("b 12", "a 12", "other words"),
        ("a, 12", "a 12", "other punctuation"),
    ],
)
def test_errors_are_of_a_kind(output, reference, kind):
    assert _kind_of_error(output, reference) == kind


def test_the_command_that_goes_on_is_the_demo_itself_and_names_are_quoted(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/opt/a b/regard"])
    command = _command(Path("my runs/demo"), ["training.minutes=1"], 3)
    assert command == "'/opt/a b/regard' demo -o 'my runs/demo' --seed 3 --set training.minutes=1"
    _print({"scores": [], "translations": [], "error_kinds": {}, "errors": []}, Path("my runs/demo"))
    assert "Try it: '/opt/a b/regard' translate 'my runs/demo' \"July 3, 2021\"" in capsys.readouterr().out
