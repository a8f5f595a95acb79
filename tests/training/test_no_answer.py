"""What a run chooses for questions without an answer: the threshold of the best F1 on validation."""

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from regard.cli import main
from regard.config import parse_run
from regard.interop.directory import read_json
from regard.tasks.loading import load
from regard.training.trainer import train

sys.path += [str(Path(__file__).parent)]

from whole_runs import quiet

PLACES = ["Rome", "Paris", "Oslo", "Bern"]


def asked(rng: random.Random, answered: bool) -> dict[str, Any]:
    place = rng.choice(PLACES)
    context = f"Anna lives in {place} ." if answered else "Anna works in peace ."
    answers = (
        {"text": [place], "answer_start": [context.index(place)]} if answered else {"text": [], "answer_start": []}
    )
    return {"question": "where?", "context": context, "answers": answers}


def run_in(folder: Path, unanswered: bool) -> Path:
    rng = random.Random(0)
    for split, count in (("train", 64), ("validation", 16), ("test", 12)):
        records = [asked(rng, not unanswered or number % 2 == 0) for number in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records), "utf-8")
    splits = {split: [{"jsonl": str(folder / f"{split}.jsonl")}] for split in ("train", "validation", "test")}
    network = {"preset": "bert-tiny", "width": 16, "heads": 2, "ffn_width": 16, "depth": 1, "max_positions": 32}
    schedule = {"name": "constant", "peak": 0.01, "warmup_steps": 1}
    training = {"steps": 12, "batch_tokens": 256, "log_every": 4, "validate_every": 6, "dtype": "float32"}
    run = parse_run(
        {
            "task": "answer",
            "seed": 2,
            "data": {**splits, "max_tokens": 32, "workers": 1},
            "tokenizer": {"vocab_size": 320},
            "model": network,
            "training": {**training, "schedule": schedule},
        }
    )
    train(run, folder / "run", console=quiet())
    return folder / "run"


def test_the_model_says_that_there_is_no_answer_as_an_evaluation_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_in(tmp_path, unanswered=True)
    chosen = read_json(run / "model", "regard.json")["no_answer_threshold"]
    assert main(["evaluate", str(run), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["settings"]["no_answer_threshold"] == pytest.approx(chosen, abs=1e-4)
    judged = [json.loads(line) for line in (run / "evaluation-test.jsonl").read_text("utf-8").splitlines()]
    answerer = load(run)
    found = [answerer(each["inputs"]["question"], each["inputs"]["context"]).text for each in judged]
    assert found == [each["output"] for each in judged]
    assert {"", *found} != {""}
    assert "" in found
    (unanswered,) = {each["inputs"]["context"] for each in judged if not each["reference"]}
    assert main(["answer", str(run), "where?", "--context", unanswered]) == 0
    assert capsys.readouterr().out.split("\t")[1:3] == ["", ""]
    assert main(["answer", str(run), "where?", "--context", unanswered, "--no-answer-threshold", "inf"]) == 0
    assert capsys.readouterr().out.split("\t")[1] != ""


def test_where_every_question_has_an_answer_there_is_nothing_to_choose(tmp_path: Path) -> None:
    run = run_in(tmp_path, unanswered=False)
    assert "no_answer_threshold" not in read_json(run / "model", "regard.json")
    assert load(run).no_answer_threshold is None
