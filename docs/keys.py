"""The page of a run file's keys, written from the classes that check them.

python docs/keys.py            # writes docs/keys.md
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from regard.config import RunConfig
from regard.config.section import Section
from regard.config.tasks import OWNED, TASKS
from regard.models.catalog import PRESETS, spec
from regard.specs import StackSpec

PAGE = Path(__file__).resolve().with_name("keys.md")
HEAD = """# The keys of a run file

Written by `python docs/keys.py` from the classes that check a run file, so it is what they take. A wrong key is
answered with the nearest right one, a wrong value with its bounds. `regard inspect run.toml` shows a file with all that
it leaves to defaults, which some tasks and every `size` set otherwise; `--set training.steps=100` sets a key from the
command line. What each task reads and learns: [objectives.md](objectives.md).
"""
PRESETS_HEAD = """
## Presets

What `model.preset` may name for a new network; `regard inspect NAME --vocab-size 8000` shows one's layers and
parameters. Where a file names none, its task has one of its own.

| preset | layout | encoder | decoder |
|---|---|---|---|
"""
BOUNDS = {Ge: ("at least", "ge"), Gt: ("above", "gt"), Le: ("at most", "le"), Lt: ("below", "lt")}


def comments(section: type[Section]) -> dict[str, str]:
    """What stands in the source beside each field, or in the lines above it."""
    source = textwrap.dedent(inspect.getsource(section))
    lines, found = source.splitlines(), {}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        _, _, beside = lines[node.end_lineno - 1][node.end_col_offset :].partition("# ")
        above, place = [], node.lineno - 2
        while not beside and lines[place].strip().startswith("# "):
            above.insert(0, lines[place].strip().removeprefix("# "))
            place -= 1
        found[node.target.id] = beside or " ".join(above)
    return found


def kinds(annotation: Any) -> Iterator[str]:
    """What a value may be, in TOML's words."""
    origin = get_origin(annotation)
    if origin is Literal:
        yield from (f"`{value!r}`".replace("'", '"') for value in get_args(annotation))
    elif origin in (Union, UnionType):
        for each in get_args(annotation):
            yield from kinds(each)
    elif origin is tuple:
        of = get_args(annotation)[0]
        yield "array of tables" if inspect.isclass(of) and issubclass(of, Section) else "array of strings"
    elif inspect.isclass(annotation) and issubclass(annotation, Section):
        yield "table"
    elif annotation is not NoneType:
        yield {int: "whole number", float: "number", bool: "true or false", str: "string"}[annotation]


def value(field: FieldInfo) -> str:
    bounds = [
        f"{words} {getattr(each, name):,}"
        for each in field.metadata
        for kind, (words, name) in BOUNDS.items()
        if isinstance(each, kind)
    ]
    if any(isinstance(each, MinLen) for each in field.metadata):
        bounds.append("not empty")
    return ", ".join(filter(None, [" or ".join(kinds(field.annotation)), " and ".join(bounds)]))


def default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "needed"
    if field.default is None or field.default == () or isinstance(field.default, Section):
        return ""
    text = str(field.default)
    return f"`{text.lower()}`" if isinstance(field.default, bool) else f"`{text}`"


def owners(key: str) -> str:
    """The tasks that take a key, where not all do."""
    table = key.partition(".")[0]
    owned = next((each for each in (key, table) if each in OWNED), None)
    if owned is None:
        return ""
    takers = [name for name, rules in TASKS.items() if owned in rules.keys]
    return ", ".join(takers)


def inner(field: FieldInfo) -> type[Section] | None:
    """The class of a field's own keys."""
    for each in (field.annotation, *get_args(field.annotation)):
        if inspect.isclass(each) and issubclass(each, Section):
            return each
    return None


def table(section: type[Section], name: str) -> Iterator[str]:
    """A section's keys, then those of the tables within it."""
    said, below = comments(section), []
    yield f"\n## `[{name}]`\n" if name else "\n## Outermost\n"
    yield f"{inspect.cleandoc(section.__doc__ or '').replace(chr(10), ' ')}\n"
    yield "| key | value | default | what | tasks |"
    yield "|---|---|---|---|---|"
    for attribute, field in section.model_fields.items():
        key = field.alias or attribute
        path = f"{name}.{key}" if name else key
        within = inner(field)
        if within is not None:
            below.append((within, path))
        text = said[attribute].replace("|", "\\|")
        yield f"| `{key}` | {value(field)} | {default(field)} | {text} | {owners(path)} |"
    seen = set()
    for within, path in below:
        if within not in seen:  # the three corpora are of one class
            seen.add(within)
            yield from table(within, path)


def stack(spec: StackSpec | None) -> str:
    if spec is None:
        return ""
    return (
        f"{spec.depth} layers, width {spec.layer.width}, {spec.layer.heads} heads, feed-forward {spec.layer.ffn_width}"
    )


def presets() -> Iterator[str]:
    for name in PRESETS:
        found = spec(name, vocab_size=8000, pad_id=0, eos_id=1)
        yield f"| `{name}` | {found.family} | {stack(found.encoder)} | {stack(found.decoder)} |"


def page() -> str:
    return "\n".join([HEAD.rstrip("\n"), *table(RunConfig, ""), PRESETS_HEAD.rstrip("\n"), *presets()]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
