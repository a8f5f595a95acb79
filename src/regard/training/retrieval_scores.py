"""How well the vectors of validation texts find what belongs to them."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from regard.batch import Batch
from regard.data.shards import TokenShards
from regard.metrics.retrieval import ranks, recall_at
from regard.nn.contrast import segment_vectors
from regard.nn.output import Output
from regard.training.scores import Score, Scores, Stop

NEAREST = 10


class RetrievalScores(Scores):
    """The loss within the batches, and recall@10 among all different positives of the split: 0..1."""

    def __init__(self, shards: TokenShards) -> None:
        numbers: dict[str, int] = {}
        self.relevant = np.array([numbers.setdefault(shards.text(row)[1], len(numbers)) for row in range(len(shards))])

    def begin(self) -> None:
        self.vectors: dict[int, np.ndarray] = {}  # of each row: (2, D)

    def read(self, output: Output, batch: Batch) -> list[tf.Tensor]:
        return [segment_vectors(output.last_hidden_state, batch["segment_ids"], 2)]

    def add(self, batch: Batch, read: Sequence[np.ndarray], rows: Sequence[int]) -> None:
        self.vectors.update(zip(rows, read[0], strict=True))

    def end(self, total: float, count: float, stop: Stop) -> Score:
        both = np.stack([self.vectors[row] for row in range(len(self.relevant))])
        _, first = np.unique(self.relevant, return_index=True)
        found = ranks(both[:, 0] @ both[first, 1].T, self.relevant)
        recall = float(np.mean([recall_at(rank, NEAREST) for rank in found.tolist()]))
        return {"loss": total / count, "recall10": recall}
