"""A language model learns to write a text for a text, behind a prompt, and is used as what has learned that."""

import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regard.cli import main
from regard.config import RunConfig, parse_run, to_toml
from regard.data.objectives.catalog import objective_of
from regard.data.objectives.objective import Batching
from regard.data.prepare import prepare
from regard.data.shards import PreparedData
from regard.errors import CheckpointError, ConfigError, InputError, TrainingInterrupted
from regard.features.asking import asked
from regard.features.tokenizer import Tokenizer
from regard.interop.checkpoints import load_model
from regard.tasks.loading import load
from regard.training.assembly import train_step
from regard.training.trainer import train

sys.path.append(str(Path(__file__).parent))

from whole_runs import bits, quiet, validations

WORDS = "red green blue cat dog bird house tree river stone".split()
PROMPT = "Text: {source}\nShort:"
MODEL = {"preset": "gpt2-tiny", "width": 64, "max_positions": 64, "dropout": 0.0, "attention_dropout": 0.0}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a text begins and ends with."""
    directory, rng = tmp_path_factory.mktemp("corpora"), random.Random(1)
    for split, count in (("train", 2000), ("validation", 30), ("test", 30)):
        texts = [rng.choices(WORDS, k=rng.randint(3, 6)) for _ in range(count)]
        records = [{"source": " ".join(words), "target": f"{words[0]} {words[-1]}"} for words in texts]
        (directory / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), "utf-8")
    return {split: [{"jsonl": str(directory / f"{split}.jsonl")}] for split in ("train", "validation", "test")}


@pytest.fixture(scope="module")
def run_of(corpora: dict[str, Any]) -> Callable[..., RunConfig]:
    def make(task: str = "summarise", steps: int = 150, **sections: Any) -> RunConfig:
        schedule = {"name": "cosine", "warmup_steps": 20, "peak": 5e-3}
        training = {"steps": steps, "batch_tokens": 1024, "validate_every": steps // 2, "score_examples": 30}
        values: dict[str, Any] = {
            "task": task,
            "seed": 1,
            "data": {**corpora, "workers": 1, "max_tokens": 32, "prompt": PROMPT},
            "tokenizer": {"vocab_size": 330},
            "model": MODEL,
            "training": {**training, "optimizer": {"name": "muon"}, "schedule": schedule, "dtype": "float32"},
            "decoding": {"num_beams": 2, "max_new_tokens": 8},
        }
        return parse_run(values | sections)

    return make


@pytest.fixture(scope="module")
def trained(run_of: Callable[..., RunConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("summaries")
    (directory / "run.toml").write_text(to_toml(run_of()), "utf-8")
    assert main(["train", str(directory / "run.toml"), "-o", str(directory / "run")]) == 0
    return directory / "run"


def test_it_learns_and_is_evaluated_and_used_as_any_summariser(trained: Path, capsys: Any) -> None:
    assert main(["evaluate", str(trained), "--json"]) == 0
    (group,) = json.loads(capsys.readouterr().out)["groups"]
    assert group["scores"]["rouge1"]["value"] > 0.9
    assert main(["summarise", str(trained), "cat dog bird tree", "stone river red"]) == 0
    assert capsys.readouterr().out == "cat tree\nstone red\n"
    report = (trained / "report.html").read_text("utf-8")
    assert "12 unselected summaries" in report
    assert "Head" in report.partition("Attention")[2]


def test_what_validation_logged_is_what_the_summariser_writes(trained: Path, capsys: Any) -> None:
    assert main(["evaluate", str(trained), "--split", "validation", "--json"]) == 0
    (group,) = json.loads(capsys.readouterr().out)["groups"]
    best = min(validations(trained), key=lambda record: record["loss"])
    for name in ("rouge1", "rouge2", "rouge_l"):
        assert group["scores"][name]["value"] == pytest.approx(best[name], abs=1e-6)


def test_the_loss_is_that_of_the_target_alone_behind_its_source(trained: Path) -> None:
    shards = PreparedData.open(trained / "data").split("validation")
    model, nats, count = load_model(max(trained.glob("checkpoints/step-*"))), 0.0, 0
    for row in range(len(shards)):
        source, target = (column.tolist() for column in shards.row(row))
        logits = np.asarray(model({"input_ids": np.array([source + target])}).logits, np.float64)[0]
        behind = logits[len(source) - 1 : -1]
        nats += float((np.log(np.exp(behind).sum(1)) - behind[np.arange(len(target)), target]).sum())
        count += len(target)
    assert validations(trained)[-1]["loss"] == pytest.approx(nats / count, rel=1e-4)


def test_rows_are_what_the_task_reads_and_end_with_eos(trained: Path) -> None:
    data, summariser = PreparedData.open(trained / "data"), load(trained)
    shards, tokenizer = data.split("validation"), data.tokenizer
    for row in range(5):
        text, answer = shards.text(row)[:2]
        source, target = (column.tolist() for column in shards.row(row))
        assert source == summariser.source_ids(text)
        assert tokenizer.decode(source) == f"Text: {text}\nShort:"
        assert target == [*tokenizer.encode_plain(answer), tokenizer.eos_id]


def test_batches_label_the_target_where_it_stands_and_nothing_else(trained: Path, run_of: Any) -> None:
    data, objective = PreparedData.open(trained / "data"), objective_of(run_of())
    shards = data.split("train")
    batches = objective.batches(shards, data.tokenizer, Batching(512, 0, True))
    seen = 0
    for rows, batch in zip(batches.rows(), batches.epoch(), strict=True):
        assert batch["input_ids"].size <= 512
        for place, row in enumerate(rows):
            source, target = (column.tolist() for column in shards.row(row))
            behind = batch["input_ids"].shape[1] - len(source) - len(target)
            assert batch["input_ids"][place, : len(source + target)].tolist() == source + target
            assert batch["attention_mask"][place].tolist() == [1] * len(source + target) + [0] * behind
            assert batch["labels"][place].tolist() == [-100] * len(source) + target + [-100] * behind
            seen += 1
    assert seen == len(shards)


def test_a_long_text_is_cut_where_there_is_room_for_what_is_written(trained: Path, capsys: Any) -> None:
    summariser, text = load(trained), "cat " * 80
    assert summariser.max_source_tokens == 64 - 8
    summary = summariser(text, long="cut")
    ids = summariser.source_ids(text)
    assert len(ids) <= 56
    assert summariser.tokenizer.decode(ids).endswith("cat\nShort:")
    assert summary.cut > 0
    assert main(["summarise", str(trained), text]) == 2
    assert "the model reads at most 56" in capsys.readouterr().err


def test_other_texts_go_on_from_it_and_no_interruption_changes_a_bit(
    trained: Path, run_of: Callable[..., RunConfig], tmp_path: Path, capsys: Any
) -> None:
    own = {"model": {"from": str(trained)}, "tokenizer": {}, "decoding": {"num_beams": 1, "max_new_tokens": 8}}
    run = run_of("text-to-text", 6, **own)
    train(run, tmp_path / "whole", console=quiet())
    asked_for = iter(range(100))
    with pytest.raises(TrainingInterrupted):
        train(run, tmp_path / "parts", stop=lambda: next(asked_for) > 1, console=quiet())
    train(run, tmp_path / "parts", console=quiet())
    assert bits(tmp_path / "parts") == bits(tmp_path / "whole")
    assert validations(tmp_path / "whole")[-1]["exact_match"] > 0.9
    generator = load(tmp_path / "whole")
    assert type(generator).__name__ == "TextGenerator"
    assert generator.source_ids("cat dog") == load(trained).source_ids("cat dog")
    for verb in ("generate", "chat"):
        assert main([verb, str(tmp_path / "whole"), "cat dog bird tree"]) == 0
        assert capsys.readouterr().out == "cat tree\n"


def test_room_is_kept_for_as_much_as_a_call_asks_to_be_written(trained: Path) -> None:
    summariser, text = load(trained), "cat " * 80
    assert summariser(text, long="cut", max_new_tokens=30).cut == summariser(text, long="cut").cut + 22
    assert summariser("cat " * 48, max_new_tokens=2).cut == 0, "which leave room for 62"
    with pytest.raises(InputError, match="max_new_tokens must be below 64"):
        summariser("cat", max_new_tokens=64)


def test_a_checkpoint_with_another_end_and_a_prefix_is_asked_as_it_was_trained(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "model", tmp_path / "odd")
    config = json.loads((tmp_path / "odd" / "config.json").read_text("utf-8"))
    config |= {"eos_token_id": 5, "prefix": "summarize: ", "task_specific_params": {"summarization": {"num_beams": 3}}}
    (tmp_path / "odd" / "config.json").write_text(json.dumps(config), "utf-8")
    odd = load(tmp_path / "odd")
    assert odd.source_ids("cat dog") == load(trained).source_ids("cat dog")
    assert odd("cat dog bird").text == load(trained)("cat dog bird").text


def test_what_is_learned_is_counted_and_the_head_is_asked_for_no_more(trained: Path, run_of: Any) -> None:
    data, run = PreparedData.open(trained / "data"), run_of()
    batches = objective_of(run).batches(data.split("train"), data.tokenizer, Batching(512, 0, True))
    batch = next(iter(batches.epoch()))
    tally = batches.tally(batch)
    assert tally.targets == (batch["labels"] != -100).sum() < tally.real == batch["attention_mask"].sum()
    assert train_step(run, load_model(trained / "model"), objective_of(run)).few_labels


def test_templates_that_stood_in_the_directory_ask_nothing(run_of: Any, corpora: Any, tmp_path: Path) -> None:
    (tmp_path / "data" / "chat_templates").mkdir(parents=True)
    (tmp_path / "data" / "chat_templates" / "default.jinja").write_text("another", "utf-8")
    tokenizer = prepare(run_of(), tmp_path / "data").tokenizer
    assert tokenizer.decode(asked(tokenizer, "cat").ids) == "Text: cat\nShort:"


def test_a_prompt_that_begins_a_text_itself_does_not_begin_it_twice(run_of: Any, tmp_path: Path) -> None:
    run = run_of()
    prompt = run.data.model_copy(update={"prompt": "</s>Text: {source}"})
    tokenizer = prepare(run.model_copy(update={"data": prompt}), tmp_path).tokenizer
    assert asked(tokenizer, "cat").ids[:2].count(tokenizer.bos_id) == 1


@pytest.mark.parametrize(("size", "preset"), [(None, "gpt2-small"), ("tiny", "gpt2-tiny"), ("base", "gpt2-small")])
def test_a_size_is_a_language_model_s(size: str | None, preset: str, run_of: Any) -> None:
    assert run_of(model={}, training={"steps": 1}, **({} if size is None else {"size": size})).model.preset == preset


def test_options_for_prompts_as_they_stand_are_refused(trained: Path, capsys: Any) -> None:
    generator = load(trained, task="generate")
    with pytest.raises(ConfigError, match="parse_special is for prompts as they stand"):
        generator("cat", parse_special=True)
    assert main(["generate", str(trained), "cat", "--keep-prompt"]) == 2
    assert "--keep-prompt is for a model that goes on from its prompt" in capsys.readouterr().err


def test_its_card_asks_transformers_by_the_chat_template(trained: Path) -> None:
    card = (trained / "model" / "README.md").read_text("utf-8")
    assert "pipeline_tag: text-generation" in card
    assert "AutoModelForCausalLM" in card
    assert "tokenizer.apply_chat_template(asked, **told)" in card
    template = Tokenizer.load(trained / "model").chat_templates["default"]
    assert template.startswith("{{ bos_token }}")


def test_a_longer_source_is_cut_for_a_summary_and_dropped_for_other_texts(run_of: Any, tmp_path: Path) -> None:
    records = [{"source": "cat dog " * 30, "target": "cat dog"}, {"source": "cat", "target": "cat cat"}]
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    corpus = [{"jsonl": str(tmp_path / "long.jsonl")}]
    data = {"train": corpus, "validation": corpus, "workers": 1, "max_tokens": 32, "prompt": PROMPT}
    for task, what, rows in (("summarise", "changed", 2), ("text-to-text", "dropped", 1)):
        prepared = prepare(run_of(task, data=data), tmp_path / task)
        shards = prepared.split("train")
        assert len(shards) == rows
        assert shards.lengths[:, 0].max() <= 32
        assert sum(prepared.manifest["splits"]["train"][what]["counts"].values()) == 1


@pytest.mark.parametrize(
    ("task", "changes", "words"),
    [
        ("summarise", {"model": {"preset": "tiny"}}, "'tiny' is an encoder-decoder .* summarise by data.prompt needs"),
        ("summarise", {"data": {"max_tokens": 32}}, "'gpt2-tiny' is a decoder .*; or set data.prompt"),
        ("summarise", {"data": {"max_tokens": 60, "prompt": PROMPT}}, r"max_tokens must be at most .*64\) less the 60"),
        ("summarise", {"data": {"max_tokens": 8, "prompt": PROMPT}}, "data.prompt has .* tokens, which must be fewer"),
        ("summarise", {"data": {"max_tokens": 32, "prompt": "Text:"}}, "data.prompt must have {source} in it once"),
        ("translate", {}, "data.prompt is for summarise, text-to-text, but task is 'translate'"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(
    task: str, changes: dict[str, Any], words: str, run_of: Any, corpora: dict[str, Any], tmp_path: Path
) -> None:
    if "data" in changes:
        changes = {**changes, "data": {**corpora, "workers": 1, **changes["data"]}}
    with pytest.raises(ConfigError, match=words):
        train(run_of(task, 4, **changes), tmp_path, console=quiet())


def test_a_language_model_that_has_not_learned_to_summarise_says_so(trained: Path, tmp_path: Path, capsys: Any) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in (trained / "model").iterdir():
        if file.name != "regard.json":
            (bare / file.name).write_bytes(file.read_bytes())
    config = json.loads((bare / "config.json").read_text("utf-8"))
    config["task_specific_params"] = {"summarization": {"num_beams": 2}}
    (bare / "config.json").write_text(json.dumps(config), "utf-8")
    assert type(load(bare)).__name__ == "TextGenerator"
    assert main(["inspect", str(bare)]) == 0
    assert "tasks: generate, chat, embed\n" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="has not learned to summarise: ask it to, with regard chat"):
        load(bare, task="summarise")
