"""Where the words of a text begin, by its tokens; and which of them are hidden together."""

import re
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from regard.features.tokenizer import Tokenizer

# Those that BERT's tokenizer sets apart (Devlin et al. 2019): Chinese and the Chinese characters of Japanese.
_CHINESE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f]")
_CHINESE_LEADS = {bytes([lead]) for lead in range(0xE4, 0xEA)}  # first bytes of U+4000 to U+9FFF in UTF-8
_WHITE = frozenset("\n\r\t\v\f\u2028\u2029")  # but for the space, which belongs to the word that it stands before


class Words(NamedTuple):
    """A word begins at one of the ids of `begins`, and after one of `ends`; (V,) each."""

    begins: NDArray[np.bool_]
    ends: NDArray[np.bool_]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self:
        """WordPiece marks what goes on (##); of the others a space begins what it stands before. Whatever the
        tokenizer, other white space and each token of Chinese characters are words of their own."""
        names, pieces = tokenizer.tokens(range(tokenizer.vocab_size)), tokenizer.pieces()
        if tokenizer.algorithm == "WordPiece":
            begins = [not name.startswith("##") for name in names]
        else:
            begins = [name.startswith("▁") for name in names]
        alone = np.array([_stands_alone(_text(piece)) for piece in pieces])
        opened = np.array([not _text(piece) and piece[:1] in _CHINESE_LEADS for piece in pieces])
        return cls(np.array(begins) | alone | opened, alone)

    def split(self, ids: NDArray[np.int32], places: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """The places of a text's tokens, word by word."""
        after = self.ends[ids[places[:-1]]]
        return np.split(places, 1 + np.flatnonzero(self.begins[ids[places[1:]]] | after))

    def hidden(
        self, ids: NDArray[np.int32], text: NDArray[np.bool_], order: NDArray[np.uint64], wanted: int
    ) -> NDArray[np.bool_]:
        """Words in a drawn order, each taken that does not exceed what is wanted; where all are longer, as much of the
        shortest. -> (S,), of a row's ids (S,)."""
        words = sorted(self.split(ids, np.flatnonzero(text)), key=lambda word: int(order[word[0]]))
        hidden = np.zeros(len(ids), np.bool_)
        taken = 0
        for word in words:
            if taken + len(word) <= wanted:
                hidden[word] = True
                taken += len(word)
            if taken == wanted:
                break
        if not taken:
            hidden[min(words, key=len)[:wanted]] = True
        return hidden


def _text(piece: str | bytes) -> str:
    """Of a piece of bytes what they spell; "" where they end within a character."""
    try:
        return piece if isinstance(piece, str) else piece.decode()
    except UnicodeDecodeError:
        return ""


def _stands_alone(text: str) -> bool:
    return text[:1] in _WHITE or _CHINESE.match(text) is not None
