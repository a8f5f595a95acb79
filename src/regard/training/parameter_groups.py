"""Which weights are trained, at which share of the learning rate and with which decay."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from regard.config import GroupConfig, OptimizerConfig
from regard.errors import ConfigError
from regard.training.layer_decay import layer_shares

_MOST_HINTS = 3


class Treatment(NamedTuple):
    """What an optimizer does to one weight."""

    rate: float = 1.0  # multiplies the learning rate
    weight_decay: float = 0.0  # by step: this times the weight's own rate


Plan = Mapping[str, Treatment]  # by weight path; weights that are not trained are absent


def plan_updates(weights: Sequence[Any], config: OptimizerConfig, freeze: Iterable[str] = ()) -> Plan:
    """The treatment of each of `weights` that is trained.

    weights: have `path` and `shape`. freeze: patterns of paths that are not trained, beside the groups'.
    Weights of rank 0 and 1, which are the norms' scales and the biases, never decay, nor do T5's biases by distance.

    Raises ConfigError for a pattern that matches nothing, a decay for weights that never decay, and where nothing is
    left to train.
    """
    paths = [weight.path for weight in weights]
    decaying = {weight.path for weight in weights if len(weight.shape) > 1 and "relative_bias/" not in weight.path}
    shares = layer_shares(paths, config.layer_decay)
    plan = {path: Treatment(shares[path], config.weight_decay if path in decaying else 0.0) for path in paths}
    frozen: set[str] = set()
    for number, group in enumerate(config.groups):
        key = f"training.optimizer.groups.{number}"
        found = matching(group.pattern, paths, f"{key}.pattern")
        if group.freeze:
            frozen |= found
            continue
        if group.weight_decay and not found & decaying:
            raise ConfigError(f"{key}.weight_decay: {group.pattern!r} matches only norms and biases, which never decay")
        frozen -= found  # the later group decides
        for path in found:
            plan[path] = _changed(plan[path], group, shares[path], path in decaying)
    for pattern in freeze:
        frozen |= matching(pattern, paths, "training.freeze")
    if frozen >= set(paths):
        raise ConfigError("training.freeze and the groups leave no weight to train: let a pattern match less")
    return {path: treatment for path, treatment in plan.items() if path not in frozen}


def matching(pattern: str, paths: Sequence[str], key: str) -> set[str]:
    """The paths that match; * crosses slashes. Raises ConfigError, with near names, where there is none."""
    found = {path for path in paths if fnmatchcase(path, pattern)}
    if not found:
        near = difflib.get_close_matches(pattern, _patterns(paths), n=_MOST_HINTS)
        hint = f"did you mean {' or '.join(near)}?" if near else f"weights are named as {paths[0]}"
        raise ConfigError(f"{key}: no weight matches {pattern!r}: {hint} (`regard inspect MODEL --weights` lists all)")
    return found


def _patterns(paths: Sequence[str]) -> list[str]:
    """What one may have meant: each path, and all that is below each part of it."""
    branches = {"/".join(path.split("/")[:depth]) + "/*" for path in paths for depth in range(1, path.count("/") + 1)}
    return [*sorted(branches), *paths]


def _changed(treatment: Treatment, group: GroupConfig, share: float, decays: bool) -> Treatment:
    if group.rate is not None:
        treatment = treatment._replace(rate=group.rate * share)
    if group.weight_decay is not None and decays:
        treatment = treatment._replace(weight_decay=group.weight_decay)
    return treatment
