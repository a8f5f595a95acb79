"""Guesses of what comes next, from the text itself: prompt lookup decoding (Saxena 2023), as Transformers has it."""

from collections.abc import Sequence

import numpy as np

LONGEST_NGRAM = 2  # Transformers' max_matching_ngram_size


def looked_up(text: Sequence[int], count: int) -> list[int]:
    """At most `count` tokens that came after the last n-gram of `text` when it came before; the longest n-gram that
    came before counts, and its latest place that so many tokens follow."""
    ids = np.asarray(text)
    for size in range(min(LONGEST_NGRAM, len(ids) - 1), 0, -1):
        windows = np.lib.stride_tricks.sliding_window_view(ids[:-1], size)
        ends = np.flatnonzero((windows == ids[-size:]).all(axis=1)) + size
        if len(ends):
            whole = ends[ends + count <= len(ids)]
            start = whole[-1] if len(whole) else ends[0]
            found: list[int] = ids[start : start + count].tolist()
            return found
    return []
