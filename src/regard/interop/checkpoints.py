"""Models in and out of Hugging Face's layout: config.json, model.safetensors, generation_config.json, tokenizer.

Regard's own knowledge of a model (recipe, data hashes, scores, versions) goes into regard.json, which others ignore.
"""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from regard.decoding.options import GenerationOptions, unsupported_generation_keys
from regard.errors import CheckpointError, ConfigError
from regard.interop.directory import CONFIG, GENERATION, REGARD, WEIGHTS, read_json, replacing, write_json
from regard.models.catalog import family
from regard.models.forms import Transformer, build_model
from regard.models.weights import Rule
from regard.specs import ModelSpec

log = logging.getLogger(__name__)

FLOATS = ("F16", "BF16", "F32", "F64")
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "source.spm", "target.spm", "spiece.model", "chat_template.jinja"),
)


class SavesItself(Protocol):
    """A tokenizer, as far as a checkpoint is concerned."""

    def save(self, directory: Path) -> None: ...


def load_model(path: str | Path, dtype: str = "float32") -> Transformer:
    """A model directory -> a `keras.Model` with its weights.

    dtype: a Keras policy: "float32", "bfloat16" (weights too), "mixed_bfloat16" (products only) or "float64".
    Raises CheckpointError where a file is missing, damaged, or not of the model that config.json describes.
    """
    directory = Path(path)
    if not directory.exists():
        raise CheckpointError(f"no model at {directory}: the directory does not exist")
    config = read_json(directory, CONFIG, required=True)
    tensors = Tensors(directory / WEIGHTS)
    spec = _spec(config, tensors, directory)
    tensors.check(spec, directory)
    model = build_model(spec, dtype)
    assign_weights(model, tensors)
    model.generation_options = _generation_options(config, spec, directory)
    model.source = directory
    return model


def save_model(
    model: Transformer,
    path: str | Path,
    *,
    tokenizer: SavesItself | None = None,
    regard: Mapping[str, Any] | None = None,
) -> None:
    """Write what Transformers loads as it is; an existing model is replaced in one step, never half written.

    tokenizer, regard: absent, a loaded model takes along those it was loaded with. Raises ConfigError where the
    family's layout cannot say what the model is, CheckpointError where `path` holds something else than a model.
    """
    if model.generation_options.length_penalty_form != "transformers":
        log.warning("length_penalty_form is kept in regard.json alone: Transformers would score these beams otherwise")
    with replacing(Path(path)) as directory:
        if regard is None and model.source is not None:
            regard = read_json(model.source, REGARD)
        write_model(model, directory, tokenizer=tokenizer, regard=regard)
        if tokenizer is None and model.source is not None:
            for name in TOKENIZER_FILES:
                if (model.source / name).is_file():
                    shutil.copyfile(model.source / name, directory / name)


def write_model(
    model: Transformer,
    directory: Path,
    *,
    tokenizer: SavesItself | None = None,
    regard: Mapping[str, Any] | None = None,
) -> None:
    """The files of a checkpoint, into a directory that the caller looks after."""
    config = _said_in_full(model.spec)
    tensors = weights_of(model)
    write_json(directory, CONFIG, {**config, "dtype": _weight_dtype(model)})
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
    defaults = model.generation_options.to_generation_config()
    own = {"decoder_start_token_id": model.spec.tokens.decoder_start}
    write_json(directory, GENERATION, {**defaults, **{key: value for key, value in own.items() if value is not None}})
    if tokenizer is not None:
        tokenizer.save(directory)
    form = model.generation_options.length_penalty_form
    write_json(directory, REGARD, {**(regard or {}), "length_penalty_form": form})


def weights_of(model: Transformer) -> dict[str, np.ndarray]:
    """Every weight under its Hugging Face name, sorted by name."""
    known = family(model.spec.family)
    variables = {variable.path: variable for variable in model.variables}
    dtype = _weight_dtype(model)
    constants = known.constants(model.spec)
    tensors = {name: constant().astype(dtype) for name, constant in constants.items()}
    for rule in known.rules(model.spec):
        tensors |= rule.split(np.asarray(variables[rule.path].value))
    return dict(sorted(tensors.items()))


def assign_weights(model: Transformer, tensors: Mapping[str, np.ndarray]) -> None:
    """Fill the model's variables from tensors under Hugging Face names, one variable at a time."""
    variables = {variable.path: variable for variable in model.variables}
    for rule in family(model.spec.family).rules(model.spec):
        variables[rule.path].assign(rule.join([tensors[name] for name in rule.names]))


def _weight_dtype(model: Transformer) -> str:
    """float32, float64, or bfloat16 (NumPy knows that one through ml_dtypes)."""
    return str(keras.backend.standardize_dtype(model.embedding.table.dtype))


def _said_in_full(spec: ModelSpec) -> dict[str, Any]:
    """The spec as config.json; what the family's layout has no word for is refused, for it would load as another."""
    known = family(spec.family)
    config = known.config(spec)
    read_back = replace(known.from_config(config), logits_bias=spec.logits_bias)
    if read_back != spec:
        parts = [part.name for part in fields(spec) if getattr(spec, part.name) != getattr(read_back, part.name)]
        raise ConfigError(f"{spec.family}'s layout cannot say this model's {' and '.join(parts)}: it cannot be saved")
    return config


class Tensors(Mapping[str, np.ndarray]):
    """A safetensors file, memory-mapped: a tensor is read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            other = sorted(file.name for file in path.parent.glob("*.bin"))
            hint = f"; {other[0]} must be converted to safetensors first" if other else ""
            raise CheckpointError(f"{path.parent} has no {path.name}{hint}")
        try:
            self.file = safe_open(path, framework="np")
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is damaged or no safetensors file: {error}") from error
        self.names = frozenset(self.file.keys())

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.names:
            raise KeyError(name)
        try:
            tensor: np.ndarray = self.file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{self.path} is damaged: {name} cannot be read: {error}") from error
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.file.get_slice(name).get_shape())

    def __iter__(self) -> Any:
        return iter(sorted(self.names))

    def __len__(self) -> int:
        return len(self.names)

    def check(self, spec: ModelSpec, directory: Path) -> None:
        """Account for every tensor before any memory is taken: none missing, none left over, all of the right shape."""
        known = family(spec.family)
        rules = known.rules(spec)
        expected = {name: rule for rule in rules for name in rule.names}
        missing = sorted(expected.keys() - self.names)
        unexpected = sorted(self.names - expected.keys() - known.redundant - known.constants(spec).keys())
        misshapen = [self._shapes(name, rule) for name, rule in expected.items() if name in self.names]
        mistyped = [name for name in sorted(self.names) if self.file.get_slice(name).get_dtype() not in FLOATS]
        complaints = [
            _listed("missing", missing),
            _listed("unexpected", unexpected),
            _listed("of another shape than config.json says", [text for text in misshapen if text]),
            _listed(f"of another type than {', '.join(FLOATS)}", mistyped),
        ]
        if any(complaints):
            raise CheckpointError(f"{directory / WEIGHTS}: " + "; ".join(text for text in complaints if text))

    def _shapes(self, name: str, rule: Rule) -> str:
        stored = self.shape(name)
        return "" if stored == rule.stored_shape() else f"{name} {stored} for {rule.stored_shape()}"


def _listed(what: str, names: list[str], most: int = 5) -> str:
    if not names:
        return ""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} tensors {what}: {', '.join(names[:most])}{more}"


def _spec(config: dict[str, Any], tensors: Tensors, directory: Path) -> ModelSpec:
    if not isinstance(config.get("model_type"), str):
        raise CheckpointError(f"{directory / CONFIG} has no model_type")
    known = family(config["model_type"])
    try:
        return known.adapt(known.from_config(config), tensors)
    except KeyError as error:
        raise CheckpointError(f"{directory / CONFIG} has no {error.args[0]}") from error
    except TypeError as error:
        raise CheckpointError(f"{directory / CONFIG} has a value of the wrong type: {error}") from error


def _generation_options(config: dict[str, Any], spec: ModelSpec, directory: Path) -> GenerationOptions:
    """The checkpoint's own way of decoding: generation_config.json, or as in older checkpoints config.json's keys."""
    written = read_json(directory, GENERATION) or config
    ignored = unsupported_generation_keys(written)
    if ignored:
        log.warning("%s: decoding does not know, and leaves out: %s", directory, ", ".join(sorted(ignored)))
    try:
        values = {"eos_token_id": spec.tokens.eos, "pad_token_id": spec.tokens.pad, **written}
        options = GenerationOptions.from_generation_config(values)
        options.check_vocabulary(spec.embedding.vocab_size)
        form = read_json(directory, REGARD).get("length_penalty_form")
        return options if form is None else options.merged(length_penalty_form=form)
    except ConfigError as error:
        raise CheckpointError(f"{directory}: the defaults of generation: {error}") from error
