"""From texts without labels to a classifier, through the command line at toy size."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regard.cli import main
from regard.config import parse_run, to_toml

THINGS = {"game": ["puzzle", "chess", "arcade", "cards"], "tool": ["editor", "compiler", "shell", "mailer"]}
SCHEDULE = {"name": "constant", "peak": 0.01, "warmup_steps": 1}
TRAINING = {"steps": 4, "batch_tokens": 128, "log_every": 2, "validate_every": 4, "dtype": "float32"}
NETWORK = {"preset": "bert-tiny", "width": 16, "heads": 2, "ffn_width": 16, "depth": 1, "max_positions": 32}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One file of texts with labels a split: the masked language model reads the same, and no label."""
    directory, rng, found = tmp_path_factory.mktemp("data"), random.Random(0), {}
    for split, count in (("train", 60), ("validation", 12), ("test", 12)):
        labels = [rng.choice(list(THINGS)) for _ in range(count)]
        texts = [
            f"a {rng.choice(THINGS[label])} for {rng.choice(THINGS[label])} no {n}" for n, label in enumerate(labels)
        ]
        lines = [json.dumps({"text": text, "label": label}) for text, label in zip(texts, labels, strict=True)]
        (directory / f"{split}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
        found[split] = [{"jsonl": str(directory / f"{split}.jsonl")}]
    return {**found, "max_tokens": 32, "workers": 1}


@pytest.fixture(scope="module")
def command(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., int]:
    """`regard train`, with a run file for the task."""
    files = tmp_path_factory.mktemp("files")

    def train(task: str, output: Path, *settings: str, **tables: Any) -> int:
        values = {"task": task, "seed": 1, "data": data, "training": {**TRAINING, "schedule": SCHEDULE}, **tables}
        (files / f"{task}.toml").write_text(to_toml(parse_run(values)), "utf-8")
        given = [part for setting in settings for part in ("--set", setting)]
        return main(["train", str(files / f"{task}.toml"), "-o", str(output), *given])

    return train


@pytest.fixture(scope="module")
def pretrained(command: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "masked"
    whole_words = {"whole_words": True}
    tables = {"tokenizer": {"vocab_size": 330}, "model": NETWORK, "objective": whole_words}
    assert command("masked-language-model", directory, **tables) == 0
    return directory


def test_a_classifier_of_few_labels_goes_on_from_a_masked_language_model_and_both_are_evaluated(
    pretrained: Path, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert command("classify", run, "data.limit=20", model={"from": str(pretrained)}) == 0
    assert (run / "model" / "tokenizer.json").read_bytes() == (pretrained / "model" / "tokenizer.json").read_bytes()
    config = json.loads((run / "model" / "config.json").read_text("utf-8"))
    assert (config["hidden_size"], sorted(config["label2id"])) == (16, sorted(THINGS))
    splits = json.loads((run / "data" / "manifest.json").read_text("utf-8"))["splits"]
    assert (splits["train"]["pairs"], splits["validation"]["pairs"]) == (20, 12)
    for directory, score in ((pretrained, "perplexity"), (run, "accuracy")):
        capsys.readouterr()
        assert main(["evaluate", str(directory), "--json"]) == 0
        assert f'"{score}"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("tokenizer.vocab_size=400",), "tokenizer.vocab_size cannot stand beside model.from"),
        (("data.max_tokens=64",), "data.max_tokens must be at most model.max_positions (32), but is 64"),
        (("model.depth=2",), "model.depth is for a new network, but model.from names a checkpoint"),
        (("model.activation_dropout=0.1",), "model.activation_dropout is no key beside a bert checkpoint"),
    ],
)
def test_what_does_not_fit_the_pre_trained_model_is_said_in_one_line(
    settings: tuple[str, ...],
    words: str,
    pretrained: Path,
    command: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command("classify", tmp_path / "run", *settings, model={"from": str(pretrained)}) != 0
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    if "model." in settings[0]:
        assert not (tmp_path / "run" / "data" / "manifest.json").exists()  # it is said before the data are prepared


@pytest.mark.parametrize("task", ["classify", "summarise"])
def test_a_run_chooses_the_dropouts_of_the_checkpoint_that_it_goes_on_from(
    task: str, pretrained: Path, command: Callable[..., int], data: dict[str, Any], tmp_path: Path
) -> None:
    """The network that a run ends with says them, a run that is lengthened keeps them, and they are trained with: the
    checkpoint's own rate changes nothing, a higher one the losses."""
    (tmp_path / "pairs.jsonl").write_text('{"source": "a puzzle for chess", "target": "chess"}\n' * 40, "utf-8")
    own = {split: [{"jsonl": str(tmp_path / "pairs.jsonl")}] for split in ("train", "validation")}
    tables = {"data": data if task == "classify" else {**own, "max_tokens": 32, "workers": 1}}
    losses = {}
    for rate in (None, 0.1, 0.4):
        model = {"from": str(pretrained)} if rate is None else {"from": str(pretrained), "dropout": rate}
        run, writes = tmp_path / str(rate), {"decoding": {"max_new_tokens": 16}} if task == "summarise" else {}
        assert command(task, run, model=model, **tables, **writes) == 0
        config = json.loads((run / "model" / "config.json").read_text("utf-8"))
        for side in (config,) if task == "classify" else (config["encoder"], config["decoder"]):
            assert side["hidden_dropout_prob"] == (0.1 if rate is None else rate)
            assert side["attention_probs_dropout_prob"] == 0.1
        lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
        losses[rate] = [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]
    assert losses[None] == losses[0.1] != losses[0.4]
    before = (run / "model" / "model.safetensors").read_bytes()
    assert main(["train", str(run), "--set", "training.steps=6"]) == 0
    assert (run / "model" / "model.safetensors").read_bytes() != before
    assert json.loads((run / "model" / "config.json").read_text("utf-8")) == config


def test_texts_that_all_have_one_label_are_no_task(
    pretrained: Path, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.jsonl").write_text('{"text": "a puzzle", "label": "game"}\n' * 9, "utf-8")
    data = {split: [{"jsonl": str(tmp_path / "one.jsonl")}] for split in ("train", "validation")}
    tables = {"data": {**data, "max_tokens": 32, "workers": 1}, "model": {"from": str(pretrained)}}
    assert command("classify", tmp_path / "run", **tables) != 0
    assert "the training data has 1 different labels" in capsys.readouterr().err


def test_a_run_that_has_no_model_yet_is_told_from_a_checkpoint(
    pretrained: Path, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "run.toml").write_bytes((pretrained / "run.toml").read_bytes())
    assert command("classify", tmp_path / "run", model={"from": str(begun)}) != 0
    assert f"{begun} is a run that has no model yet: regard train {begun} goes on with it" in capsys.readouterr().err


def test_a_summariser_goes_on_from_a_masked_language_model_on_both_sides(
    pretrained: Path, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained, evaluated, used, exported, and gone on with."""
    pairs = [json.dumps({"source": f"a {name} for {kind} no {n}", "target": f"{name} {n}"})
             for n, (kind, names) in enumerate(15 * list(THINGS.items())) for name in names]  # fmt: skip
    (tmp_path / "pairs.jsonl").write_text("\n".join(pairs) + "\n", "utf-8")
    data = {split: [{"jsonl": str(tmp_path / "pairs.jsonl")}] for split in ("train", "validation", "test")}
    tables = {"data": {**data, "max_tokens": 32, "workers": 1}, "model": {"from": str(pretrained)}}
    run = tmp_path / "run"
    assert command("summarise", run, "decoding.max_new_tokens=16", **tables) == 0
    config = json.loads((run / "model" / "config.json").read_text("utf-8"))
    assert (config["model_type"], config["decoder"]["add_cross_attention"]) == ("encoder-decoder", True)
    assert main(["evaluate", str(run), "--json"]) == 0
    assert main(["train", str(run), "--set", "training.steps=6"]) == 0
    assert main(["export", str(run), str(tmp_path / "exported")]) == 0
    written = []
    for model in (run, tmp_path / "exported"):
        capsys.readouterr()
        assert main(["summarise", str(model), "--max-new-tokens", "4", "a puzzle for chess no 1"]) == 0
        written.append(capsys.readouterr().out)
    assert written[0] == written[1]
