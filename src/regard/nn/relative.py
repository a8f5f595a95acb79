"""T5's relative positions: a bias on the scores by the distance alone (Raffel et al. 2020, section 2.1)."""

from typing import Any

import keras
from keras import ops

from regard.nn.layer import Layer
from regard.nn.output import Tensor
from regard.specs import RelativeSpec
from regard.specs.tables import bucket_of_distance


class RelativeBias(Layer):
    """One table (buckets, N) for all layers of a stack. Looking both ways, half of the buckets are for later keys."""

    def __init__(self, spec: RelativeSpec, heads: int, bidirectional: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec, self.heads, self.bidirectional = spec, heads, bidirectional
        self.bucket = bucket_of_distance(spec, bidirectional)

    def build(self) -> None:
        self.table = self.add_weight(
            name="table",
            shape=(self.spec.buckets, self.heads),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            autocast=False,
        )

    def call(self, places: Tensor, key_places: Tensor) -> Tensor:
        """(B, T), (B, S) int32 -> (B, N, T, S)."""
        ahead = key_places[:, None, :] - places[:, :, None]
        distance = ops.abs(ahead) if self.bidirectional else ops.maximum(-ahead, 0)
        bucket = ops.take(ops.convert_to_tensor(self.bucket), ops.minimum(distance, self.spec.max_distance))
        if self.bidirectional:
            bucket = ops.where(ahead > 0, bucket + self.spec.buckets // 2, bucket)
        return ops.transpose(ops.take(self.table.value, bucket, axis=0), (0, 3, 1, 2))  # -> (B,N,T,S)
