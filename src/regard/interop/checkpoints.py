"""Models in and out of Hugging Face's layout: config.json, model.safetensors, generation_config.json, tokenizer.

Regard's own knowledge of a model (recipe, data hashes, scores, versions) goes into regard.json, which others ignore.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import keras
import numpy as np
from safetensors.numpy import save_file

from regard.decoding.options import GENERATION_CONFIG_KEYS, GenerationOptions, unsupported_generation_keys
from regard.errors import CheckpointError, ConfigError
from regard.interop.accounting import Named, account
from regard.interop.directory import CONFIG, GENERATION, REGARD, WEIGHTS, read_json, replacing, write_json
from regard.interop.opening import StoredWeights, open_checkpoint
from regard.models.catalog import family
from regard.models.family import Config, Family
from regard.models.forms import Transformer, build_model
from regard.models.weights import Rule
from regard.nn.layer import blank_weights
from regard.specs import HeadSpec, ModelSpec

log = logging.getLogger(__name__)

Head = HeadSpec | Literal["new", "none"] | None


class SavesItself(Protocol):
    """A tokenizer, as far as a checkpoint is concerned."""

    def save(self, directory: Path) -> None: ...


def load_model(path: str | Path, dtype: str = "float32", head: Head = None) -> Transformer:
    """A model directory -> a `keras.Model` with its weights.

    dtype: a Keras policy: "float32", "bfloat16" (weights too), "mixed_bfloat16" (products only), "float16", "float64",
    or "auto": that of most of the stored weights. head: None, the checkpoint's own; "none", the bare model; "new", the
    checkpoint's own kind, fresh where its tensors are missing or of another size; or a `HeadSpec`, fresh too.
    Raises CheckpointError where a file is missing, damaged, or not of the model that config.json describes; all
    tensors that are missing, left over or of another shape are named.
    """
    checkpoint = open_checkpoint(path)
    config, place = checkpoint.config, checkpoint.place
    _complete(config, checkpoint.generation)
    known = _family(config, place)
    named = Named(checkpoint.tensors, known)
    spec = _headed(_spec(config, known, named, place), head)
    fresh = _fresh(spec, named, place, head)
    model = _filled(spec, named, _policy(checkpoint.tensors) if dtype == "auto" else dtype, fresh)
    written = checkpoint.generation or ({} if spec.decoder is None else dict(config))
    model.generation_options = _generation_options(written, spec, place)
    model.kept_config = config.unread() if head is None else {}
    model.kept_generation = {key: value for key, value in written.items() if key not in GENERATION_CONFIG_KEYS}
    model.companions = checkpoint.companions
    model.source = place if place.is_dir() else None
    return model


def _complete(config: Config, generation: Mapping[str, Any]) -> None:
    """Captioners may say in generation_config.json alone which token begins a text."""
    key, said = "decoder_start_token_id", dict(config)  # to look into the config itself counts as reading
    if said.get("is_encoder_decoder") and said.get(key) is None and generation.get(key) is not None:
        config[key] = generation[key]


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


def _filled(spec: ModelSpec, tensors: Named, dtype: str, fresh: frozenset[str]) -> Transformer:
    if fresh:
        model = build_model(spec, dtype)
    else:
        with blank_weights():
            model = build_model(spec, dtype)
    assign_weights(model, tensors, but=fresh)
    return model


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
        if regard is None and model.source is not None:
            regard = read_json(model.source, REGARD)
        write_model(model, directory, tokenizer=tokenizer, regard=regard)
        if tokenizer is None:
            for name, content in model.companions.items():
                (directory / name).write_bytes(content())


def write_model(
    model: Transformer,
    directory: Path,
    *,
    tokenizer: SavesItself | None = None,
    regard: Mapping[str, Any] | None = None,
) -> None:
    """The files of a checkpoint, into a directory that the caller looks after."""
    config = family(model.spec.family).config(model.spec)
    tensors = weights_of(model)
    _check_said_in_full(model.spec, config, _Written(tensors))
    config = _with_kept(config, model.kept_config)
    write_json(directory, CONFIG, {**config, "dtype": _weight_dtype(model)})
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
    if model.spec.output.kind == "language":
        defaults = model.generation_options.to_generation_config()
        own = {"decoder_start_token_id": model.spec.tokens.decoder_start, "bos_token_id": model.spec.tokens.bos}
        said = {**model.kept_generation, **{key: value for key, value in own.items() if value is not None}, **defaults}
        write_json(directory, GENERATION, said)
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


def assign_weights(model: Transformer, tensors: Mapping[str, np.ndarray], but: frozenset[str] = frozenset()) -> None:
    """Fill the model's variables from tensors under Hugging Face names, one at a time; `but` stay as they are."""
    variables = {variable.path: variable for variable in model.variables}
    for rule in family(model.spec.family).rules(model.spec):
        if rule.path not in but:
            variables[rule.path].assign(rule.join([None if name is None else tensors[name] for name in rule.names]))


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


def _family(config: Config, directory: Path) -> Family:
    if not isinstance(config.get("model_type"), str):
        raise CheckpointError(f"{directory / CONFIG} has no model_type")
    return family(config["model_type"])


def _spec(config: Config, known: Family, tensors: Named, directory: Path) -> ModelSpec:
    try:
        return known.adapt(known.from_config(config), tensors)
    except KeyError as error:
        raise CheckpointError(f"{directory / CONFIG} has no {error.args[0]}") from error
    except (TypeError, ZeroDivisionError, AttributeError) as error:
        raise CheckpointError(f"{directory / CONFIG} has a value of the wrong type: {error}") from error
    except ConfigError as error:
        raise CheckpointError(f"{directory / CONFIG}: {error}") from error


def _within_vocabulary(values: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    """The ids that end a text or are suppressed, without those beyond the vocabulary, which change nothing: a small
    model's file often has the defaults of a large one."""
    found: dict[str, Any] = {}
    for key in ("eos_token_id", "suppress_tokens", "begin_suppress_tokens"):
        value = values.get(key)
        listed = value if isinstance(value, (list, tuple)) else [value]
        if any(type(token) is int and token >= vocab_size for token in listed):
            found[key] = [token for token in listed if type(token) is not int or token < vocab_size] or None
    return found


def _generation_options(written: Mapping[str, Any], spec: ModelSpec, directory: Path) -> GenerationOptions:
    """The checkpoint's own way of decoding: generation_config.json, or as in older checkpoints config.json's keys."""
    if spec.output.kind != "language":
        return GenerationOptions()
    ignored = unsupported_generation_keys(written)
    if ignored:
        log.warning("%s: decoding does not know, and leaves out: %s", directory, ", ".join(sorted(ignored)))
    try:
        values = {"eos_token_id": spec.tokens.eos, "pad_token_id": spec.tokens.pad, **written}
        values |= _within_vocabulary(values, spec.text.vocab_size)
        options = GenerationOptions.from_generation_config(values)
        options.check_vocabulary(spec.text.vocab_size)
        form = read_json(directory, REGARD).get("length_penalty_form") if directory.is_dir() else None
        return options if form is None else options.merged(length_penalty_form=form)
    except ConfigError as error:
        raise CheckpointError(f"{directory}: the defaults of generation: {error}") from error
