"""Which keys of a run file may change when a run goes on, and which would make it another run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from regard.config import RunConfig
from regard.config.files import toml_value
from regard.config.tasks import TASKS
from regard.config.updates import ENDING
from regard.errors import CheckpointError, ConfigError

# These change how long, how often reported, how much kept, when to give up: never what a step computes.
CHANGEABLE = frozenset(
    {
        "data.workers",
        "training.steps",
        "training.epochs",
        "training.minutes",
        "training.log_every",
        "training.save_every",
        "training.validate_every",
        "training.patience",
        "training.keep_last",
        "training.keep_best",
        "training.average",
        "training.max_bad_steps",
        "training.max_rollbacks",
        "training.tensorboard",
        "decoding.num_beams",
        "decoding.length_penalty",
        "decoding.length_penalty_form",
        "decoding.max_new_tokens",
        *("ngrams.order", "ngrams.num_beams", "ngrams.alpha", "ngrams.beta"),
    }
)
_BRINGS_OTHERS = ("task", "size", "training.optimizer.name", "training.schedule.name")  # their defaults, say


def refuse_another_run(saved: Mapping[str, Any], run: RunConfig, checkpoint: Path, step: int = 0) -> None:
    """Raise ConfigError for the first key that differs from the checkpoint's run and may not: one that brings others
    with it before those. step: the checkpoint's."""
    before, now = _flat(_completed(saved)), _flat(run.model_dump(mode="json"))
    bound = _bound_to_the_schedule(before, now, step), _bound_to_the_average(before, now), _bound_to_the_search(run)
    free = CHANGEABLE.difference(*bound)
    for key in sorted(before.keys() | now.keys(), key=lambda key: (key not in _BRINGS_OTHERS, key)):
        if before.get(key) != now.get(key) and key not in free:
            raise ConfigError(
                f"{key} cannot change when a run goes on: it {_said('was', before.get(key))} for {checkpoint}, "
                f"but {_said('is', now.get(key))}; set it back, or train in a new directory"
            )


def _said(verb: str, value: Any) -> str:
    return f"{verb} {'not set' if value is None else toml_value(value)}"


def refuse_other_data(saved_hash: str, content_hash: str, checkpoint: Path) -> None:
    """Raise CheckpointError where the prepared data are not those that the checkpoint was trained on."""
    if saved_hash != content_hash:
        raise CheckpointError(
            f"{checkpoint} was trained on other data (content hash {saved_hash[:12]}, now {content_hash[:12]}): "
            "bring the data back, or train in a new directory"
        )


def _completed(saved: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the defaults of the keys that an earlier version did not know."""
    try:
        return RunConfig.model_validate(saved).model_dump(mode="json")
    except ValidationError:
        return saved


def _bound_to_the_schedule(before: Mapping[str, Any], now: Mapping[str, Any], step: int) -> frozenset[str]:
    """A schedule that ends at the last step computes other rates when that step moves; `wsd` from where it falls."""
    name = now["training.schedule.name"]
    if name not in ENDING:
        return frozenset()
    by_steps = all("training.steps" in values and "training.epochs" not in values for values in (before, now))
    if name == "wsd" and by_steps:
        last = min(values["training.steps"] for values in (before, now))
        if step <= last - now["training.schedule.decay_steps"]:
            return frozenset({"training.epochs"})
    return frozenset({"training.steps", "training.epochs"})


def _bound_to_the_average(before: Mapping[str, Any], now: Mapping[str, Any]) -> frozenset[str]:
    """Scores of the weights and scores of their moving average do not compare."""
    key = "training.average"
    return frozenset({key} if "ema" in (before.get(key), now.get(key)) else ())


def _bound_to_the_search(run: RunConfig) -> frozenset[str]:
    """Scores of texts that were searched for otherwise do not compare."""
    searched = run.training.best != "loss" and "decoding" in TASKS[run.task].keys
    return frozenset(key for key in CHANGEABLE if key.startswith("decoding.")) if searched else frozenset()


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; an absent key and None are one."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[prefix + key] = value
    return flat
