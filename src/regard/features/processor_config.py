"""Values of a preprocessor_config.json, which a stranger may have written: each is checked for its type."""

import math
from collections.abc import Mapping
from typing import Any

from regard.errors import CheckpointError

FILE = "preprocessor_config.json"


def section(config: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """What is said of `part` ("image_processor", "feature_extractor").

    Transformers 5 nests it in processor_config.json under that name; preprocessor_config.json is about it alone.
    """
    values = config.get(part, config)
    if not isinstance(values, Mapping):
        raise CheckpointError(f"{FILE}: {part} must be an object, but is {values!r}")
    return values


def flag(values: Mapping[str, Any], key: str, default: bool) -> bool:
    """A boolean; `default` where it is absent. Null is false, as Transformers has it."""
    value = values.get(key, default)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise CheckpointError(f"{FILE}: {key} must be true or false, but is {value!r}")
    return value


def whole(values: Mapping[str, Any], key: str, default: int) -> int:
    """A whole number; null is as good as absent."""
    value = values.get(key)
    return default if value is None else as_whole(value, key)


def as_whole(value: Any, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise CheckpointError(f"{FILE}: {key} must be a whole number, but is {value!r}")
    return value


def number(values: Mapping[str, Any], key: str, default: float) -> float:
    """A finite number; null is as good as absent."""
    value = values.get(key)
    return default if value is None else as_number(value, key)


def as_number(value: Any, key: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > 1e300 or math.isnan(value):
        raise CheckpointError(f"{FILE}: {key} must be a number, but is {value!r}")
    return float(value)
