"""Less memory for more time: what is inside a layer is computed once more in the backward pass (Chen et al. 2016)."""

from typing import Any

from regard.nn.layers import Stack


def recompute_layers(model: Any) -> None:
    """Let the model's layers keep nothing but their results in training, when attention weights are not returned."""
    for layer in model._flatten_layers():
        if isinstance(layer, Stack):
            layer.remat = True
