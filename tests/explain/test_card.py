"""The card says what the run recorded, in a form that others read."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from regard.config import RunConfig, TaskName, parse_run
from regard.config.tasks import IMAGE_TASKS, SOUND_TASKS
from regard.corpora import BUILDERS
from regard.data.objectives.images import square
from regard.data.objectives.transcribe import hearing
from regard.explain.card import USES, card
from regard.explain.run_facts import RunFacts
from regard.explain.run_page import headline
from regard.explain.words import words_of
from regard.models.catalog import spec
from regard.tasks.judging.catalog import EVALUATIONS
from regard.tasks.judging.records import EvaluationRecord


def evaluation(**scores):
    shown = {
        name: {"value": value, "interval": (value - 0.06, value + 0.06), "examples": 40}
        for name, value in scores.items()
    }
    groups = [
        {"name": name, "examples": 40, "unfinished": 3, "scores": shown, "languages": languages}
        for name, languages in (("en → de", ("en", "de")), ("de → en", ("de", "en")))
    ]
    return EvaluationRecord(
        task="translate",
        split="test",
        model="m",
        examples="e",
        data="d",
        tokenizer="t",
        settings={},
        groups=groups,
        signatures={"chrf": "nrefs:1"},
        pooled=False,
        seconds=1.0,
    )


def run_of(**values) -> RunConfig:
    data = {"train": [{"tsv": "t.tsv"}]}
    return parse_run({"data": data, "model": {"preset": "tiny"}, "training": {"steps": 5}, **values})


def facts(**changes) -> RunFacts:
    made = RunFacts(
        run=run_of(),
        spec=spec("tiny", vocab_size=300, pad_id=299, eos_id=0),
        parameters=1234567,
        dtype="mixed_bfloat16",
        step=5000,
        tokens=1000000,
        seconds=90.0,
        reason="5 steps are done",
        examples={"train": 1000, "test": 80},
        dropped={"train": {"a source line without a text": 2}},
        notes=("demo: Unicode CLDR, Unicode-3.0",),
        data_hash="abc",
        versions={"regard": "1.2.3"},
        scores={},
        evaluations={"test": evaluation(bleu=34.9, exact_match=0.251)},
    )
    return made._replace(**changes)


def test_a_page_opens_with_the_largest_groups():
    record = evaluation(bleu=34.9)
    small, large = record.groups
    groups = [small, *({**large, "name": f"part {count}", "examples": count} for count in (50, 70, 60))]
    found = headline(facts(), replace(record, groups=groups))
    assert list(found) == ["BLEU, part 70", "BLEU, part 60", "BLEU, part 50", "minutes of training"]


def test_the_card_has_the_scores_with_intervals_the_data_and_the_limits():
    text = card(facts(), "my-run")
    assert "| test | en → de | BLEU | 34.90 | 34.8 – 35.0 | 40 |" in text
    assert "| test | de → en | exact match | 25.10 % | 19.1 – 31.1 | 40 |" in text
    assert "1,234,567 parameters, trained with Regard 1.2.3 from scratch" in text
    assert "- train: 1,000 rows\n  - left out, a source line without a text: 2\n- test: 80 rows\n" in text
    assert "5,000 steps, 1,000,000 tokens, 1.5 minutes" in text
    assert "demo: Unicode CLDR, Unicode-3.0" in text
    assert "6 outputs on the test split were cut" in text
    assert 'language:\n- "de"\n- "en"\n' in text


@pytest.mark.parametrize("name", BUILDERS)
def test_a_builder_says_what_its_data_leave_out(name):
    task = BUILDERS[name].tasks[0]
    measures = {"image_size": 64} if task in IMAGE_TASKS else {"audio_seconds": 4} if task in SOUND_TASKS else {}
    run = parse_run({"task": task, "data": {"builder": name, **measures}, "training": {"steps": 5}})
    assert f"\n- {BUILDERS[name].limits}\n" in card(facts(run=run), "m")


def test_the_front_is_one_block_of_yaml_whose_texts_json_reads():
    name = 'a "name": x'
    front = card(facts(), name).split("---\n")[1]
    assert f"- name: {json.dumps(name)}\n" in front
    assert front.count("    - type: ") == 4
    assert "value: 34.9\n" in front
    assert "pipeline_tag: translation" in front


def test_what_was_not_recorded_is_not_claimed():
    text = card(facts(evaluations={}, seconds=None, notes=(), versions={}, dtype=None, reason=None), "r")
    assert "It has not been scored" in text
    assert "minutes" not in text
    assert "model-index" not in text
    assert "license:" not in text


@pytest.mark.parametrize(("start", "claimed"), [("owner/name", True), ("minilm", False)])
def test_only_a_hubs_name_is_a_base_model(start, claimed):
    text = card(facts(run=run_of(model={"from": start})), "r")
    assert (f'base_model: "{start}"' in text) == claimed
    assert f"from {start}." in text


def test_every_task_of_a_run_file_has_its_words():
    assert set(TaskName.__args__) <= USES.keys()
    assert set(EVALUATIONS) <= USES.keys()


def test_a_captioner_of_several_languages_is_told_one_in_the_card():
    data = {"train": [{"jsonl": "t.jsonl"}], "image_size": 64, "language_tags": True}
    run = parse_run({"task": "caption", "data": data, "training": {"steps": 5}})
    told = card(facts(run=run), "m")
    assert "regard caption . image.png --language de\n" in told
    assert 'task("image.png", language="de").text' in told
    assert "--language CODE" in card(facts(run=run, evaluations={}), "m")


def test_a_translator_of_several_languages_is_told_one_that_it_writes_in():
    data = {"train": [{"tsv": "t.tsv"}], "language_tags": True}
    told = card(facts(run=parse_run({"data": data, "training": {"steps": 5}})), "m")
    assert 'regard translate . "A text." --target-lang de\n' in told
    assert 'task("A text.", target_lang="de").text' in told
    assert "--target-lang" not in card(facts(), "m")  # of one direction


def test_images_are_counted_as_such_and_what_is_seen_and_heard_at_once_is_a_limit():
    of_images = {"task": "classify-image", "data": {"train": [{"jsonl": "t"}], "image_size": 32}, "model": {}}
    sees = {"evaluations": {}, "processor": square(32)}
    text = card(facts(run=parse_run({**of_images, "training": {"steps": 5}}), **sees), "m")
    assert "5,000 steps, 1,000,000 images" in text
    assert "It sees images as 32 x 32 pixels" in text
    assert "library_name: transformers" in text
    of_sounds = {"task": "transcribe-ctc", "data": {"train": [{"jsonl": "t"}], "audio_seconds": 2}, "model": {}}
    hears = {"evaluations": {}, "processor": hearing(2)}
    text = card(facts(run=parse_run({**of_sounds, "training": {"steps": 5}}), **hears), "m")
    assert "It hears 2 s at a time" in text
    assert "library_name: regard" in text
    assert "With Transformers" not in text


def test_the_template_is_part_of_the_package():
    import regard.explain

    assert (Path(regard.explain.__file__).parent / "templates" / "card.md").is_file()


def test_the_threshold_of_no_answer_stands_beside_the_scores_that_hang_on_it():
    jsonl = {"train": [{"jsonl": "d.jsonl"}]}
    run = run_of(task="answer", data=jsonl, model={"preset": "bert-tiny"})
    scored = evaluation(f1=0.5)
    assert "no answer" not in card(facts(run=run, evaluations={"test": scored}), "m")
    scored = replace(scored, task="answer", settings={"no_answer_threshold": -1.234})
    text = card(facts(run=run, evaluations={"test": scored}), "m")
    assert "On the test split there is no answer where that is rated more than -1.23 nats above the best one" in text
    assert "(--no-answer-threshold -1.23)" in text


WAYS = {
    "translate": ("AutoTokenizer", '">>de<< A text."', "tokenizer.decode(model.generate(**inputs)[0]"),
    "caption": (
        "AutoImageProcessor, AutoTokenizer",
        '">>de<<"',
        "tokenizer.decode(model.generate(**inputs, **told)[0]",
    ),
    "classify-image": ("AutoImageProcessor\n", "Image.open", "model(**inputs).logits"),
    "transcribe": ("AutoProcessor\n", "sampling_rate=rate", "processor.batch_decode(model.generate(**inputs)"),
    "answer": ("AutoTokenizer", '"A question?", "A text."', "model(**inputs).start_logits"),
}


@pytest.mark.parametrize("task", list(USES))
def test_the_code_for_transformers_goes_from_import_to_result(task):
    data = {"translate": {"tsv": "t"}, "language-model": {"text": "t"}}.get(task, {"jsonl": "t"})
    others = {
        "translate": {"language_tags": True},
        "caption": {"language_tags": True, "image_size": 32},
        "classify-image": {"image_size": 32},
    }
    if task.startswith("transcribe"):
        others[task] = {"audio_seconds": 2}
    values = {"model": {}} if task not in ("translate", "summarise", "text-to-text") else {}
    run = run_of(task=task, data={"train": [data], **others.get(task, {})}, **values)
    groups = [{"name": "all", "languages": (None, "de"), "scores": {}, "examples": 1, "unfinished": 0}]
    text = card(facts(run=run, evaluations={"test": replace(evaluation(), groups=groups)}), "m")
    code = [block.split("```")[0] for block in text.split("```python\n") if "from transformers" in block]
    assert len(code) == (USES[task].auto is not None)
    for block in code:
        compile(block, "card", "exec")
        assert all(part in block for part in (f"{USES[task].auto}.from_pretrained", *WAYS.get(task, ())))


def test_a_mask_is_spelled_as_the_tokenizer_has_it():
    run = run_of(task="masked-language-model", data={"train": [{"text": "t.txt"}]}, model={"preset": "bert-tiny"})
    assert 'regard fill-mask . "A <mask>."' in card(facts(run=run, mask="<mask>"), "m")


@pytest.mark.parametrize(
    ("problem", "noun", "python"),
    [
        ("single_label", "A text classifier", ".label)"),
        ("multi_label", "A text classifier", ".scores)"),
        ("regression", "An estimator of numbers", ".score)"),
    ],
)
def test_what_a_classifier_is_called_and_gives_is_that_of_its_problem(problem, noun, python):
    values = {"data": {"train": [{"jsonl": "d.jsonl"}]}, "model": {"preset": "bert-tiny"}}
    run = run_of(task="classify", objective={"problem": problem}, **values)
    text = card(facts(run=run), "m")
    assert f"\n{noun}: " in text
    assert f'print(task("A text."){python}' in text
    words = words_of(run)
    assert ("squared" in words.loss, "Pearson" in words.scores) == (problem == "regression",) * 2
