"""The fill-mask task: what may stand where a text has a mask (Devlin et al. 2019, section 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy as np

from regard.errors import ConfigError, InputError
from regard.features.encoding import Encoding
from regard.features.tokenizer import Tokenizer
from regard.tasks.probabilities import softmax
from regard.tasks.reading import Reader, Window, most_tokens, outputs, widest_context, windows

BATCH_TOKENS = 1024  # each token has a logit for every token of the vocabulary


class Candidate(NamedTuple):
    """token: as it stands in a text; text: the whole text with it, other masks left; score: its probability."""

    token: str
    token_id: int
    score: float
    text: str


@dataclass(frozen=True)
class Filled:
    """The candidates for each mask of a text, in its order, best first."""

    masks: tuple[tuple[Candidate, ...], ...]

    def as_json(self) -> dict[str, Any]:
        return {"masks": [[candidate._asdict() for candidate in mask] for mask in self.masks]}


class _Mask(NamedTuple):
    text: int  # which one
    span: tuple[int, int]  # its characters
    window: int
    place: int  # of its token in the window


class MaskFiller:
    """A masked language model: `filler("Paris is the [MASK] of France.")`, or a list of texts.

    `mask` is how the model's mask is written. A long text is read in windows, and each mask is filled where most of
    what stands around it is seen.
    """

    def __init__(self, engine: Reader, tokenizer: Tokenizer) -> None:
        self.engine, self.tokenizer = engine, tokenizer
        self.mask_id = tokenizer.id_of("mask")
        self.mask = tokenizer.special_tokens["mask"]
        self.max_length = most_tokens(engine.spec, tokenizer)

    @overload
    def __call__(self, texts: str, **settings: Any) -> Filled: ...

    @overload
    def __call__(self, texts: Sequence[str], **settings: Any) -> list[Filled]: ...

    def __call__(self, texts: str | Sequence[str], **settings: Any) -> Filled | list[Filled]:
        """A text -> its `Filled`; a sequence -> a list of them. `settings` are those of `fill`."""
        return self.fill([texts], **settings)[0] if isinstance(texts, str) else self.fill(texts, **settings)

    def fill(self, texts: Sequence[str], *, top_k: int = 5, batch_tokens: int = BATCH_TOKENS) -> list[Filled]:
        """The candidates for the masks of the texts, in their order. Raises InputError for a text without a mask.
        Special tokens that a text spells are special tokens here."""
        if top_k < 1:
            raise ConfigError(f"top_k must be at least 1, but is {top_k}")
        encodings = [self.tokenizer.encode_text(text, parse_special=True) for text in texts]
        flat, masks = self._masks(encodings)
        found: list[list[tuple[Candidate, ...]]] = [[] for _ in texts]
        candidates: dict[_Mask, tuple[Candidate, ...]] = {}
        for rows, output in outputs(self.engine, [window.encoding for window in flat], batch_tokens):
            logits: Any = output.logits
            for mask in masks:
                if mask.window in rows:
                    scores = softmax(logits[rows.index(mask.window), mask.place])
                    candidates[mask] = self._candidates(texts[mask.text], mask.span, scores, top_k)
        for mask in masks:
            found[mask.text].append(candidates[mask])
        return [Filled(tuple(own)) for own in found]

    def _masks(self, encodings: Sequence[Encoding]) -> tuple[list[Window], list[_Mask]]:
        """The windows that show a mask at its best, and where in them the masks are."""
        flat: list[Window] = []
        masks: list[_Mask] = []
        for row, encoding in enumerate(encodings):
            own = windows(encoding, self.max_length, (self.max_length or 0) // 2)
            seen = [
                (offset, where)
                for (token, offset), where in zip(_of_text(encoding), widest_context(own), strict=True)
                if token == self.mask_id
            ]
            if not seen:
                raise InputError(f"text {row + 1} has no mask: write {self.mask} where a token is to be found")
            masks += [_Mask(row, offset, len(flat) + window, place) for offset, (window, place) in seen]
            flat += own
        wanted = sorted({mask.window for mask in masks})
        renumbered = {window: number for number, window in enumerate(wanted)}
        return [flat[window] for window in wanted], [mask._replace(window=renumbered[mask.window]) for mask in masks]

    def _candidates(self, text: str, span: tuple[int, int], scores: Any, top_k: int) -> tuple[Candidate, ...]:
        best = np.argsort(-scores, kind="stable")[:top_k].tolist()
        return tuple(self._candidate(text, span, token, float(scores[token])) for token in best)

    def _candidate(self, text: str, span: tuple[int, int], token_id: int, score: float) -> Candidate:
        start, end = span
        start = text.index(self.mask, start, end + len(self.mask))  # some masks take the space before them along
        before, after = text[:start], text[start + len(self.mask) :]
        piece = self.tokenizer.tokens([token_id])[0]
        is_plain = self.tokenizer.algorithm == "WordPiece"
        token = piece.removeprefix("##") if is_plain else self.tokenizer.decode([token_id])
        if piece.startswith("##"):
            before = before.rstrip()
        elif piece.startswith("▁"):
            token = token.lstrip()
            before += "" if not before or before[-1].isspace() else " "
        return Candidate(token or piece, token_id, score, before + (token or piece) + after)


def _of_text(encoding: Encoding) -> list[tuple[int, tuple[int, int]]]:
    """The tokens of the text, without those around it, and their characters."""
    tokens = zip(encoding.ids, encoding.offsets, encoding.segments, strict=True)
    return [(token, offset) for token, offset, segment in tokens if segment == 0]
