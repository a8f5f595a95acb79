"""A whole run of each task at toy size: it learns, its scores are in the log, and no interruption changes a bit."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regard.cli import main
from regard.commands.train import prepare_run, train_run
from regard.config import RunConfig, parse_run, to_toml
from regard.data.prepare import prepare
from regard.data.shards import PreparedData
from regard.errors import ConfigError, TrainingInterrupted
from regard.explain.attention import visible
from regard.interop.checkpoints import load_model
from regard.tasks.loading import load
from regard.training.trainer import train

sys.path.append(str(Path(__file__).parent))

from whole_runs import assert_two_replicas_train_as_one_device, bits, quiet, validations, with_training

NAMES, PLACES = ("Anna", "Bert", "Clara"), ("Rome", "Paris", "New York")
ENCODER = {"preset": "bert-tiny", "width": 16, "heads": 2, "ffn_width": 16, "depth": 1}
WRITER = {"preset": "tiny", "width": 16, "heads": 2, "ffn_width": 16, "encoder_depth": 1, "decoder_depth": 1}
WRITER |= {"max_positions": 48}
MODELS: dict[str, dict[str, Any]] = {
    "summarise": WRITER,
    "text-to-text": WRITER,
    "language-model": {"preset": "gpt2-tiny", "width": 16, "heads": 2, "depth": 1, "max_positions": 48},
    "masked-language-model": ENCODER,
    "span-corruption": {"preset": "t5-tiny", "width": 16, "heads": 2, "ffn_width": 16}
    | {"encoder_depth": 1, "decoder_depth": 1},
    "classify": ENCODER,
    "tag": ENCODER,
    "answer": ENCODER,
    "embed": ENCODER,
}
SCORES = {
    "summarise": {"perplexity", "rouge1", "rouge2", "rouge_l"},
    "text-to-text": {"perplexity", "exact_match", "f1"},
    "language-model": {"perplexity", "bits_per_byte"},
    "masked-language-model": {"perplexity", "accuracy"},
    "span-corruption": {"perplexity", "accuracy"},
    "classify": {"accuracy", "f1"},
    "tag": {"accuracy", "f1"},
    "answer": {"exact_match", "f1"},
    "embed": {"recall10"},
}
STEPS = 6

TRAIN_IN_A_PROCESS = """
import sys, time
from regard.config import load_run
from regard.training.loop import Loop
from regard.training.trainer import train
advance = Loop._advance
Loop._advance = lambda *given: (time.sleep(float(sys.argv[3])), advance(*given))[1]
train(load_run(sys.argv[1]), sys.argv[2])
"""


def sentence(rng: random.Random) -> tuple[str, str]:
    name, place = rng.choice(NAMES), rng.choice(PLACES)
    return f"{name} lives in {place} .", "city" if place == "Rome" else "elsewhere"


def tagged(text: str) -> dict[str, Any]:
    tags = {"Anna": "B-PER", "Bert": "B-PER", "Clara": "B-PER", "Rome": "B-LOC", "Paris": "B-LOC", "New": "B-LOC"}
    words = text.split()
    return {"words": words, "tags": [{"York": "I-LOC"}.get(word, tags.get(word, "O")) for word in words]}


def asked(text: str) -> dict[str, Any]:
    place = next(place for place in PLACES if place in text)
    answers = [{"text": place, "answer_start": text.index(place)}]
    return {"question": "where?", "context": text, "answers": answers, "group": "city" if place == "Rome" else "others"}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("corpora")
    rng = random.Random(0)
    for split, count in (("train", 90), ("validation", 10)):
        texts = [sentence(rng) for _ in range(count)]
        documents = [" ".join(sentence(rng)[0] for _ in range(rng.randint(1, 5))) for _ in range(count)]
        (directory / f"{split}.txt").write_text("\n\n".join(documents) + "\n", "utf-8")
        lines: dict[str, list[Any]] = {
            "summarise": [{"source": document, "target": document.split(" .")[0]} for document in documents],
            "text-to-text": [{"source": f"where? {text}", "target": label} for text, label in texts],
            "classify": [{"text": text, "label": label} for text, label in texts],
            "tag": [tagged(text) for text, _ in texts],
            "answer": [asked(text) for text, _ in texts],
            "embed": [{"text": f"{split} {number} where", "positive": text} for number, (text, _) in enumerate(texts)],
        }
        for task, records in lines.items():
            (directory / f"{split}-{task}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), "utf-8")
    return directory


@pytest.fixture(scope="module")
def run_of(corpora: Path) -> Callable[..., RunConfig]:
    def make(task: str, **sections: Any) -> RunConfig:
        def source(split: str) -> dict[str, str]:
            labelled = corpora / f"{split}-{task}.jsonl"
            return {"jsonl": str(labelled)} if labelled.exists() else {"text": f"{corpora}/{split}.txt"}

        data = {split: [source(split)] for split in ("train", "validation")}
        training = {"steps": STEPS, "batch_tokens": 256, "log_every": 2, "validate_every": 3, "dtype": "float32"}
        training["streams"] = 1 if task == "embed" else 2
        schedule = {"name": "constant", "peak": 0.01, "warmup_steps": 1}
        if MODELS[task] is WRITER:
            training["score_examples"] = 4
            sections.setdefault("decoding", {"num_beams": 1, "max_new_tokens": 8})
        values = {
            "task": task,
            "seed": 3,
            "data": {**data, "workers": 1, "max_tokens": 48},
            "tokenizer": {"vocab_size": 420 if task == "span-corruption" else 330},
            "model": MODELS[task],
            "training": {**training, "schedule": schedule, **sections.pop("training", {})},
        }
        return parse_run(values | sections)

    return make


@pytest.fixture(scope="module")
def undisturbed(run_of: Callable[..., RunConfig], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Runs that nothing disturbed, each made once."""
    made: dict[str, Path] = {}

    def of(task: str) -> Path:
        if task not in made:
            directory = tmp_path_factory.mktemp(task)
            train(run_of(task), directory, console=quiet())
            made[task] = directory
        return made[task]

    return of


@pytest.mark.parametrize("task", list(MODELS))
def test_a_run_learns_and_its_scores_are_in_the_log(task: str, undisturbed: Callable[[str], Path]) -> None:
    first, last = validations(undisturbed(task))
    assert last["loss"] < first["loss"]
    assert SCORES[task] <= last.keys()
    assert all(np.isfinite(last[name]) for name in SCORES[task])


# Texts are read packed, whole and in windows. make test-full stops all of them.
STOPPED_OFTEN = ("language-model", "classify", "answer")


@pytest.mark.parametrize(
    "task",
    [
        pytest.param(task, marks=() if task in STOPPED_OFTEN else pytest.mark.full)
        for task, model in MODELS.items()
        if model is not WRITER
    ],
)
def test_a_run_stopped_and_gone_on_with_ends_with_the_same_bits(
    task: str, run_of: Callable[..., RunConfig], undisturbed: Callable[[str], Path], tmp_path: Path
) -> None:
    asked_for = iter(range(100))
    with pytest.raises(TrainingInterrupted):
        train(run_of(task), tmp_path, stop=lambda: next(asked_for) > 1, console=quiet())
    train(run_of(task), tmp_path, console=quiet())
    assert bits(tmp_path) == bits(undisturbed(task))
    assert validations(tmp_path) == validations(undisturbed(task))


@pytest.mark.parametrize("task", ["language-model", "classify"])
def test_a_process_killed_in_the_middle_ends_with_the_same_bits(
    task: str, run_of: Callable[..., RunConfig], undisturbed: Callable[[str], Path], tmp_path: Path
) -> None:
    """Once as soon as a checkpoint is begun, and once in the steps after it: each is slow enough to be caught."""
    (tmp_path / "run.toml").write_text(to_toml(run_of(task)), "utf-8")
    directory = tmp_path / "run"
    asked = [sys.executable, "-c", TRAIN_IN_A_PROCESS, str(tmp_path / "run.toml"), str(directory), "0.3"]
    log = directory / "metrics.jsonl"
    moments: list[Callable[[], bool]] = [
        lambda: any(directory.glob("checkpoints/step-*")),
        lambda: '"kind": "train", "step": 4,' in log.read_text("utf-8"),
    ]
    for has_come in moments:
        process = subprocess.Popen(asked)
        while process.poll() is None and not has_come():
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    train(run_of(task), directory, console=quiet())
    assert bits(directory) == bits(undisturbed(task))


@pytest.mark.full
@pytest.mark.parametrize("task", list(MODELS))
def test_two_replicas_train_as_one_device(task: str, run_of: Callable[..., RunConfig], tmp_path: Path) -> None:
    """Some batches are of one row, of which the second replica has none. An embedder takes one device alone."""
    training = {"batch_tokens": 256 if task == "embed" else 60, "log_every": 1, "streams": 1}
    said = assert_two_replicas_train_as_one_device(with_training(run_of(task), **training), tmp_path)
    assert ("trained on one of 2 CPUs" in said) == (task == "embed")
    assert ("2 replicas in 1 process" in said) == (task != "embed")


@pytest.mark.full
@pytest.mark.parametrize("task", list(MODELS))
def test_tensorflow_has_an_operation_that_is_deterministic_for_all_that_a_task_needs(
    task: str, run_of: Callable[..., RunConfig], undisturbed: Callable[[str], Path], tmp_path: Path
) -> None:
    """It refuses others by an error; a processor's give these bits anyway."""
    run = with_training(run_of(task), deterministic=True)
    (tmp_path / "run.toml").write_text(to_toml(run), "utf-8")
    asked = [sys.executable, "-c", TRAIN_IN_A_PROCESS, str(tmp_path / "run.toml"), str(tmp_path / "run"), "0"]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert bits(tmp_path / "run") == bits(undisturbed(task))


def test_the_loss_of_packed_documents_is_that_of_each_document_alone(undisturbed: Callable[[str], Path]) -> None:
    directory = undisturbed("language-model")
    shards = PreparedData.open(directory / "data").split("validation")
    model = load_model(directory / "checkpoints" / f"step-{STEPS:08d}")
    nats = count = size = 0.0
    for row in range(len(shards)):
        (ids,) = shards.row(row)
        assert len(ids) <= 48, "in this corpus no document is longer than a window"
        logits = np.asarray(model({"input_ids": ids[None]}).logits, np.float64)[0, :-1]
        chosen = logits[np.arange(len(ids) - 1), ids[1:]]
        nats += float((np.log(np.exp(logits).sum(1)) - chosen).sum())
        count += len(ids) - 1
        size += len(shards.text(row)[0].encode())
    last = validations(directory)[-1]
    assert last["loss"] == pytest.approx(nats / count, rel=1e-5)
    assert last["bits_per_byte"] == pytest.approx(nats / log(2) / size, rel=1e-5)


def test_a_classifier_knows_its_labels_by_name(undisturbed: Callable[[str], Path]) -> None:
    classifier = load(undisturbed("classify"))
    assert sorted(entry.label for entry in classifier("Anna lives in Rome .").scores) == ["city", "elsewhere"]


def test_a_trained_summariser_is_loaded_as_one_and_cuts_where_training_did(
    undisturbed: Callable[[str], Path], capsys: Any
) -> None:
    directory = undisturbed("summarise")
    summariser = load(directory)
    assert type(summariser).__name__ == "Summariser"
    long = "Anna lives in Rome . " * 30
    assert summariser(long, long="cut").cut > 0
    assert main(["summarise", str(directory), "--long", "cut", "--json", long]) == 0
    assert json.loads(capsys.readouterr().out)["cut"] == summariser(long, long="cut").cut


def test_a_trained_embedder_is_a_sentence_transformers_directory_that_gives_vectors_of_length_one(
    undisturbed: Callable[[str], Path], capsys: Any
) -> None:
    directory = undisturbed("embed")
    for place in (directory / "model", *sorted((directory / "checkpoints").glob("step-*"))):
        modules = json.loads((place / "modules.json").read_text())
        assert [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling", "Normalize"]
        assert all((place / module["path"]).is_dir() for module in modules)
    embedder = load(directory)
    vectors = embedder.vectors(["where", "Anna lives in Rome ."])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    plain = load_model(directory / "model")({"input_ids": [embedder.tokenizer.encode_text("where").ids]})
    mean = np.asarray(plain.last_hidden_state)[0].mean(0)
    np.testing.assert_allclose(vectors[0], mean / np.linalg.norm(mean), rtol=1e-4)
    assert main(["embed", str(directory), "--json", "where"]) == 0
    np.testing.assert_allclose(json.loads(capsys.readouterr().out)["embedding"], vectors[0], atol=1e-6)


def test_the_recall_in_the_log_is_that_of_the_vectors_that_the_task_gives(undisturbed: Callable[[str], Path]) -> None:
    directory = undisturbed("embed")
    shards = PreparedData.open(directory / "data").split("validation")
    records = [shards.text(row) for row in range(len(shards))]
    embedder = load(directory / "checkpoints" / f"step-{STEPS:08d}")
    positives = list(dict.fromkeys(positive for _, positive in records))
    near = embedder.vectors([text for text, _ in records]) @ embedder.vectors(positives).T
    own = near[np.arange(len(records)), [positives.index(positive) for _, positive in records]]
    recall = np.mean((near >= own[:, None]).sum(1) <= 10)
    assert validations(directory)[-1]["recall10"] == pytest.approx(recall)


def test_a_model_of_text_for_text_writes_as_the_generating_task_does(undisturbed: Callable[[str], Path]) -> None:
    written = load(undisturbed("text-to-text"))
    assert type(written).__name__ == "TextGenerator"
    assert written("where? Anna lives in Rome .").text is not None


def test_the_rows_of_a_long_source_are_cut_for_a_summary_and_dropped_for_other_texts(
    run_of: Callable[..., RunConfig], undisturbed: Callable[[str], Path], tmp_path: Path
) -> None:
    line = {"source": "Anna lives in Rome . " * 30, "target": "Anna lives"}
    (tmp_path / "long.jsonl").write_text(json.dumps(line) + "\n" + json.dumps({**line, "source": "Anna"}) + "\n")
    data = {split: [{"jsonl": str(tmp_path / "long.jsonl")}] for split in ("train", "validation")}
    longest = {}
    for task in ("summarise", "text-to-text"):
        run = run_of(task, data={**data, "workers": 1, "max_tokens": 48})
        prepared = prepare(run, tmp_path / task)
        longest[task] = prepared.split("train").lengths[:, 0].max()
        what = "changed" if task == "summarise" else "dropped"
        assert sum(prepared.manifest["splits"]["train"][what]["counts"].values()) == 1
    assert longest["summarise"] == 48
    assert longest["text-to-text"] < 48


def test_a_classifier_goes_on_from_a_checkpoint_with_its_tokenizer_and_a_new_head(
    run_of: Callable[..., RunConfig], undisturbed: Callable[[str], Path], tmp_path: Path
) -> None:
    start = undisturbed("masked-language-model")
    tuned = run_of("classify", model={"from": str(start)}, tokenizer={}, training={"steps": 1, "validate_every": 1})
    frozen = tuned.training.model_copy(update={"schedule": tuned.training.schedule.model_copy(update={"scale": 1e-30})})
    train(tuned.model_copy(update={"training": frozen}), tmp_path / "run", console=quiet())
    began = {variable.path: variable.numpy() for variable in load_model(start / "model").variables}
    ended = load_model(tmp_path / "run" / "model")
    body = [variable for variable in ended.variables if variable.path.startswith("encoder/")]
    assert len(body) > 10
    for variable in body:
        np.testing.assert_allclose(variable.numpy(), began[variable.path], atol=1e-7)
    assert (ended.spec.output.kind, ended.spec.output.labels) == ("sequence_class", 2)
    tokenizers = [directory / "model" / "tokenizer.json" for directory in (start, tmp_path / "run")]
    assert tokenizers[0].read_bytes() == tokenizers[1].read_bytes()


def test_a_run_from_a_checkpoint_goes_on_without_that_checkpoint(
    run_of: Callable[..., RunConfig], undisturbed: Callable[[str], Path], tmp_path: Path
) -> None:
    start = tmp_path / "start"
    (undisturbed("masked-language-model") / "model").rename(start)
    try:
        run = run_of("classify", model={"from": str(start)}, tokenizer={})
        train(run, tmp_path / "whole", console=quiet())
        asked_for = iter(range(100))
        with pytest.raises(TrainingInterrupted):
            train(run, tmp_path / "parts", stop=lambda: next(asked_for) > 1, console=quiet())
    finally:
        start.rename(undisturbed("masked-language-model") / "model")
    train(run, tmp_path / "parts", console=quiet())
    assert bits(tmp_path / "parts") == bits(tmp_path / "whole")


def test_the_commands_prepare_and_train_every_task(
    run_of: Callable[..., RunConfig], undisturbed: Callable[[str], Path], tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "run.toml").write_text(to_toml(run_of("language-model")), "utf-8")
    prepare_run(tmp_path / "run.toml", tmp_path / "run", ["data.max_tokens=40"])
    assert capsys.readouterr().out == f"{tmp_path / 'run' / 'data'}: ready, 90 documents to train on\n"
    train_run(undisturbed("tag"), None, ())
    assert capsys.readouterr().out == f"{undisturbed('tag') / 'model'}\n"


@pytest.mark.parametrize(
    ("task", "model", "words"),
    [
        ("language-model", ENCODER, "preset = 'bert-tiny' is an encoder .* language-model needs a decoder of texts"),
        ("masked-language-model", MODELS["language-model"], "'gpt2-tiny' is a decoder .* needs an encoder of texts"),
        ("answer", {"preset": "gpt2-tiny"}, "'gpt2-tiny' is a decoder .* needs an encoder of texts with a span head"),
        ("classify", {"preset": "base"}, "preset = 'base' is an encoder-decoder .* needs an encoder or decoder"),
        ("language-model", {"preset": "gpt2-smal"}, "did you mean gpt2-small"),
        (
            "language-model",
            {**MODELS["language-model"], "norm_order": "pre"},
            "model.norm_order is no key of gpt2-tiny",
        ),
        ("language-model", {**MODELS["language-model"], "max_positions": 32}, "data.max_tokens must be at most"),
    ],
)
def test_a_network_that_does_not_suit_the_task_is_refused_by_name(
    task: str, model: dict[str, Any], words: str, run_of: Callable[..., RunConfig], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        train(run_of(task, model=model), tmp_path, console=quiet())


EVALUATED = {  # metrics.jsonl's name -> the evaluation's
    "language-model": {"loss": "loss", "perplexity": "perplexity", "bits_per_byte": "bits_per_byte"},
    "masked-language-model": {"loss": "loss", "perplexity": "perplexity", "accuracy": "token_accuracy"},
    "classify": {"accuracy": "accuracy", "f1": "macro_f1"},
    "tag": {"accuracy": "accuracy", "f1": "entity_f1"},
    "answer": {"exact_match": "exact_match", "f1": "f1"},
    "embed": {"recall10": "recall10"},
}
USED = {  # a command of each task, and what stands in its answer; of other tasks other tests run it on a trained run
    "summarise": (["summarise", "RUN", "Anna lives in Rome ."], r".*\n"),
    "text-to-text": (["generate", "RUN", "where? Anna lives in Rome ."], r".*\n"),
    "language-model": (["generate", "RUN", "Anna lives", "--max-new-tokens", "4"], r".*\n"),
    "masked-language-model": (
        ["fill-mask", "RUN", "Anna lives in <mask> ."],
        r"(1\t1\t0\.\d+\t.*\tAnna lives in .* \.\n){5}",
    ),
    "classify": (["classify", "RUN", "Anna lives in Rome ."], r"(city|elsewhere)\t[01]\.\d+\n"),
    "tag": (["tag", "RUN", "Anna lives in Rome ."], r"(.*\n)*"),
    "answer": (["answer", "RUN", "where?", "--context", "Anna lives in Rome ."], r".*\n"),
    "embed": (["embed", "RUN", "Anna lives in Rome ."], r"-?\d.*\n"),
}


@pytest.mark.parametrize("task", list(USED))
def test_what_was_trained_is_used_from_the_command_line(
    task: str, undisturbed: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    command, answer = USED[task]
    assert main([str(undisturbed(task)) if each == "RUN" else each for each in command]) == 0
    said = capsys.readouterr().out
    assert re.fullmatch(answer, said), said


@pytest.mark.parametrize("task", list(EVALUATED))
def test_an_evaluation_of_the_validation_split_finds_what_training_logged(
    task: str, undisturbed: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = undisturbed(task)
    assert main(["evaluate", str(run), "--split", "validation", "--json"]) == 0
    *groups, group = json.loads(capsys.readouterr().out)["groups"]
    assert [own["name"] for own in groups] == (["city", "others"] if task == "answer" else [])
    assert sum(own["examples"] for own in groups) in (0, group["examples"])
    for own in groups:
        low, high = own["scores"]["f1"]["interval"]
        assert low <= own["scores"]["f1"]["value"] <= high
    logged = validations(run)[-1]
    for theirs, ours in EVALUATED[task].items():
        scored = group["scores"][ours]
        assert scored["value"] == pytest.approx(logged[theirs], rel=1e-4)
        assert scored["interval"][0] <= scored["value"] <= scored["interval"][1]
    assert main(["evaluate", "--compare", str(run), str(run), "--split", "validation"]) == 0
    assert "1.000" in capsys.readouterr().out  # p: a model does not differ from itself


def test_the_page_of_texts_for_texts_shows_where_the_decoder_looked(
    undisturbed: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = undisturbed("text-to-text")
    assert main(["evaluate", str(run), "--split", "validation", "--json"]) == 0
    page, writer = (run / "report.html").read_text("utf-8"), load(run)
    found = [json.loads(text) for text in re.findall(r'json">({"source".*?)</script>', page)]
    lines = (run / "evaluation-validation.jsonl").read_text("utf-8").splitlines()
    sources = [json.loads(line)["inputs"]["source"] for line in lines]
    read = [[visible(token) for token in writer.tokenizer.tokens(writer.tokenizer.encode_text(s).ids)] for s in sources]
    assert len(found) == 3
    assert all(one["source"] in read for one in found)


def test_the_page_of_answers_shows_question_and_context_looking_at_each_other(
    undisturbed: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = undisturbed("answer")
    assert main(["evaluate", str(run), "--split", "validation", "--json"]) == 0
    page, answerer = (run / "report.html").read_text("utf-8"), load(run)
    assert "<h2>Self-attention</h2>" in page
    found = [json.loads(text) for text in re.findall(r'json">({"source".*?)</script>', page)]
    lines = (run / "evaluation-validation.jsonl").read_text("utf-8").splitlines()
    asked = [json.loads(line)["inputs"] for line in lines]
    pairs = [answerer.tokenizer.encode_pair(one["question"], one["context"]).ids for one in asked]
    known = [list(map(visible, answerer.tokenizer.tokens(ids))) for ids in pairs if len(ids) <= 60]
    assert len(found) == 3
    assert all(one["source"] in known and one["source"] == one["target"] for one in found)
    assert re.search(r'<h3 dir="auto">where\? \w', page), "question and context are apart in the title"


@pytest.mark.parametrize("task", ["classify", "tag", "language-model", "masked-language-model"])
def test_the_page_of_texts_that_are_read_shows_which_token_looked_at_which(
    undisturbed: Callable[[str], Path], capsys: pytest.CaptureFixture[str], task: str
) -> None:
    run = undisturbed(task)
    assert main(["evaluate", str(run), "--split", "validation", "--json"]) == 0
    page, read = (run / "report.html").read_text("utf-8"), load(run)
    assert "<h2>Self-attention</h2>" in page
    found = [json.loads(text) for text in re.findall(r'json">({"source".*?)</script>', page)]
    lines = (run / "evaluation-validation.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["inputs"]["text"] for line in lines]
    eos = read.tokenizer.eos_id
    known = [
        [eos, *read.tokenizer.encode_plain(text)] if task == "language-model" else read.tokenizer.encode_text(text).ids
        for text in texts
    ]
    ids_of = {tuple(map(visible, read.tokenizer.tokens(ids[:60]))): ids[:60] for ids in known}
    assert len(found) == 3
    for one in found:
        assert one["source"] == one["target"], "each token is a row and a column"
        ids = ids_of[tuple(one["source"])]
        batch = {"input_ids": np.array([ids], np.int32), "attention_mask": np.ones((1, len(ids)), np.int32)}
        weights = np.asarray(read.engine(batch, return_attention=True).attentions[0])[0]
        shown = np.array(one["weights"][0]).reshape(3, len(ids), len(ids)) / one["per"]  # the mean, and two heads
        assert np.abs(shown[1:] - weights).max() <= 0.5 / one["per"] + 1e-6
        handed_on = (weights.mean(0) + np.eye(len(ids))) / 2  # of one layer
        assert np.abs(np.array(one["weights"][1][0]) / one["per"] - handed_on.ravel()).max() < 1e-3
    if task == "language-model":
        assert all(
            np.triu(np.array(one["weights"][0][0]).reshape(len(one["source"]), -1), 1).max() == 0 for one in found
        )
