import tomllib
from typing import Any

import pytest

from regard.config import OptimizerConfig, RunConfig, parse_run, to_toml
from regard.errors import ConfigError


def run(training: dict[str, Any] | None = None, **optimizer: Any) -> RunConfig:
    return parse_run(
        {"data": {"builder": "demo"}, "training": {"steps": 9, "optimizer": optimizer, **(training or {})}}
    )


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("adam", {"beta_1": 0.9, "beta_2": 0.98, "epsilon": 1e-9}),
        ("adamw", {"beta_1": 0.9, "beta_2": 0.98, "epsilon": 1e-9}),
        ("adafactor", {}),
        ("lion", {"beta_1": 0.9, "beta_2": 0.99}),
        ("muon", {"beta_1": 0.9, "beta_2": 0.98, "epsilon": 1e-9, "momentum": 0.95}),
        ("sgd", {"momentum": 0.9}),
    ],
)
def test_each_optimizer_has_its_own_settings_and_refuses_the_others(name: str, settings: dict[str, float]) -> None:
    assert OptimizerConfig.model_validate({"name": name}).settings() == settings
    for key in {"beta_1", "beta_2", "epsilon", "momentum"} - settings.keys():
        with pytest.raises(ConfigError, match=f"optimizer.{key} is for .*, but optimizer.name is '{name}'"):
            run(name=name, **{key: 0.5})
    for key in settings:
        assert OptimizerConfig.model_validate({"name": name, key: 0.5}).settings()[key] == 0.5


def test_the_resolved_run_reads_back_with_groups_freezing_and_averages() -> None:
    groups = [{"pattern": "decoder/*", "rate": 0.1}, {"pattern": "encoder/*", "freeze": True}]
    found = run({"freeze": ["head/*"], "ema": 0.99, "average": "ema"}, name="lion", layer_decay=0.8, groups=groups)
    assert parse_run(tomllib.loads(to_toml(found))) == found
    assert [group.pattern for group in found.training.optimizer.groups] == ["decoder/*", "encoder/*"]
    assert RunConfig.model_validate(found.model_dump(mode="json")) == found


@pytest.mark.parametrize(
    ("training", "optimizer", "words"),
    [
        ({}, {"groups": [{"pattern": "a"}]}, "groups.0: a group needs rate, weight_decay or freeze"),
        (
            {},
            {"groups": [{"pattern": "a", "rate": 1.0, "freeze": True}]},
            "a group that freezes its weights has no use",
        ),
        (
            {},
            {"groups": [{"pattern": "a", "rat": 1.0}]},
            "unknown key training.optimizer.groups.0.rat: did you mean rate",
        ),
        ({}, {"groups": [{"pattern": "a", "weight_decay": 0.1}]}, "optimizer.weight_decay is for adamw"),
        ({}, {"layer_decay": 1.5}, "training.optimizer.layer_decay: "),
        ({"average": "ema"}, {}, "training.average = 'ema' needs training.ema"),
        ({"ema": 1.0}, {}, "training.ema: "),
        (
            {"schedule": {"name": "wsd", "peak": 1.0, "warmup_steps": 5, "decay_steps": 5}},
            {},
            "schedule.warmup_steps + decay_steps must be at most training.steps, but is 10",
        ),
    ],
)
def test_updates_that_make_no_sense_are_refused(
    training: dict[str, Any], optimizer: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        run(training, **optimizer)
    assert words in str(caught.value)
