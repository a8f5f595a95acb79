"""Jinja's sandbox for a stranger's program: nothing leads out of it, and time and memory are bounded.

Jinja itself bounds a range alone. Here each turn of a loop, each call, filter and operator is counted together with the
size of what it gives, so that nested loops, macros that call themselves and lists that double come to an end; and what
may grow in one step alone (a padded or replaced text) is measured before it is made.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MOST_CHARACTERS = 10_000_000  # that a template may write, or hold in one text
MOST_STEPS = 10_000_000  # a chat of 1,000 messages takes some 10,000
MOST_SECONDS = 10.0  # of the processor, for the steps that take long
_CHARACTERS_A_STEP = 256
_LARGEST_POWER = 4096  # bits
_COUNTED = "counted"  # our own filter
_WIDE = re.compile(r"\d{6}|\*")  # in a format: a width that no template needs, or one that an argument gives
_PADDED = ("center", "ljust", "rjust", "zfill", "wordwrap", "batch", "slice", "truncate")
_INDENTED = ("indent", "tojson")
_WRITTEN = ("string", "pprint", "xmlattr", "urlize")
_TOO_MANY = MOST_CHARACTERS + 1


class Refusal(jinja2.TemplateError):
    """The template's own `raise_exception`."""


class _Meter:
    """What one rendering has cost so far."""

    def __init__(self) -> None:
        self.left, self.end = MOST_STEPS, time.thread_time() + MOST_SECONDS

    def charge(self, value: Any) -> Any:
        """A step, and what the value is large; the value itself."""
        if isinstance(value, str) and len(value) > MOST_CHARACTERS:
            raise SecurityError(f"a text has more than {MOST_CHARACTERS:,} characters")
        self.left -= 1 + _parts(value, self.left)
        if self.left < 0:
            raise SecurityError(f"it takes more than {MOST_STEPS:,} steps")
        if time.thread_time() > self.end:
            raise SecurityError(f"it takes more than {MOST_SECONDS:.0f} seconds")
        return value


_METER: ContextVar[_Meter] = ContextVar("meter")


@contextmanager
def metered() -> Iterator[None]:
    """Count what a template does inside."""
    token = _METER.set(_Meter())
    try:
        yield
    finally:
        _METER.reset(token)


class Sandbox(ImmutableSandboxedEnvironment):
    """No attribute that leads out, no change to what it is given, no step that is not counted."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, jinja2.ext.loopcontrols],
            optimized=False,  # it would work out constants before anybody counts
            finalize=_shown,
        )
        del self.globals["lipsum"]
        self.filters["tojson"] = _to_json
        self.filters = {name: _measured(name, made) for name, made in self.filters.items()}
        self.filters[_COUNTED] = lambda value: _METER.get().charge(value)

    def _parse(self, *source: Any) -> jinja2.nodes.Template:
        tree = super()._parse(*source)
        _Counting().visit(tree)
        return tree

    def call(self, context: Any, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        method = getattr(called, "__wrapped__", called)  # Jinja wraps str.format
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str):
            name, given = getattr(method, "__name__", ""), [*args, *kwargs.values()]
            if name == "join":  # as the filter has it: what is joined comes first
                owner, given = next(iter(args), None), [owner]
            _check_growth(name, owner, given)
        return _METER.get().charge(super().call(context, called, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and isinstance(left, int) and left.bit_length() * abs(right) > _LARGEST_POWER:
            raise SecurityError(f"a power of more than {_LARGEST_POWER} bits")
        for many, times in ((left, right), (right, left)):
            repeats = operator == "*" and hasattr(many, "__len__") and isinstance(times, int)
            if repeats and len(many) * times > MOST_CHARACTERS:
                raise SecurityError(f"something is repeated to more than {MOST_CHARACTERS:,} parts")
        if operator == "%" and isinstance(left, str):
            _check_growth("format", left, list(right) if isinstance(right, tuple) else [right])
        return _METER.get().charge(super().call_binop(context, operator, left, right))


class _Counting(NodeTransformer):
    """What loops go over, and what is put together, through our filter."""

    def visit(self, node: jinja2.nodes.Node, *args: Any, **kwargs: Any) -> jinja2.nodes.Node:
        self.generic_visit(node)
        if isinstance(node, jinja2.nodes.For):
            node.iter = _counted(node.iter)
        is_made = isinstance(node, _MAKERS) and getattr(node, "ctx", "load") == "load"
        return _counted(node) if is_made else node


_MAKERS = (jinja2.nodes.Concat, jinja2.nodes.List, jinja2.nodes.Tuple, jinja2.nodes.Dict)


def _counted(node: Any) -> jinja2.nodes.Filter:
    return jinja2.nodes.Filter(node, _COUNTED, [], [], None, None, lineno=node.lineno)


class _Generation(jinja2.ext.Extension):
    """{% generation %} ... {% endgeneration %} marks for training what the assistant wrote; here it is just text."""

    tags = {"generation"}  # noqa: RUF012 - the base class has it so

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def _measured(name: str, made: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, counted, and refused where it would make too much."""
    given = 0 if getattr(made, "jinja_pass_arg", None) is None else 1  # arguments that are Jinja's own

    @wraps(made)
    def measured(*args: Any, **kwargs: Any) -> Any:
        value, *others = args[given:]
        _check_growth(name, value, [*others, *kwargs.values()])
        return _METER.get().charge(made(*args, **kwargs))

    return measured


def _check_growth(name: str, value: Any, given: Sequence[Any]) -> None:
    """Raise SecurityError where a filter, or a method of a text, makes more than MOST_CHARACTERS at once."""
    if _made(name, value, given) > MOST_CHARACTERS:
        raise SecurityError(f"{name} makes more than {MOST_CHARACTERS:,} characters")


def _made(name: str, value: Any, given: Sequence[Any]) -> int:
    """How many characters there will be at most, of what may be many more than went in; else 0."""
    text, numbers = str(value) if isinstance(value, str) else "", [abs(item) for item in given if isinstance(item, int)]
    if name in _PADDED:
        return max(numbers, default=0)
    if name in _INDENTED:
        return (text.count("\n") + 1) * max(numbers, default=1) * (1 if text else _characters(value))
    if name == "expandtabs":
        return text.count("\t") * max(numbers, default=8)
    if name == "replace" and len(given) > 1:
        return text.count(str(given[0])) * len(str(given[1]))
    if name == "join":
        mark = given[0] if given and isinstance(given[0], str) else ""
        return _characters(value) + len(mark) * (len(value) if hasattr(value, "__len__") else 1)
    if name in ("format", "format_map"):
        places = text.count("%") + text.count("{")
        return _TOO_MANY if _WIDE.search(text) else places * max(map(_characters, given), default=0)
    return _TOO_MANY if name == "translate" else _characters(value) if name in _WRITTEN else 0


def _shown(value: Any) -> Any:
    """What is written; a list may hold one text many times."""
    if not isinstance(value, str) and _characters(value) > MOST_CHARACTERS:
        raise SecurityError(f"it writes more than {MOST_CHARACTERS:,} characters")
    return value


def _characters(value: Any) -> int:
    """How long a value is as a text, about; no more is counted than too much."""
    return _total(value, MOST_CHARACTERS, len)


def _parts(value: Any, most: int) -> int:
    """How many values there are in a value, long texts as several; no more is counted than `most`, and a bit."""
    return _total(value, most, lambda text: len(text) // _CHARACTERS_A_STEP)


def _total(value: Any, most: int, measure: Callable[[str], int]) -> int:
    total, waiting = 0, [value]
    while waiting and total <= most:
        one = waiting.pop()
        if isinstance(one, str):
            total += measure(one)
        elif isinstance(one, Mapping):
            total += len(one)
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            total += len(one)
            waiting += one
        elif isinstance(one, range):
            total += len(one)
    return total


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes what HTML does not bear; a model is to see the text as it is."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
