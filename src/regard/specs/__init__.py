"""ModelSpec and its parts: what a network is, as frozen data that checks itself.

A family is a function that returns a `ModelSpec`; the code in `nn` and `models` reads specs and never a family's
name. Sizes are counts, rates are probabilities in [0, 1).
"""

from regard.specs.layers import Activation, Biases, LayerSpec, NormOrder, RelativeSpec, RotarySpec, StackSpec
from regard.specs.model import Form, HeadKind, HeadSpec, ModelSpec, Problem, TokenIds
from regard.specs.pair import PairSpec
from regard.specs.stems import AudioSpec, EmbeddingSpec, PatchSpec, PositionSpec

__all__ = [
    "Activation",
    "AudioSpec",
    "Biases",
    "EmbeddingSpec",
    "Form",
    "HeadKind",
    "HeadSpec",
    "LayerSpec",
    "ModelSpec",
    "NormOrder",
    "PairSpec",
    "PatchSpec",
    "PositionSpec",
    "Problem",
    "RelativeSpec",
    "RotarySpec",
    "StackSpec",
    "TokenIds",
]
