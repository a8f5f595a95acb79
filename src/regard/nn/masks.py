"""Which query may attend to which key: boolean tensors that broadcast to (B, N, T, S), True = may attend."""

from keras import ops

from regard.nn.output import Tensor


def padding_mask(real: Tensor) -> Tensor:
    """Every query may attend to the real keys only. `real`: (B, S), non-zero for a real token."""
    return ops.cast(real, "bool")[:, None, None, :]  # (B,S) -> (B,1,1,S)


def causal_mask(length: Tensor) -> Tensor:
    """A query may attend to itself and what came before (section 3.2.3)."""
    place = ops.arange(length)
    return (place[:, None] >= place[None, :])[None, None]  # (T,S) -> (1,1,T,S)


def segment_mask(query_segments: Tensor, key_segments: Tensor) -> Tensor:
    """Tokens attend only within one segment: (B, T), (B, S) -> (B, 1, T, S)."""
    return (query_segments[:, :, None] == key_segments[:, None, :])[:, None]


def window_mask(places: Tensor, key_places: Tensor, window: int) -> Tensor:
    """A query may attend to keys fewer than `window` places before it (Beltagy et al. 2020): (B, T), (B, S) ->
    (B, 1, T, S)."""
    return (places[:, :, None] - key_places[:, None, :] < window)[:, None]


def all_of(*masks: Tensor | None) -> Tensor | None:
    """The pairs that every given mask allows; None allows all."""
    given = [mask for mask in masks if mask is not None]
    if not given:
        return None
    joint = given[0]
    for mask in given[1:]:
        joint = ops.logical_and(joint, mask)
    return joint
