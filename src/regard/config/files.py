"""TOML -> a checked `RunConfig`, and back. Unknown keys are errors that name the nearest known one."""

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from regard.config.run import RunConfig
from regard.config.sizes import forget_size
from regard.config.updates import SETTINGS
from regard.errors import ConfigError

# What pydantic calls by the names of Python's types, in TOML's.
_KINDS = {"tuple_type": "a list, [...]", "model_type": "a table", "dict_type": "a table"}


def load_run(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run file and apply `a.b=c` overrides, whose right side is a TOML value or a bare string."""
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the run file {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    keys = {override.partition("=")[0].strip() for override in overrides}
    if "training.optimizer.name" in keys:
        _forget_what_the_optimizer_has_by_itself(values)
    if "size" in keys:
        forget_size(str(values.get("task", "translate")), values)
    for override in overrides:
        _apply_override(values, override)
    return parse_run(values, origin=str(path))


def parse_run(values: Mapping[str, Any], origin: str = "run") -> RunConfig:
    """Check a nested mapping against `RunConfig`; every complaint names the key's whole path."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        complaints = [_explain(entry) for entry in error.errors()]
        raise ConfigError(f"{origin}: " + "; ".join(complaints)) from None


def _forget_what_the_optimizer_has_by_itself(values: Mapping[str, Any]) -> None:
    """The file of a run spells it out, and another optimizer may have no use for it."""
    training = values.get("training")
    optimizer = training.get("optimizer") if isinstance(training, dict) else None
    if isinstance(optimizer, dict):
        for key, value in SETTINGS.get(str(optimizer.get("name", "adam")), {}).items():
            if optimizer.get(key) == value:
                del optimizer[key]


def _apply_override(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"--set wants key.path=value, but got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *parents, last = path.strip().split(".")
    table = values
    for name in parents:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {override}: {name} is not a table")
    table[last] = value


def _explain(entry: Any) -> str:
    location = [part for part in entry["loc"] if part != "__root__"]
    path = ".".join(str(part) for part in location)
    if entry["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(sorted(known))}"
        return f"unknown key {path}: {hint}"
    if entry["type"] == "missing":
        return f"{path} is missing"
    kind = _KINDS.get(entry["type"])
    message = f"should be {kind}" if kind else entry["msg"]
    message = message.removeprefix("Value error, ").replace("Input should", "should")
    shown = "" if isinstance(entry["input"], dict) and not kind else f" (is {entry['input']!r})"
    return f"{path}: {message}{shown}" if path else f"{message}{shown}"


def _known_keys(location: Iterable[Any]) -> list[str]:
    section: type[BaseModel] = RunConfig
    for name in location:
        if isinstance(name, int):
            continue
        annotation = section.model_fields[name].annotation
        arguments = getattr(annotation, "__args__", (annotation,))
        section = next(kind for kind in arguments if isinstance(kind, type) and issubclass(kind, BaseModel))
    return [field.alias or name for name, field in section.model_fields.items()]


def to_toml(run: RunConfig) -> str:
    """The resolved run as TOML; `parse_run(tomllib.loads(to_toml(run))) == run`."""
    return "\n".join(_toml_lines(run.model_dump(exclude_none=True), ())) + "\n"


def _toml_lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines = [f"{key} = {toml_value(value)}" for key, value in table.items() if not isinstance(value, dict)]
    if path and lines:
        lines.insert(0, f"\n[{'.'.join(path)}]")
    for key, value in table.items():
        if isinstance(value, dict):
            lines += _toml_lines(value, (*path, key))
    return lines


def toml_value(value: Any) -> str:
    """One value as TOML has it; what is None inside it is left out, as TOML has no word for that."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(_toml_character(character) for character in value) + '"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(entry) for entry in value) + "]"
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{key} = {toml_value(entry)}" for key, entry in value.items() if entry is not None) + " }"
        )
    return repr(value)


def _toml_character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08x}"
