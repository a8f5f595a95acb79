"""Which tokens are the first of a word."""

from collections.abc import Sequence

import numpy as np

from regard.features.encoding import Encoding


def first_tokens(encoding: Encoding, words: Sequence[str], values: Sequence[int]) -> list[int]:
    """Each word's value at its first token, 0 elsewhere; the text is the words with a space between."""
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    starts = ends - [len(word) for word in words]
    found = [0] * len(encoding.ids)
    seen = -1
    for place, ((_, end), of) in enumerate(zip(encoding.offsets, encoding.segments, strict=True)):
        word = int(np.searchsorted(ends, end - 1, side="right"))  # the word of the token's last character
        if of is None or end == 0 or word == len(words) or end <= starts[word] or word == seen:
            continue
        found[place], seen = values[word], word
    return found
