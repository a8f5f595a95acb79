"""Texts through a model that reads them whole: in batches by length, and in windows where they are too long."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from regard.batch import Batch
from regard.data.batching import batches_by_length
from regard.errors import ConfigError, InputError
from regard.features.encoding import Encoding
from regard.features.tokenizer import Tokenizer
from regard.specs import ModelSpec

if TYPE_CHECKING:  # it comes with Keras, which an exported model does without
    from regard.nn.output import Output

BATCH_TOKENS = 4096


class Reader(Protocol):
    """Whatever reads a batch: our model, or an exported one."""

    @property
    def spec(self) -> ModelSpec:
        """What the network is; its positions bound a text."""
        ...

    def __call__(self, batch: Batch) -> "Output":
        """`input_ids` and `attention_mask`, (B, S) int32 arrays, and `token_type_ids` where the model has them."""
        ...


def most_tokens(spec: ModelSpec, tokenizer: Tokenizer) -> int | None:
    """The longest text in tokens, special ones included: what the model has positions for, or what its tokenizer says
    it was made for, if that is less. None: no bound."""
    positions = spec.text.positions
    bounds = [tokenizer.max_length, None if positions.kind == "none" else positions.max_positions]
    return min((bound for bound in bounds if bound is not None), default=None)


def bounded(max_length: int | None, most: int | None) -> int | None:
    """The caller's length under the model's. Raises ConfigError where it is above."""
    if max_length is not None and most is not None and max_length > most:
        raise ConfigError(f"max_length must be at most {most}, which the model reads, but is {max_length}")
    return most if max_length is None else max_length


def outputs(
    engine: Reader, encodings: Sequence[Encoding], batch_tokens: int = BATCH_TOKENS
) -> Iterator[tuple[list[int], "Output"]]:
    """The engine's outputs for the encodings, longest first: which of them are the rows of each, and the rows, padded
    on the right. rows * longest row <= `batch_tokens`, or one row. Raises InputError for one without any token."""
    if batch_tokens < 1:
        raise InputError(f"batch_tokens must be at least 1, but is {batch_tokens}")
    lengths = [len(encoding.ids) for encoding in encodings]
    if 0 in lengths:
        raise InputError(f"text {lengths.index(0) + 1} is empty, and this model reads at least one token")
    for rows in batches_by_length(lengths, batch_tokens):
        yield rows.tolist(), engine(batch_of([encodings[row] for row in rows], engine.spec))


def batch_of(encodings: Sequence[Encoding], spec: ModelSpec) -> Batch:
    """The encodings padded on the right; token types only where the model tells several apart, as Transformers does:
    RoBERTa has a table with one row."""
    shape = len(encodings), max(len(encoding.ids) for encoding in encodings)
    batch = {
        "input_ids": np.full(shape, spec.text.pad_id or 0, np.int32),
        "attention_mask": np.zeros(shape, np.int32),
    }
    if spec.text.token_types > 1:
        batch["token_type_ids"] = np.zeros(shape, np.int32)
    for row, encoding in enumerate(encodings):
        length = len(encoding.ids)
        batch["input_ids"][row, :length] = encoding.ids
        batch["attention_mask"][row, :length] = 1
        if "token_type_ids" in batch:
            batch["token_type_ids"][row, :length] = encoding.token_type_ids
    return batch


class Window(NamedTuple):
    """A stretch of a long text with all that stands around the text."""

    encoding: Encoding
    before: int  # tokens that stand before the text: special ones, and a question
    start: int  # of the stretch in the text, in its tokens
    length: int  # of the stretch


def windows(encoding: Encoding, max_length: int | None, stride: int, segment: int = 0) -> list[Window]:
    """The encoding in windows of at most `max_length` tokens. Each has a stretch of the text `segment` and all other
    tokens; neighbours share `stride` tokens, and together they hold the whole text.

    Raises InputError where the other tokens leave no room for more than `stride`, ConfigError for a negative one.
    """
    if stride < 0:
        raise ConfigError(f"stride must be at least 0, but is {stride}")
    places = [place for place, of in enumerate(encoding.segments) if of == segment]
    first, count = (places[0], len(places)) if places else (len(encoding.ids), 0)
    others = len(encoding.ids) - count
    if max_length is None or len(encoding.ids) <= max_length:
        return [Window(encoding, first, 0, count)]
    room = max_length - others
    if room <= stride:
        raise InputError(
            f"max_length is {max_length}, of which {others} tokens are no part of the long text and {stride} are the "
            f"stride: it must be at least {others + stride + 1}, or the stride less"
        )
    return [
        Window(_stretch(encoding, first, count, start, start + room), first, start, min(room, count - start))
        for start in range(0, max(count - stride, 1), room - stride)
    ]


def _stretch(encoding: Encoding, first: int, count: int, start: int, stop: int) -> Encoding:
    ids, types, offsets, segments = (
        [*values[:first], *values[first + start : first + min(stop, count)], *values[first + count :]]
        for values in encoding[:4]
    )
    return Encoding(ids, types, offsets, segments, encoding.cut)


def widest_context(found: Sequence[Window]) -> list[tuple[int, int]]:
    """For each token of the text, the window that shows most of what stands around it, and its place in the window.

    An end of the text is no edge: nothing is hidden behind it.
    """
    last = found[-1].start + found[-1].length
    best = np.full(last, -1, np.int64)
    chosen = np.zeros((last, 2), np.int64)
    for number, window in enumerate(found):
        place = np.arange(window.length)
        left = place if window.start else np.full_like(place, last)
        right = window.length - 1 - place if window.start + window.length < last else np.full_like(place, last)
        context = np.minimum(left, right)
        covered = slice(window.start, window.start + window.length)
        better = context > best[covered]
        best[covered][better] = context[better]
        chosen[covered][better] = np.stack([np.full_like(place, number), window.before + place], 1)[better]
    return [(number, place) for number, place in chosen.tolist()]
