"""What frames say, one token or none each -> texts (Graves et al. 2006, section 3)."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def collapsed(frames: NDArray[np.integer], blank: int) -> Iterator[Sequence[int]]:
    """The text of each row's frames (B, S): of a run of one token that token, of blanks nothing. Given the likeliest
    token of each frame this is best path decoding: the text of the likeliest path, not always the likeliest text."""
    for row in frames:
        first = np.concatenate([[True], row[1:] != row[:-1]])
        yield row[first & (row != blank)].tolist()
