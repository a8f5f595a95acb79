"""Token ids -> text, whole or as a stream of pieces that never splits a character and never takes one back."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

_WHITESPACE = "".join(character for character in map(chr, range(0x3001)) if character.isspace())
# Transformers' "clean_up_tokenization_spaces": these are replaced one after the other.
_SPACED = (
    *((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'")),
    *((" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")),
)
_CLEANED = " 'ntmsver.?!,"  # the characters of all of them
_TIMESTAMP = re.compile(r"<\|(\d+\.\d+)\|>")
_TIMESTAMP_BEGUN = re.compile(r"<(\|[\d.]*\|?)?")


@dataclass(frozen=True)
class Finish:
    """What is done to a text after its tokens were joined.

    word_end: the mark of a word's end, which becomes a space (CLIP). timestamps: <|1.08|> is left out (Whisper).
    clean_up: no space before punctuation. strip: no white space at either end.
    """

    word_end: str = ""
    timestamps: bool = False
    clean_up: bool = False
    strip: bool = False

    def marks(self, text: str) -> str:
        """Word ends and timestamps replaced."""
        text = text.replace(self.word_end, " ") if self.word_end else text
        return _TIMESTAMP.sub("", text) if self.timestamps else text

    def marks_settled(self, text: str) -> int:
        """How much of a text is sure not to be the beginning of a mark that later text completes."""
        start = text.rfind("<")
        if start < 0:
            return len(text)
        end = text[start:]
        begun = self.timestamps and _TIMESTAMP_BEGUN.fullmatch(end) is not None
        begun = begun or (bool(self.word_end) and self.word_end.startswith(end))
        return start if begun else len(text)

    def spaces(self, text: str, first: bool, last: bool) -> str:
        """Spaces cleaned up and stripped; first, last: whether the text is the beginning, or the end, of all."""
        if self.strip:
            text = text.lstrip() if first else text
            text = text.rstrip() if last else text
        if self.clean_up:
            for spaced, tight in _SPACED:
                text = text.replace(spaced, tight)
        return text

    def spaces_settled(self, text: str) -> int:
        """How much of a text no later text can change."""
        changing = (_CLEANED if self.clean_up else "") + (_WHITESPACE if self.strip else "")
        return len(text.rstrip(changing)) if changing else len(text)

    def __call__(self, text: str) -> str:
        return self.spaces(self.marks(text), first=True, last=True)


class Decodes(Protocol):
    """A tokenizer, as far as a stream is concerned."""

    @property
    def finish(self) -> Finish: ...

    def is_visible(self, token_id: int) -> bool: ...

    def visible(self, ids: Sequence[int]) -> list[int]: ...

    def joined(self, ids: Sequence[int]) -> str: ...

    def is_unsettled(self, token_id: int) -> bool: ...


class TextStream:
    """The text of ids that come one by one: all that `push` and `finish` return, joined, is `decode` of all ids.

    What later ids may still change is held back: the first bytes of a character, white space that is stripped at the
    end. What was returned stays.
    """

    def __init__(self, tokenizer: Decodes) -> None:
        self._tokenizer = tokenizer
        self._all: list[int] = []  # until the first visible id: Whisper's prompt is none of the text
        self._begun = False
        self._context: list[int] = []  # the last ids whose text is out of here: decoders look back by one token
        self._pending: list[int] = []
        self._marked = ""
        self._spaced = ""
        self._is_first = True

    def push(self, ids: Iterable[int]) -> str:
        """The text that is now settled, which may be empty."""
        self._pending += self._visible([int(i) for i in ids])
        if not self._pending or self._tokenizer.is_unsettled(self._pending[-1]):
            return ""
        return self._settled(self._fresh(whole_characters=True), last=False)

    def finish(self) -> str:
        """The text that was held back. Nothing can be pushed after it."""
        return self._settled(self._fresh(whole_characters=False), last=True)

    def _visible(self, ids: list[int]) -> list[int]:
        if self._begun:
            return [i for i in ids if self._tokenizer.is_visible(i)]
        self._all += ids
        visible = self._tokenizer.visible(self._all)
        self._begun = bool(visible)
        return visible

    def _fresh(self, whole_characters: bool) -> str:
        before = self._tokenizer.joined(self._context)
        text = self._tokenizer.joined(self._context + self._pending)
        if whole_characters and text.endswith("\ufffd"):
            return ""
        if self._tokenizer.joined(self._pending):
            self._context = self._pending
        else:
            self._context = self._context + self._pending
        self._pending = []
        return text[len(before) :]

    def _settled(self, fresh: str, last: bool) -> str:
        finish = self._tokenizer.finish
        self._marked += fresh
        end = len(self._marked) if last else finish.marks_settled(self._marked)
        self._spaced += finish.marks(self._marked[:end])
        self._marked = self._marked[end:]
        end = len(self._spaced) if last else finish.spaces_settled(self._spaced)
        text = finish.spaces(self._spaced[:end], self._is_first, last)
        self._is_first = self._is_first and end == 0
        self._spaced = self._spaced[end:]
        return text
