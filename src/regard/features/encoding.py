"""A text, or a pair of them, as token ids: whose text each token is of, and which characters of it.

Nothing is cut unless somebody asks for a length, and what was cut is counted.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from regard.errors import InputError

Side = Literal["left", "right"]


class Encoding(NamedTuple):
    """The tokens of one model input; all lists are of equal length.

    ids: token ids. token_type_ids: 0 or 1, as models with token types take them. offsets: (start, end), the characters
    of its own text that a token stands for; (0, 0) for tokens that stand for none, and for all tokens of Marian and
    M2M-100, whose texts SentencePiece cuts. segments: 0 or 1, the text that a token is of; None for special tokens
    around the texts. cut: how many tokens of the texts were left out.
    """

    ids: list[int]
    token_type_ids: list[int]
    offsets: list[tuple[int, int]]
    segments: list[int | None]
    cut: int = 0

    def framed(self, first: Sequence[int], last: Sequence[int]) -> "Encoding":
        """With special tokens before and after, and one token type for all."""
        return Encoding(
            [*first, *self.ids, *last],
            [0] * (len(first) + len(self.ids) + len(last)),
            [(0, 0)] * len(first) + self.offsets + [(0, 0)] * len(last),
            [None] * len(first) + self.segments + [None] * len(last),
            self.cut,
        )

    def shortened(self, max_length: int, side: Side = "right") -> "Encoding":
        """At most `max_length` tokens: the longer text is cut first, at its end (`side` "left": at its beginning).

        As Transformers' "longest_first". Raises InputError where the special tokens alone are more.
        """
        first, second = self._of(0), self._of(1)
        room = max_length - (len(self.ids) - len(first) - len(second))
        if room < 0:
            least = max_length - room
            raise InputError(f"max_length must be at least {least}, for the special tokens, but is {max_length}")
        left_out = {
            position
            for text, length in zip((first, second), _shares(len(first), len(second), room), strict=True)
            for position in (text[length:] if side == "right" else text[: len(text) - length])
        }
        return self._without(left_out)

    def windows(self, max_length: int, stride: int) -> list["Encoding"]:
        """The whole first text with a stretch of the second, as often as it takes; `stride` tokens are in two of them.

        Raises InputError where the first text leaves no room for more than `stride` tokens of the second.
        """
        second = self._of(1)
        room = max_length - (len(self.ids) - len(second))
        if room <= stride:
            raise InputError(
                f"max_length must be above {max_length - room + stride}: the first text with its special tokens takes "
                f"{max_length - room} and the stride {stride}, but it is {max_length}"
            )
        starts = range(0, max(len(second) - stride, 1), room - stride)
        return [self._without({*second[:start], *second[start + room :]}) for start in starts]

    def _of(self, segment: int) -> list[int]:
        return [position for position, of in enumerate(self.segments) if of == segment]

    def _without(self, left_out: set[int]) -> "Encoding":
        if not left_out:
            return self
        kept = [position for position in range(len(self.ids)) if position not in left_out]
        return Encoding(
            [self.ids[i] for i in kept],
            [self.token_type_ids[i] for i in kept],
            [self.offsets[i] for i in kept],
            [self.segments[i] for i in kept],
            self.cut + len(left_out),
        )


def _shares(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of two texts to keep: the longer one gives, then both alike."""
    if first + second <= room:
        return first, second
    short, long = sorted((first, second))
    long = short if short > room else max(short, room - short)
    if short + long > room:
        short, long = room // 2, room - room // 2
    return (long, short) if first > second else (short, long)
