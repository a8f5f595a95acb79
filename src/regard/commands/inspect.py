"""`regard inspect`: what a model is, from its spec; no network is built for a preset."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from safetensors import safe_open

from regard.commands.engine import import_tensorflow
from regard.commands.text import table_console
from regard.errors import ConfigError
from regard.features.tokenizer import Tokenizer
from regard.models.catalog import PRESETS, family, spec
from regard.models.weights import Rule
from regard.specs import ModelSpec, StackSpec
from regard.tasks.locate import model_directory

_SAMPLE = "Attention is all you need, 2017."
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Module:
    """Equal parts of a network: the same variables, `count` times."""

    path: str  # with layer_* for each of the layers
    count: int
    variables: tuple[tuple[str, tuple[int, ...]], ...]  # name, shape

    @property
    def parameters(self) -> int:
        """Of all `count` parts together."""
        return self.count * sum(prod(shape) for _, shape in self.variables)


def inspect_model(model: str, *, vocab_size: int, weights: bool) -> None:
    """Print the tables of a model directory, a run directory, or a preset."""
    console = table_console()
    if Path(model).exists() or "/" in model:
        directory = model_directory(model)
        import_tensorflow()
        from regard.interop.checkpoints import load_model

        print_architecture(console, str(directory), load_model(directory).spec, _stored_dtype(directory), weights)
        _print_tokenizer(console, directory)
        _print_record(console, directory)
    elif model not in PRESETS:
        near = difflib.get_close_matches(model, PRESETS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the presets are {', '.join(PRESETS)}"
        raise ConfigError(f"{model!r} is neither a directory nor a preset: {hint}")
    else:
        preset = spec(model, vocab_size=vocab_size, pad_id=vocab_size - 1, eos_id=0)
        print_architecture(console, f"preset {model}", preset, "F32", weights)


def print_architecture(console: Console, name: str, model: ModelSpec, stored: str, weights: bool) -> None:
    """The network in words, then its modules, or all its variables."""
    rules = family(model.family).rules(model)
    for line in (f"[bold]{escape(name)}[/bold]", *_described(model)):
        console.print(line)
    console.print()
    console.print(_weights_table(rules) if weights else _modules_table(modules(rules)))
    total = sum(prod(rule.shape) for rule in rules)
    sizes = {"F32": 4, stored: _BYTES[stored]}
    memory = ", ".join(f"{total * size / 1e6:,.1f} MB in {_DTYPES[dtype]}" for dtype, size in sizes.items())
    console.print(f"\n{total:,} parameters: {memory}")


def modules(rules: Iterable[Rule]) -> list[Module]:
    """The rules' variables grouped by the layer that holds them, equal layers together."""
    owners: dict[str, dict[str, tuple[int, ...]]] = {}
    counts: dict[tuple[str, str], int] = {}
    for rule in rules:
        owner, _, name = re.sub(r"layer_\d+", "layer_*", rule.path).rpartition("/")
        owners.setdefault(owner, {})[name] = rule.shape
        counts[owner, name] = counts.get((owner, name), 0) + 1
    return [
        Module(owner, counts[owner, next(iter(variables))], tuple(variables.items()))
        for owner, variables in owners.items()
    ]


def _described(model: ModelSpec) -> list[str]:
    embedding, positions = model.text, model.text.positions
    scaled = ", scaled by the square root of the width" if embedding.scale else ""
    reach = f"{positions.kind} positions to {positions.max_positions}" if positions.kind != "none" else "no positions"
    stacks = {"encoder": model.encoder, "decoder": model.decoder}
    return [
        f"{model.family}: {model.form}, width {embedding.width}, vocabulary {embedding.vocab_size:,}{scaled}, {reach}",
        *(f"{side}: {_stack(stack)}" for side, stack in stacks.items() if stack is not None),
    ]


def _stack(stack: StackSpec) -> str:
    layer = stack.layer
    return (
        f"{stack.depth} layers, {layer.heads} heads of {layer.head_width}, feed-forward {layer.ffn_width} "
        f"({layer.activation}), {layer.norm_order}-norm, dropout {layer.dropout:g}"
    )


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in ("layer", "variable", "shapes") else "right", no_wrap=True)
    return table


def _modules_table(found: Iterable[Module]) -> Table:
    table = _table("layer", "times", "shapes", "parameters", "MB float32")
    for module in found:
        shapes = ", ".join(f"{name} {_shape(shape)}" for name, shape in module.variables)
        size = f"{4 * module.parameters / 1e6:,.2f}"
        table.add_row(module.path, str(module.count), shapes, f"{module.parameters:,}", size)
    return table


def _weights_table(rules: Iterable[Rule]) -> Table:
    table = _table("variable", "shapes", "parameters")
    for rule in rules:
        table.add_row(rule.path, _shape(rule.shape), f"{prod(rule.shape):,}")
    return table


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)


def _stored_dtype(directory: Path) -> str:
    with safe_open(directory / "model.safetensors", framework="np") as file:
        dtypes = {str(file.get_slice(name).get_dtype()) for name in file.keys()}  # noqa: SIM118
    return next((dtype for dtype in _BYTES if dtype in dtypes), "F32")


def _print_tokenizer(console: Console, directory: Path) -> None:
    tokenizer = Tokenizer.load(directory)
    algorithm = json.loads(tokenizer.content)["model"]["type"]
    pieces = " | ".join(tokenizer.tokens(tokenizer.encode(_SAMPLE)))
    special = f"eos {tokenizer.eos_id}, unk {tokenizer.unk_id}, pad {tokenizer.pad_id}"
    console.print(f"\n[bold]tokenizer[/bold]: {algorithm}, {tokenizer.vocab_size:,} tokens; {special}")
    console.print(f"example: {pieces}", markup=False)
    if tokenizer.tags:
        console.print(f"target languages: {', '.join(tag.strip('<>') for tag in tokenizer.tags)}", markup=False)


def _print_record(console: Console, directory: Path) -> None:
    record = directory / "regard.json"
    if not record.is_file():
        return
    values = json.loads(record.read_text("utf-8"))
    scores = {"validation": values.get("score") or {}, **(values.get("scores") or {})}
    for name, value in _flat(scores):
        console.print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}", markup=False)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", value
