"""What a network reads, as vectors with their places: tokens, patches of an image, frames of audio."""

from typing import Any

import keras
import numpy as np
from keras import ops

from regard.errors import InputError
from regard.nn.dropout import Dropout
from regard.nn.embedding import TokenEmbedding
from regard.nn.layer import Layer
from regard.nn.linear import Linear
from regard.nn.norm import Norm
from regard.nn.output import Tensor
from regard.nn.positions import PositionTable
from regard.specs import AudioSpec, EmbeddingSpec, PatchSpec, PositionSpec
from regard.specs.tables import grid_sinusoids


class TokenStem(Layer):
    """E[ids] * sqrt(D) + PE[places] (section 3.5), with BERT's token types and norm where the spec has them. The token
    table is shared by the sides of a model; the rest is each side's own."""

    def __init__(self, spec: EmbeddingSpec, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec, own = spec, {"dtype": self.dtype_policy}
        self.positions = None
        if spec.positions.kind != "none":
            self.positions = PositionTable(spec.positions, spec.width, name="positions", **own)
        self.norm = Norm(spec.width, spec.norm_epsilon, name="norm", **own) if spec.norm else None
        self.dropout = Dropout(spec.dropout, name="dropout", **own)

    def build(self) -> None:
        for part in (self.positions, self.norm):
            if part is not None:
                part.build()
        if self.spec.token_types:
            self.token_types = self.add_weight(
                name="token_types",
                shape=(self.spec.token_types, self.spec.width),
                initializer=keras.initializers.RandomNormal(stddev=0.02),
                autocast=False,
            )

    def call(
        self,
        ids: Tensor,
        embedding: TokenEmbedding,
        places: Tensor,
        types: Tensor | None = None,
        training: bool = False,
    ) -> Tensor:
        """ids, places, types: (B, T) int32 -> (B, T, D). Absent types are 0."""
        hidden = embedding(ids, training=training)
        if self.spec.token_types:
            types = ops.zeros_like(ids) if types is None else types
            hidden = hidden + ops.cast(ops.take(self.token_types.value, types, axis=0), hidden.dtype)
        if self.positions is not None:
            hidden = hidden + self.positions(places)
        if self.norm is not None:
            hidden = self.norm(hidden)
        return self.dropout(hidden, training=training)


class PatchStem(Layer):
    """Patches projected to vectors, after the class token; plus positions (Dosovitskiy et al. 2021, equation 1)."""

    def __init__(self, spec: PatchSpec, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec, own = spec, {"dtype": self.dtype_policy}
        area = spec.patch_height * spec.patch_width * spec.channels
        self.projection = Linear(area, spec.width, bias=spec.bias, name="projection", **own)
        places = PositionSpec("learned", max_positions=spec.count + spec.extra_tokens)
        self.positions = PositionTable(places, spec.width, _on_a_grid(spec), name="positions", **own)
        self.norm = Norm(spec.width, spec.norm_epsilon, name="norm", **own) if spec.norm else None
        self.dropout = Dropout(spec.dropout, name="dropout", **own)

    def build(self) -> None:
        self.projection.build()
        self.positions.build()
        if self.norm is not None:
            self.norm.build()
        if self.spec.extra_tokens:
            shape = (self.spec.extra_tokens, self.spec.width)
            initial = keras.initializers.RandomNormal(stddev=0.02)
            self.extra_tokens = self.add_weight(name="extra_tokens", shape=shape, initializer=initial, autocast=False)

    def call(self, pixels: Tensor, training: bool = False) -> Tensor:
        """(B, height, width, C) -> (B, extra + P, D), the patches row by row. Raises InputError for other sizes."""
        require_shape("pixel_values", pixels, self.spec.image_height, self.spec.image_width, self.spec.channels)
        hidden = self.projection(cut_patches(ops.cast(pixels, self.compute_dtype), self.spec))
        batch = ops.shape(hidden)[0]
        if self.spec.extra_tokens:
            shape = (batch, self.spec.extra_tokens, self.spec.width)
            extra = ops.broadcast_to(ops.cast(self.extra_tokens.value, hidden.dtype)[None], shape)
            hidden = ops.concatenate([extra, hidden], axis=1)
        hidden = hidden + self.positions(ops.arange(hidden.shape[1], dtype="int32")[None])
        if self.norm is not None:
            hidden = self.norm(hidden)
        return self.dropout(hidden, training=training)


def _on_a_grid(spec: PatchSpec) -> np.ndarray:
    """What the positions of patches begin with, which are learned from there on: (extra + P, D)."""
    rows, columns = spec.image_height // spec.patch_height, spec.image_width // spec.patch_width
    return np.pad(grid_sinusoids(rows, columns, spec.width), ((spec.extra_tokens, 0), (0, 0)))


def cut_patches(pixels: Tensor, spec: PatchSpec) -> Tensor:
    """(B, height, width, C) -> (B, P, patch_height * patch_width * C); what fills no patch is left out."""
    rows, columns = spec.image_height // spec.patch_height, spec.image_width // spec.patch_width
    pixels = pixels[:, : rows * spec.patch_height, : columns * spec.patch_width]
    grid = ops.reshape(pixels, (-1, rows, spec.patch_height, columns, spec.patch_width, spec.channels))
    grid = ops.transpose(grid, (0, 1, 3, 2, 4, 5))
    return ops.reshape(grid, (-1, spec.count, spec.patch_height * spec.patch_width * spec.channels))


def require_shape(name: str, values: Tensor, *sizes: int | None) -> None:
    """Raise InputError unless `values` is (B, *sizes), as far as a graph knows; None: any size."""
    known = tuple(values.shape)
    if len(known) != 1 + len(sizes) or any(
        None not in (size, n) and size != n for size, n in zip(known[1:], sizes, strict=True)
    ):
        raise InputError(f"{name} must be (B, {', '.join(map(str, sizes))}), but is {known}")


class AudioStem(Layer):
    """Two convolutions over the frames, each of three, the second of stride 2; plus positions (Radford et al. 2022)."""

    def __init__(self, spec: AudioSpec, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec, own = spec, {"dtype": self.dtype_policy}
        self.first = Linear(3 * spec.mels, spec.width, name="first", **own)
        self.second = Linear(3 * spec.width, spec.width, name="second", **own)
        self.positions = PositionTable(spec.positions, spec.width, name="positions", **own)
        self.dropout = Dropout(spec.dropout, name="dropout", **own)

    def build(self) -> None:
        for part in (self.first, self.second, self.positions):
            part.build()

    def call(self, features: Tensor, training: bool = False) -> Tensor:
        """(B, A, M) -> (B, A / 2, D). Raises InputError for other sizes than the spec's."""
        frames = 2 * self.spec.positions.max_positions if self.spec.whole_windows else None
        require_shape("input_features", features, frames, self.spec.mels)
        hidden = ops.gelu(self.first(threes(ops.cast(features, self.compute_dtype), 1)), approximate=False)
        hidden = ops.gelu(self.second(threes(hidden, 2)), approximate=False)
        places = ops.arange(ops.shape(hidden)[1], dtype="int32")[None]
        return self.dropout(hidden + self.positions(places), training=training)


def threes(frames: Tensor, stride: int) -> Tensor:
    """Each frame with its neighbours, zeros beyond the ends: (B, A, M) -> (B, ceil(A / stride), 3 * M)."""
    padded = ops.pad(frames, ((0, 0), (1, 1), (0, 0)))
    length = ops.shape(frames)[1]
    return ops.concatenate([padded[:, i : i + length : stride] for i in range(3)], axis=-1)
