"""Every family by its name in config.json, every preset by its own."""

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from regard.errors import CheckpointError, ConfigError
from regard.models import bart_layout, vaswani
from regard.models.weights import Rule, StoredTensors
from regard.specs import ModelSpec, TokenIds


class Family(NamedTuple):
    """A family is data: how its config reads and writes, and what its weights are called."""

    from_config: Callable[[dict[str, Any]], ModelSpec]
    config: Callable[[ModelSpec], dict[str, Any]]
    rules: Callable[[ModelSpec], list[Rule]]
    adapt: Callable[[ModelSpec, StoredTensors], ModelSpec]  # what only the tensors say
    constants: Callable[[ModelSpec], dict[str, Callable[[], np.ndarray]]]  # tensors of the layout, no variables of ours
    redundant: frozenset[str]  # tensors of a checkpoint that say nothing new


_VASWANI = Family(
    vaswani.from_config,
    vaswani.config,
    bart_layout.rules,
    bart_layout.adapt,
    bart_layout.constants,
    bart_layout.REDUNDANT,
)

FAMILIES: dict[str, Family] = {"marian": _VASWANI, "pegasus": _VASWANI}

PRESETS: dict[str, dict[str, Any]] = vaswani.PRESETS


def family(name: str) -> Family:
    if name not in FAMILIES:
        raise CheckpointError(f"unknown model_type {name!r}: known are {', '.join(sorted(FAMILIES))}")
    return FAMILIES[name]


def spec(preset: str, *, vocab_size: int, pad_id: int, eos_id: int, **overrides: Any) -> ModelSpec:
    """A preset's spec for a vocabulary; `overrides` as in `ModelConfig`. Raises ConfigError for an unknown preset."""
    if preset not in PRESETS:
        near = difflib.get_close_matches(preset, PRESETS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(PRESETS)}"
        raise ConfigError(f"unknown preset {preset!r}: {hint}")
    tokens = TokenIds(pad=pad_id, eos=eos_id, decoder_start=pad_id)
    return vaswani.preset(vocab_size=vocab_size, tokens=tokens, **{**PRESETS[preset], **overrides})
