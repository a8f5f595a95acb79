"""How config.json speaks of rotary positions: `rope_parameters`, or `rope_theta` and `rope_scaling` before 5.0."""

import math
from typing import Any

from regard.errors import CheckpointError
from regard.models.family import Config
from regard.specs import RotarySpec
from regard.specs.checks import is_number

SCALINGS = ("default", "linear", "dynamic", "llama3", "yarn")


def read_rope(config: Config, max_positions: int) -> RotarySpec:
    """Raises CheckpointError for a way of scaling that is not known here, or one that lacks a number."""
    said = _said(config)
    kind = said.get("rope_type", said.get("type", "default"))
    if kind not in SCALINGS:
        raise CheckpointError(f"config.json: unknown rope_type {kind!r}: known are {', '.join(SCALINGS)}")
    theta = _number(said, "rope_theta")
    if kind == "default":  # Transformers turns all dimensions then, whatever partial_rotary_factor says
        return RotarySpec(theta)
    if _number(said, "partial_rotary_factor", 1.0) != 1.0:
        raise CheckpointError(f"config.json: a partial_rotary_factor other than 1 is not supported with {kind!r}")
    if "factor" not in said:
        raise CheckpointError(f"config.json: rope_type {kind!r} needs a factor, but there is none")
    if kind == "linear":
        return RotarySpec(theta, "linear", _number(said, "factor"))
    if kind == "dynamic":  # Transformers takes the config's own length for the pre-training's
        return RotarySpec(theta, "dynamic", _number(said, "factor"), max_positions)
    original = said.get("original_max_position_embeddings", max_positions)
    if kind == "llama3":
        low, high = _number(said, "low_freq_factor"), _number(said, "high_freq_factor")
        return RotarySpec(theta, "llama3", _number(said, "factor"), original, low, high)
    factor = _number(said, "factor", 0.0) or max_positions / original
    return RotarySpec(
        theta,
        "yarn",
        factor,
        original,
        beta_slow=_number(said, "beta_slow", 0.0) or 1.0,
        beta_fast=_number(said, "beta_fast", 0.0) or 32.0,
        magnitude=_magnitude(said, factor),
        whole_bounds=said.get("truncate", True),
    )


def _said(config: Config) -> dict[str, Any]:
    """All that there is, in one; the scaling comes before what it is called since 5.0."""
    theta, scaling = config.get("rope_theta", 10000.0), config.get("rope_scaling", {})
    said = scaling or config.get("rope_parameters", {})
    if not isinstance(said, dict):
        raise CheckpointError(f"config.json: rope_parameters must be an object, but is {said!r}")
    nested = [name for name, value in said.items() if isinstance(value, dict)]
    if nested:
        raise CheckpointError(f"config.json: rope_parameters for each type of layer ({nested[0]}) are not supported")
    return {"rope_theta": theta, **said}


def _number(said: dict[str, Any], key: str, default: float | None = None) -> float:
    """A finite number; the default, where there is one, if it is absent or null."""
    value: Any = said.get(key)
    if value is None and default is not None:
        return default
    if not is_number(value) or not abs(value) < 1e300:  # JSON has NaN, Infinity and whole numbers of any size
        raise CheckpointError(f"config.json: {key} of the rotary positions must be a number, but is {value!r}")
    return float(value)


def _magnitude(said: dict[str, Any], factor: float) -> float:
    """Longer contexts make attention flatter, so the scores are made larger (Peng et al. 2024, section 3.3)."""

    def grown(share: float = 1.0) -> float:
        return 0.1 * share * math.log(factor) + 1 if factor > 1 else 1.0

    if said.get("attention_factor") is not None:
        return _number(said, "attention_factor")
    if said.get("mscale") and said.get("mscale_all_dim"):
        return grown(_number(said, "mscale")) / grown(_number(said, "mscale_all_dim"))
    return grown()


def rope_config(rotary: RotarySpec) -> dict[str, Any]:
    """`rope_parameters` as Transformers 5 writes them."""
    said: dict[str, Any] = {"rope_theta": rotary.theta, "rope_type": rotary.scaling}
    if rotary.scaling == "none":
        return said | {"rope_type": "default"}
    said["factor"] = rotary.factor
    if rotary.scaling in ("linear", "dynamic"):
        return said
    said["original_max_position_embeddings"] = rotary.original_positions
    if rotary.scaling == "llama3":
        low, high = rotary.low_frequency_factor, rotary.high_frequency_factor
        return said | {"low_freq_factor": low, "high_freq_factor": high}
    return said | {
        "beta_slow": rotary.beta_slow,
        "beta_fast": rotary.beta_fast,
        "attention_factor": rotary.magnitude,
        "truncate": rotary.whole_bounds,
    }
