"""Models in and out of Hugging Face's layout: config.json, model.safetensors, generation_config.json, tokenizer.

Regard's own knowledge of a model (recipe, data hashes, scores, versions) goes into regard.json, which others ignore.
"""

import regard.nn  # noqa: F401  # first of all: it checks Keras's backend before Keras is imported

# isort: split
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import keras
import numpy as np

from regard.decoding.options import GENERATION_CONFIG_KEYS
from regard.errors import CheckpointError, ConfigError
from regard.interop.accounting import Named, account
from regard.interop.arrays import empty, taken_over
from regard.interop.companions import write_companions
from regard.interop.described import described
from regard.interop.directory import (
    CONFIG,
    GENERATION,
    REGARD,
    WEIGHTS,
    read_json,
    replacing,
    write_json,
    write_tensors,
)
from regard.interop.generation_defaults import generation_options
from regard.interop.opening import Checkpoint, StoredWeights, open_checkpoint
from regard.models.catalog import family
from regard.models.family import Config
from regard.models.forms import Transformer, build_model
from regard.models.weights import Rule
from regard.nn.layer import Start, starting_from
from regard.specs import HeadSpec, ModelSpec

log = logging.getLogger(__name__)

Head = HeadSpec | Literal["new", "none"] | None


class SavesItself(Protocol):
    """A tokenizer, as far as a checkpoint is concerned."""

    def save(self, directory: Path) -> None: ...


def load_model(path: str | Path, dtype: str = "float32", head: Head = None) -> Transformer:
    """A model directory -> a `keras.Model` with its weights.

    dtype: a Keras policy: "float32", "bfloat16" (weights too), "mixed_bfloat16" (products only), "float16", "float64",
    or "auto": each weight as it is stored, and products in the dtype of most. head: None, the checkpoint's own; "none",
    the bare model; "new", the checkpoint's own kind, fresh where its tensors are missing or of another size; or a
    `HeadSpec`, fresh too. At most, it takes the weights in their new dtype and twice the largest of them.
    Raises CheckpointError where a file is missing, damaged, or not of the model that config.json describes; all
    tensors that are missing, left over or of another shape are named.
    """
    return load_opened(open_checkpoint(path), dtype, head)


def load_opened(checkpoint: Checkpoint, dtype: str = "float32", head: Head = None) -> Transformer:
    """`load_model`, of a checkpoint whose config the caller may have changed, as long as the weights fit it."""
    checkpoint, _, named, spec = described(checkpoint)
    config, place, spec = checkpoint.config, checkpoint.place, _headed(spec, head)
    fresh = _fresh(spec, named, place, head)
    model = filled(spec, named, dtype, fresh)
    written = checkpoint.generation or ({} if spec.decoder is None else dict(config))
    model.generation_options = generation_options(written, spec, place)
    model.kept_config = config.unread() if head is None else {}
    kept = checkpoint.generation.items()  # an older config.json is kept as such
    model.kept_generation = {key: value for key, value in kept if key not in GENERATION_CONFIG_KEYS}
    model.companions = checkpoint.companions
    model.source = place if place.is_dir() else None
    return model


def _headed(spec: ModelSpec, head: Head) -> ModelSpec:
    if head is None or head == "new":
        return spec
    return replace(spec, head=HeadSpec("hidden") if head == "none" else head, logits_bias=False)


def _fresh(spec: ModelSpec, tensors: Named, directory: Path, head: Head) -> frozenset[str]:
    """The variables that begin anew: none, or of the head those that the checkpoint cannot fill, where that is asked
    for. Raises CheckpointError for whatever else does not fit."""
    rules = tensors.family.rules(spec)
    of_head = [rule for rule in rules if rule.path.startswith("head/")]
    fresh = frozenset(
        rule.path for rule in of_head if isinstance(head, HeadSpec) or (head == "new" and _unfit(spec, tensors, rule))
    )
    accounts = account(spec, tensors, [rule for rule in rules if rule.path not in fresh])
    if head is not None:  # what is left over is the old head
        if accounts.unexpected:
            log.info("%s: left aside: %s", directory, ", ".join(accounts.unexpected))
        accounts = accounts._replace(unexpected=[])
    if accounts.complaint():
        hint = '; head="new" begins the head anew' if head is None and of_head else ""
        raise CheckpointError(f"{tensors.tensors.origin}: {accounts.complaint()}{hint}")
    if fresh:
        log.info("%s: begin anew: %s", directory, ", ".join(sorted(fresh)))
    return fresh


def _unfit(spec: ModelSpec, tensors: Named, rule: Rule) -> bool:
    accounts = account(spec, tensors, [rule])
    return bool(accounts.missing or accounts.misshapen)


def filled(spec: ModelSpec, tensors: Named, dtype: str, fresh: frozenset[str]) -> Transformer:
    """A network of the variables that the rules of the tensors' family make; those in `fresh` begin anew."""
    rules = [rule for rule in tensors.family.rules(spec) if rule.path not in fresh]
    begun: set[str] = set()

    def value(rule: Rule, dtype: str) -> Any:
        begun.add(rule.path)
        return taken_over(_ours(rule, tensors, dtype))

    stored = dtype == "auto"
    starts = {
        rule.path: Start(partial(value, rule), _stored_dtype(rule, tensors) if stored else None) for rule in rules
    }
    with starting_from(starts):
        model = build_model(spec, _policy(tensors.tensors) if stored else dtype)
    assign_weights(model, tensors, but=fresh | begun)
    return model


def _stored_dtype(rule: Rule, tensors: Named) -> str:
    """That of the tensors that a variable is made of; where they differ, one that holds them all."""
    dtypes = {str(tensors.dtype(name)) for name in rule.names if name is not None}
    return dtypes.pop() if len(dtypes) == 1 else "float64" if "float64" in dtypes else "float32"


def _policy(tensors: StoredWeights) -> str:
    """The dtype that most of the weights are stored in."""
    sizes: Counter[str] = Counter()
    for name in tensors:
        sizes[tensors.dtype(name) or "float32"] += int(np.prod(tensors.shape(name)))
    return sizes.most_common(1)[0][0]


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
        write_loaded(model, directory, tokenizer=tokenizer, regard=regard)


def write_loaded(
    model: Transformer,
    directory: Path,
    *,
    tokenizer: SavesItself | None = None,
    regard: Mapping[str, Any] | None = None,
) -> None:
    """`save_model`, into a directory that the caller looks after."""
    if regard is None and model.source is not None:
        regard = read_json(model.source, REGARD)
    write_model(model, directory, tokenizer=tokenizer, regard=regard)
    if tokenizer is None:
        write_companions(model.companions, directory)


def write_model(
    model: Transformer,
    directory: Path,
    *,
    tokenizer: SavesItself | None = None,
    regard: Mapping[str, Any] | None = None,
    values: Mapping[str, np.ndarray] | None = None,
) -> None:
    """The files of a checkpoint, into a directory that the caller looks after.

    values: what `values_of` the model gave at some moment; absent: as the model is now.
    """
    config = family(model.spec.family).config(model.spec)
    tensors = weights_of(model, values)
    _check_said_in_full(model.spec, config, _Written(tensors))
    config = _with_kept(config, model.kept_config)
    write_json(directory, CONFIG, {**config, "dtype": _weight_dtype(model)})
    write_tensors(tensors, directory / WEIGHTS, {"format": "pt"})
    if model.spec.output.kind == "language":
        defaults = model.generation_options.to_generation_config()
        own = {"decoder_start_token_id": model.spec.tokens.decoder_start, "bos_token_id": model.spec.tokens.bos}
        said = {**model.kept_generation, **{key: value for key, value in own.items() if value is not None}, **defaults}
        write_json(directory, GENERATION, said)
    if tokenizer is not None:
        tokenizer.save(directory)
    form = model.generation_options.length_penalty_form
    write_json(directory, REGARD, {**(regard or {}), "length_penalty_form": form})


def values_of(model: Transformer) -> dict[str, np.ndarray]:
    """A copy of every weight, by the path of its variable."""
    variables = {variable.path: variable for variable in model.variables}
    rules = family(model.spec.family).rules(model.spec)
    return {rule.path: np.asarray(variables[rule.path].value) for rule in rules}


def weights_of(model: Transformer, values: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """Every weight under its Hugging Face name, sorted by name. values: as of `write_model`."""
    known = family(model.spec.family)
    variables = {variable.path: variable for variable in model.variables}
    dtype = _weight_dtype(model)
    constants = known.constants(model.spec)
    tensors = {name: constant().astype(dtype) for name, constant in constants.items()}
    for rule in known.rules(model.spec):
        value = variables[rule.path].value if values is None else values[rule.path]
        tensors |= rule.split(np.asarray(value))
    return dict(sorted(tensors.items()))


def assign_weights(model: Transformer, tensors: Mapping[str, np.ndarray], but: frozenset[str] = frozenset()) -> None:
    """Fill the model's variables from tensors under Hugging Face names, one at a time; `but` stay as they are."""
    variables = {variable.path: variable for variable in model.variables}
    for rule in family(model.spec.family).rules(model.spec):
        if rule.path not in but:
            variables[rule.path].assign(_ours(rule, tensors, str(variables[rule.path].dtype)))


def _ours(rule: Rule, tensors: Mapping[str, np.ndarray], dtype: str) -> np.ndarray:
    """The variable's array: at no time is there more of the tensors in memory than a piece."""
    array = empty(rule.shape, dtype)
    rule.fill(array, tensors.pieces if isinstance(tensors, Named) else lambda name: (tensors[name],))
    return array


def _weight_dtype(model: Transformer) -> str:
    """float32, float64, float16 or bfloat16 (NumPy knows that one through ml_dtypes)."""
    return str(keras.backend.standardize_dtype(model.variable_dtype))


class _Written(dict[str, np.ndarray]):
    """Tensors that are to be stored."""

    def shape(self, name: str) -> tuple[int, ...]:
        return self[name].shape


def _with_kept(config: dict[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """`kept` is what was left unread, of the configs inside, too, which have a model_type of their own."""
    whole = [key for key, value in config.items() if isinstance(value, dict) and "model_type" in value]
    return {**config, **kept, **{key: {**config[key], **kept.get(key, {})} for key in whole}}


def _check_said_in_full(spec: ModelSpec, config: dict[str, Any], tensors: _Written) -> None:
    """What the family's layout has no word for is refused, for it would load as another."""
    known = family(spec.family)
    tensors = _Written({**tensors, **{name: made() for name, made in known.constants(spec).items()}})  # unrounded
    read_back = replace(known.adapt(known.from_config(Config(config)), tensors), logits_bias=spec.logits_bias)
    if read_back != spec:
        parts = [part.name for part in fields(spec) if getattr(spec, part.name) != getattr(read_back, part.name)]
        raise ConfigError(f"{spec.family}'s layout cannot say this model's {' and '.join(parts)}: it cannot be saved")
