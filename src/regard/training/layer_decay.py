"""Rates that shrink with the distance from the head (Howard and Ruder 2018, section 3.2; Clark et al. 2020)."""

from collections.abc import Iterable

_BOTTOM = {"embedding", "stem", "relative_bias"}  # below a stack's first layer; all else that is no layer is above
_LAYER = "layer_"


def layer_shares(paths: Iterable[str], decay: float) -> dict[str, float]:
    """Weight path -> decay to the power of its distance from the head: 0 for the head and what else stands above the
    layers, 1 for a stack's last layer, depth + 1 for what is below its first.

    Encoder and decoder count each from its own top; a table that both read is as deep as the deeper of the two.
    """
    places = {path: (*path.split("/"), "")[:2] for path in paths}
    depths: dict[str, int] = {}
    for stack, part in places.values():
        if part.startswith(_LAYER):
            depths[stack] = max(depths.get(stack, 0), _number(part) + 1)
    tables = {stack for stack, part in places.values() if part == "embedding"}
    shared = tables == {"encoder"} and depths.keys() == {"encoder", "decoder"}  # a decoder's own is of its side alone
    below = dict.fromkeys(depths, max(depths.values(), default=0)) if shared else depths  # an embedding
    return {
        path: decay ** _distance(part, (below if part == "embedding" else depths).get(stack, 0))
        for path, (stack, part) in places.items()
    }


def _distance(part: str, depth: int) -> int:
    if part.startswith(_LAYER):
        return depth - _number(part)
    return depth + 1 if part in _BOTTOM else 0


def is_in_a_layer(path: str) -> bool:
    """Whether a weight stands inside a layer of a stack."""
    return f"/{_LAYER}" in path


def _number(part: str) -> int:
    return int(part.removeprefix(_LAYER))
