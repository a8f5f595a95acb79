"""What the parts of a spec check: each raises ConfigError with the part, the field, the bound and the value."""

from typing import Any, get_args

from regard.errors import ConfigError


def require_positive(owner: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise ConfigError(f"{owner}: {name} must be a whole number of at least 1, but is {size!r}")


def require_at_most(owner: str, name: str, size: int, most: int) -> None:
    if size > most:
        raise ConfigError(f"{owner}: {name} must be at most {most}, but is {size}")


def require_count(owner: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if type(size) is not int or size < 0:
            raise ConfigError(f"{owner}: {name} must be a whole number of at least 0, but is {size!r}")


def require_rate(owner: str, **rates: float) -> None:
    for name, rate in rates.items():
        if not is_number(rate) or not 0 <= rate < 1:
            raise ConfigError(f"{owner}: {name} must be in [0, 1), but is {rate!r}")


def require_above_zero(owner: str, **values: float) -> None:
    for name, value in values.items():
        if not is_number(value) or not 0 < value < float("inf"):
            raise ConfigError(f"{owner}: {name} must be above 0, but is {value!r}")


def require_flag(owner: str, **flags: bool) -> None:
    for name, flag in flags.items():
        if type(flag) is not bool:
            raise ConfigError(f"{owner}: {name} must be true or false, but is {flag!r}")


def require_one_of(owner: str, choices: Any, **values: str) -> None:
    for name, value in values.items():
        if value not in get_args(choices):
            raise ConfigError(f"{owner}: {name} must be one of {', '.join(get_args(choices))}, but is {value!r}")


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
