from pathlib import Path
from typing import Any

import pytest

from regard.config import RunConfig, parse_run
from regard.errors import CheckpointError, ConfigError
from regard.training.resume import CHANGEABLE, refuse_another_run, refuse_other_data

BASE: dict[str, Any] = {
    "data": {"train": [{"tsv": "a.tsv"}]},
    "training": {"steps": 10, "schedule": {"name": "cosine", "peak": 0.1, "warmup_steps": 2}},
}


def run(**changes: Any) -> RunConfig:
    values = {**BASE, "training": dict(BASE["training"])}
    for path, value in changes.items():
        section, _, key = path.partition("__")
        if key:
            values[section] = {**values.get(section, {}), key: value}
        else:
            values[section] = value
    return parse_run(values)


def saved() -> dict[str, Any]:
    return run().model_dump(mode="json")


def test_the_same_run_goes_on() -> None:
    assert refuse_another_run(saved(), run(), Path("c")) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"training__minutes": 3.0},
        {"training__log_every": 7},
        {"training__save_every": 3},
        {"training__patience": 2},
        {"training__keep_last": 9},
        {"training__average": "best"},
        {"decoding": {"num_beams": 1}},
        {"data__workers": 2},
    ],
)
def test_budgets_reports_and_keeping_may_change(changes: dict[str, Any]) -> None:
    assert refuse_another_run(saved(), run(**changes), Path("c")) is None


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("seed", {"seed": 1}),
        ("data.train", {"data__train": [{"tsv": "b.tsv"}]}),
        ("data.max_tokens", {"data__max_tokens": 64}),
        ("tokenizer.vocab_size", {"tokenizer": {"vocab_size": 300}}),
        ("model.width", {"model": {"width": 64}}),
        ("training.optimizer.beta_2", {"training__optimizer": {"beta_2": 0.9}}),
        ("training.label_smoothing", {"training__label_smoothing": 0.2}),
        ("training.clip_norm", {"training__clip_norm": 2.0}),
        ("training.batch_tokens", {"training__batch_tokens": 512}),
        ("training.best", {"training__best": "bleu"}),
    ],
)
def test_what_a_step_computes_from_may_not_change_and_is_named(key: str, changes: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigError, match=rf"^{key.replace('.', '[.]')} cannot change .* for checkpoints/step-1, but is"
    ):
        refuse_another_run(saved(), run(**changes), Path("checkpoints/step-1"))


def test_more_steps_are_refused_where_the_schedule_ends_at_the_last_one() -> None:
    with pytest.raises(ConfigError, match=r"training\.steps cannot change"):
        refuse_another_run(saved(), run(training__steps=20), Path("c"))


def test_so_are_more_epochs() -> None:
    linear = {"name": "linear", "peak": 0.1, "warmup_steps": 2}
    before = run(training={"epochs": 2, "schedule": linear}).model_dump(mode="json")
    with pytest.raises(ConfigError, match=r"training\.epochs cannot change"):
        refuse_another_run(before, run(training={"epochs": 3, "schedule": linear}), Path("c"))


@pytest.mark.parametrize(
    ("step", "steps", "fine"), [(70, 200, True), (71, 200, False), (50, 80, True), (51, 80, False)]
)
def test_a_plateau_may_become_longer_or_shorter_until_the_rate_falls(step: int, steps: int, fine: bool) -> None:
    wsd = {"name": "wsd", "peak": 0.1, "warmup_steps": 2, "decay_steps": 30}
    before = run(training={"steps": 100, "schedule": wsd}).model_dump(mode="json")
    now = run(training={"steps": steps, "schedule": wsd})
    if fine:
        refuse_another_run(before, now, Path("c"), step)
    else:
        with pytest.raises(ConfigError, match=r"training\.steps cannot change"):
            refuse_another_run(before, now, Path("c"), step)


def test_more_steps_are_fine_where_the_schedule_does_not_know_the_last_one() -> None:
    schedule = {"name": "constant", "peak": 0.1}
    before = run(training__schedule=schedule)
    longer = run(training__schedule=schedule, training__steps=20)
    assert refuse_another_run(before.model_dump(mode="json"), longer, Path("c")) is None


def test_how_texts_are_searched_for_may_not_change_where_the_best_is_told_by_them() -> None:
    before = run(training__best="bleu")
    with pytest.raises(ConfigError, match=r"decoding\.num_beams cannot change .*: it was 4 for c, but is 1;"):
        refuse_another_run(
            before.model_dump(mode="json"), run(training__best="bleu", decoding={"num_beams": 1}), Path("c")
        )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training__optimizer": {"name": "lion"}}, 'training.optimizer.name cannot change .* was "adam" .* is "lion"'),
        ({"task": "summarise"}, 'task cannot change .* was "translate" for c, but is "summarise"'),
        (
            {"data__train": [{"tsv": "b.tsv"}]},
            r'was \[{ tsv = "a.tsv", weight = 1.0 }\] for c, but is \[{ tsv = "b.tsv", ',
        ),
        ({"training__ema": 0.9}, r"training\.ema cannot change .* it was not set for c, but is 0\.9;"),
    ],
)
def test_the_key_that_was_changed_is_named_and_its_values_are_those_of_a_run_file(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        refuse_another_run(saved(), run(**changes), Path("c"))


def test_every_key_that_may_change_is_a_key_of_the_run_file() -> None:
    for path in CHANGEABLE:
        section, key = path.split(".")
        assert key in getattr(run(), section).__class__.model_fields


def test_other_data_are_refused() -> None:
    refuse_other_data("abc", "abc", Path("c"))
    with pytest.raises(CheckpointError, match="was trained on other data"):
        refuse_other_data("abc", "abd", Path("c"))


def test_a_key_that_the_checkpoint_s_version_did_not_know_was_at_its_default() -> None:
    before = saved()
    del before["training"]["label_smoothing"]
    refuse_another_run(before, run(), Path("c"))
    with pytest.raises(ConfigError, match=r"training\.label_smoothing cannot change .*: it was 0\.1"):
        refuse_another_run(before, run(training__label_smoothing=0.2), Path("c"))
