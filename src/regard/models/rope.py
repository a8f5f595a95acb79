"""How config.json speaks of rotary positions: `rope_parameters`, or `rope_theta` and `rope_scaling` before 5.0."""

import math
from typing import Any

from regard.errors import CheckpointError
from regard.models.family import Config
from regard.specs import RotarySpec

SCALINGS = ("default", "linear", "llama3", "yarn")


def read_rope(config: Config, max_positions: int) -> RotarySpec:
    """Raises CheckpointError for a way of scaling that is not known here."""
    theta, scaling = config.get("rope_theta", 10000.0), config.get("rope_scaling", {})
    said = {"rope_theta": theta, **(scaling or config.get("rope_parameters", {}))}
    kind = said.get("rope_type", said.get("type", "default"))
    if kind not in SCALINGS:
        raise CheckpointError(f"config.json: unknown rope_type {kind!r}: known are {', '.join(SCALINGS)}")
    if said.get("partial_rotary_factor", 1.0) != 1.0:
        raise CheckpointError("config.json: a partial_rotary_factor other than 1 is not supported")
    theta = float(said["rope_theta"])
    if kind == "default":
        return RotarySpec(theta)
    original = said.get("original_max_position_embeddings", max_positions)
    factor = float(said.get("factor") or max_positions / original)
    if kind == "linear":
        return RotarySpec(theta, "linear", factor)
    if kind == "llama3":
        low, high = float(said["low_freq_factor"]), float(said["high_freq_factor"])
        return RotarySpec(theta, "llama3", factor, original, low, high)
    return RotarySpec(
        theta,
        "yarn",
        factor,
        original,
        beta_slow=float(said.get("beta_slow") or 1),
        beta_fast=float(said.get("beta_fast") or 32),
        magnitude=_magnitude(said, factor),
        whole_bounds=said.get("truncate", True),
    )


def _magnitude(said: dict[str, Any], factor: float) -> float:
    """Longer contexts make attention flatter, so the scores are made larger (Peng et al. 2024, section 3.3)."""

    def grown(share: float = 1.0) -> float:
        return 0.1 * share * math.log(factor) + 1 if factor > 1 else 1.0

    if said.get("attention_factor") is not None:
        return float(said["attention_factor"])
    if said.get("mscale") and said.get("mscale_all_dim"):
        return grown(said["mscale"]) / grown(said["mscale_all_dim"])
    return grown()


def rope_config(rotary: RotarySpec) -> dict[str, Any]:
    """`rope_parameters` as Transformers 5 writes them."""
    said: dict[str, Any] = {"rope_theta": rotary.theta, "rope_type": rotary.scaling}
    if rotary.scaling == "none":
        return said | {"rope_type": "default"}
    said["factor"] = rotary.factor
    if rotary.scaling == "linear":
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
