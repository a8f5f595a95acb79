"""How high a search ranks what was looked for."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ranks(similarities: ArrayLike, relevant: ArrayLike) -> NDArray[np.int64]:
    """The rank, from 1, of each query's relevant candidate: (N, M) similarities, (N,) columns -> (N,).

    Candidates that are as near as it stand before it: vectors that are all the same find nothing.
    """
    values, columns = np.asarray(similarities), np.asarray(relevant)
    own: NDArray[Any] = np.take_along_axis(values, columns[:, None], axis=1)
    return np.sum(values >= own, axis=1).astype(np.int64)


def recall_at(rank: int, k: int) -> float:
    """1 where what was looked for is among the first k, else 0; the mean over the queries is recall@k, as each has one
    relevant candidate."""
    return float(rank <= k)
