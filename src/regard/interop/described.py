"""What a checkpoint is, read from its config and the table of its tensors: no network is built, no weight is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from regard.errors import CheckpointError, ConfigError, RegardError
from regard.interop.accounting import Named
from regard.interop.directory import CONFIG
from regard.interop.opening import Checkpoint
from regard.models.catalog import family
from regard.models.family import Config, Family
from regard.specs import ModelSpec


class Described(NamedTuple):
    checkpoint: Checkpoint
    family: Family
    tensors: Named  # under today's names
    spec: ModelSpec


def described(checkpoint: Checkpoint) -> Described:
    """Raises CheckpointError where config.json says nothing that Regard knows, or contradicts itself."""
    config, place = checkpoint.config, checkpoint.place
    _complete(config, checkpoint.generation)
    if not isinstance(config.get("model_type"), str):
        raise CheckpointError(f"{place / CONFIG} has no model_type")
    known = family(config["model_type"])
    tensors = Named(checkpoint.tensors, known)
    return Described(checkpoint, known, tensors, _spec(config, known, tensors, place))


def _complete(config: Config, generation: Mapping[str, Any]) -> None:
    """Captioners may say in generation_config.json alone which token begins a text."""
    key, said = "decoder_start_token_id", dict(config)  # to look into the config itself counts as reading
    if said.get("is_encoder_decoder") and said.get(key) is None and generation.get(key) is not None:
        config[key] = generation[key]


def _spec(config: Config, known: Family, tensors: Named, place: Path) -> ModelSpec:
    try:
        return known.adapt(known.from_config(config), tensors)
    except ConfigError as error:
        raise CheckpointError(f"{place / CONFIG}: {error}") from error
    except RegardError:  # some are ValueErrors, too
        raise
    except KeyError as error:
        raise CheckpointError(f"{place / CONFIG} has no {error.args[0]}") from error
    except (TypeError, ValueError, ArithmeticError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{place / CONFIG} has a value of the wrong type: {error}") from error
