"""`regard inspect`: what a model is, from its config and the table of its tensors; no network is built."""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from regard.commands.checkpoints import print_checkpoints, refuse_damaged
from regard.commands.spec_words import described as in_words
from regard.commands.text import table_console
from regard.config import load_run, to_toml
from regard.decoding.options import GenerationOptions
from regard.errors import CheckpointError, ConfigError
from regard.interop.accounting import account
from regard.interop.described import Described, described
from regard.interop.directory import REGARD, read_json
from regard.interop.generation_defaults import generation_options
from regard.interop.opening import HUB_ID, StoredWeights, open_checkpoint
from regard.interop.packaged import PACKAGES
from regard.models.catalog import PRESETS, family, spec
from regard.models.weights import Rule
from regard.specs import ModelSpec
from regard.tasks.catalog import TASKS
from regard.tasks.found import Found
from regard.tasks.locate import model_place
from regard.tasks.purpose import TRANSLATE, meant, suited
from regard.tasks.sentence_modules import MODULES, read_modules
from regard.tasks.text_to_text import translator
from regard.tasks.translate import Translator

_SAMPLE = "Attention is all you need, 2017."
_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


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


@dataclass(frozen=True)
class Unbuilt:
    """What a task asks a loaded model for, as far as it needs no network."""

    spec: ModelSpec
    kept_config: Mapping[str, Any]
    generation_options: GenerationOptions
    companions: Mapping[str, Callable[[], bytes]]


def inspect_model(model: str, *, vocab_size: int, weights: bool) -> None:
    """Print the tables of a checkpoint, wherever `regard.load` finds it, or of a preset; a run file in full."""
    console = table_console()
    if Path(model).suffix == ".toml" and not Path(model).is_dir():
        print(to_toml(load_run(model)), end="")
    elif model in PRESETS and not Path(model).exists():
        preset = spec(model, vocab_size=vocab_size, pad_id=vocab_size - 1, eos_id=0)
        print_architecture(console, f"preset {model}", preset, weights=weights)
    elif Path(model).exists() or model in PACKAGES or HUB_ID.fullmatch(model) or "/" in model:
        try:
            _inspect_checkpoint(console, model, weights)
        finally:  # a run without a good checkpoint has them listed, too
            found = print_checkpoints(console, Path(model))
        refuse_damaged(Path(model), found)
    else:
        known = [*PRESETS, *PACKAGES]
        near = difflib.get_close_matches(model, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the names are {', '.join(known)}"
        raise ConfigError(f"{model!r} is neither a model nor a preset: {hint}")


def _inspect_checkpoint(console: Console, model: str, weights: bool) -> None:
    place = model_place(model)
    sentences = place if (place / MODULES).is_file() else None
    known = described(open_checkpoint(read_modules(place).encoder if sentences else place))
    _check_complete(known)
    found = _found(known, sentences)
    labels = found.labels if known.spec.output.labels else ()
    stored = _stored_dtype(known.tensors.tensors)
    print_architecture(console, str(place), known.spec, stored, weights, labels, _on_disk(known.checkpoint.place))
    _print_tasks(console, found)
    _print_inputs(console, found)
    if known.spec.embedding is not None:
        _print_tokenizer(console, found)
    _print_decoding(console, found)
    _print_record(console, known.checkpoint.place)


def _check_complete(known: Described) -> None:
    complaint = account(known.spec, known.tensors, known.family.rules(known.spec)).complaint()
    if complaint:
        raise CheckpointError(f"{known.tensors.tensors.origin}: {complaint}")


def _found(known: Described, sentences: Path | None) -> Found:
    checkpoint, model = known.checkpoint, known.spec
    written = checkpoint.generation or ({} if model.decoder is None else dict(checkpoint.config))
    options = generation_options(written, model, checkpoint.place)
    unbuilt = Unbuilt(model, checkpoint.config.unread(), options, checkpoint.companions)
    return Found(unbuilt, checkpoint.place, sentences)


def print_architecture(
    console: Console,
    name: str,
    model: ModelSpec,
    stored: str = "float32",
    weights: bool = False,
    labels: Sequence[str] = (),
    on_disk: int | None = None,
) -> None:
    """The network in words, then its modules, or all its variables. stored: dtype of the weights; on_disk: bytes."""
    rules = family(model.family).rules(model)
    for line in (f"[bold]{escape(name)}[/bold]", *map(escape, in_words(model, labels))):
        console.print(line)
    console.print()
    console.print(_weights_table(rules) if weights else _modules_table(modules(rules)))
    total = sum(prod(rule.shape) for rule in rules)
    sizes = {"float32": 4, stored: _BYTES[stored]}
    memory = [f"{total * size / 1e6:,.1f} MB in {dtype}" for dtype, size in sizes.items()]
    memory += [] if on_disk is None else [f"{on_disk / 1e6:,.1f} MB on disk"]
    console.print(f"\n{total:,} parameters: {', '.join(memory)}")


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


def _stored_dtype(tensors: StoredWeights) -> str:
    """That of most of the weights."""
    sizes: dict[str, int] = {}
    for name in tensors:
        dtype = tensors.dtype(name) or "float32"
        sizes[dtype] = sizes.get(dtype, 0) + prod(tensors.shape(name))
    return max(sizes, key=lambda dtype: sizes[dtype])


def _on_disk(place: Path) -> int:
    """Bytes of the weights."""
    files = [place] if place.is_file() else [*place.glob("*.safetensors"), *place.glob("tf_model.h5")]
    return sum(file.stat().st_size for file in files)


def _print_tasks(console: Console, found: Found) -> None:
    fitting = suited(found, [name for name, task in TASKS.items() if task.fits(found.spec)])
    if found.sentences is not None:
        fitting = ["embed"]
    if not fitting:
        console.print("tasks: none; regard.load_model loads it as a bare model")
        return
    try:
        chosen = meant(found, fitting)
    except CheckpointError:  # of a tokenizer, which is spoken of below
        chosen = fitting[0]
    console.print(f"tasks: {', '.join([chosen, *(name for name in fitting if name != chosen)])}")


def _print_inputs(console: Console, found: Found) -> None:
    """How images or sounds are prepared, in the words of the checkpoint."""
    if found.spec.source is None and found.spec.form != "pair":
        return
    try:
        said = found.processor
    except CheckpointError as error:
        console.print(f"inputs: {error}", markup=False)
        return
    for part in ("image_processor", "feature_extractor"):
        values = said.get(part, said if f"{part}_type" in said else None)
        if isinstance(values, Mapping):
            keys = ("size", "crop_size", "image_mean", "image_std", "sampling_rate", "feature_size", "chunk_length")
            shown = ", ".join(f"{key} {json.dumps(values[key])}" for key in keys if key in values)
            console.print(f"inputs: {values.get(f'{part}_type', part)}, {shown}", markup=False)


def _print_tokenizer(console: Console, found: Found) -> None:
    try:
        tokenizer = found.tokenizer
        known = translator(found) if TASKS[TRANSLATE].fits(found.spec) else None
    except CheckpointError as error:
        console.print(f"\ntokenizer: {error}", markup=False)
        return
    pieces = " | ".join(tokenizer.tokens(tokenizer.encode(_SAMPLE)))
    roles = {token: tokenizer.token_id(token) for token in tokenizer.special_tokens.values()}
    special = ", ".join(f"{role} {roles[token]}" for role, token in tokenizer.special_tokens.items())
    console.print(f"\n[bold]tokenizer[/bold]: {tokenizer.algorithm}, {tokenizer.vocab_size:,} tokens; {special}")
    console.print(f"example: {pieces}", markup=False)
    if known is not None:
        _print_languages(console, known)


def _print_languages(console: Console, known: Translator) -> None:
    if known.languages:
        default = "" if known.default_target is None else f" (default {known.default_target})"
        console.print(f"target languages: {', '.join(known.languages)}{default}", markup=False)
    if known.source_languages:
        same = known.source_languages == known.languages
        console.print(f"source languages: {'the same' if same else ', '.join(known.source_languages)}", markup=False)


def _print_decoding(console: Console, found: Found) -> None:
    """What the checkpoint asks of a search, ids aside."""
    said = found.model.generation_options.to_generation_config()
    shown = ", ".join(f"{name} {value}" for name, value in said.items() if "_id" not in name and "tokens" not in name)
    if shown:
        console.print(f"decoding: {shown}", markup=False)


def _print_record(console: Console, place: Path) -> None:
    values = read_json(place, REGARD) if place.is_dir() else {}
    if not values:
        return
    scores = {"validation": values.get("score") or {}, **(values.get("scores") or {})}
    for name, value in _flat(scores):
        console.print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}", markup=False)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", value
