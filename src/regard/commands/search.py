"""The options of a search as somebody types them."""

from collections.abc import Mapping
from typing import Any

from regard.decoding.options import GenerationOptions
from regard.errors import ConfigError


def search_options(sample: bool | None, shape: Mapping[str, float], **others: Any) -> dict[str, Any]:
    """What somebody set, as GenerationOptions has it.

    shape: what is for sampling alone (temperature and the like): it turns sampling on, but for a temperature of 0,
    which turns it off, as other tools have it.
    """
    options = {name: value for name, value in others.items() if value is not None}
    if (temperature := shape.get("temperature")) is not None and temperature < 0:
        raise ConfigError(f"--temperature must be at least 0, which takes the likeliest token, but is {temperature}")
    if temperature == 0:
        if sample or len(shape) > 1:
            other = "--sample" if sample else _flag(next(name for name in shape if name != "temperature"))
            raise ConfigError(f"--temperature 0 takes the likeliest token, and {other} is for sampling: leave one out")
        return {**options, "do_sample": False}
    if sample is False and shape:
        raise ConfigError(f"{_flag(next(iter(shape)))} is for sampling, and --no-sample is none: leave one out")
    if shape:
        sample = True
    return options if sample is None else {**options, **shape, "do_sample": sample}


def check_seed(defaults: GenerationOptions, options: Mapping[str, Any]) -> None:
    """Raise ConfigError for a seed where nothing is drawn: it would change nothing."""
    if options.get("seed") is not None and not defaults.merged(**options).do_sample:
        raise ConfigError("--seed is for sampling, and this takes the likeliest tokens: add --sample, or leave it out")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
