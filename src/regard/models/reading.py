"""A decoder that reads several tokens of a row at once, led from Python: what guesses that are read ahead need."""

import regard.nn  # noqa: F401  # first of all: it checks Keras's backend before Keras is imported

# isort: split
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
from keras import ops

from regard.batch import Batch
from regard.decoding import numpy_ops
from regard.decoding.lookahead import Ahead, Guesser, gone_on, having_read, in_use, side_by_side, to_read
from regard.models.parts import DecoderState
from regard.nn.output import Tensor

ROOM = 16  # slots that a cache grows by


class Reader(NamedTuple):
    """The compiled parts of reading: to begin, and to go on by any number of tokens."""

    begin: Any  # (inputs, free slots) -> DecoderState
    go_on: Any  # (DecoderState, ids (B, T), last) -> (logits of the last tokens (B, last, V), caches)

    def begun(self, inputs: Batch) -> "Reading":
        """What reads on in a batch. The room is made outside of the graph, which may give caches that hold the same
        yet, nothing, one buffer: what is written in place must be each cache's own."""
        return Reading(self.go_on, self.begin(inputs, np.int32(1)).with_room(ROOM - 1))


def after_prompt(model: Any) -> Callable[[Batch, Any], DecoderState]:
    """To begin before the last token of a batch's prompts."""

    def begin(inputs: Batch, free: Any) -> DecoderState:
        state: DecoderState = model.decoding_state(inputs, 1, free)[1]
        return state

    return begin


def before_all(model: Any) -> Callable[[Batch, Any], DecoderState]:
    """To begin where nothing of a text is read, its source alone."""

    def begin(inputs: Batch, free: Any) -> DecoderState:
        memory = None if model.spec.form == "decoder" else model.encoded(inputs)
        batch = ops.shape(inputs["input_ids"] if memory is None else memory.hidden)[0]
        state: DecoderState = model.decoder.begin_blank(batch, 1, free, memory)
        return state

    return begin


def reading_on(model: Any) -> Callable[[DecoderState, Any, Any], tuple[Tensor, Any]]:
    """To go on. Only the last tokens are scored: of a prompt all would be many."""

    def go_on(state: DecoderState, ids: Tensor, last: Tensor) -> tuple[Tensor, Any]:
        hidden, state = model.decoder.read(ids, state)
        return model.logits(hidden[:, ops.shape(hidden)[1] - last :]), state.caches

    return go_on


class Reading:
    """The cache of one batch between two graphs."""

    def __init__(self, go_on: Any, state: DecoderState) -> None:
        self.go_on, self.state = go_on, state
        self.places = np.array(state.places)  # (B, S)

    @property
    def rows(self) -> int:
        return len(self.places)

    def __call__(
        self, ids: np.ndarray, places: np.ndarray, real: np.ndarray, cut: np.ndarray | None, last: int
    ) -> np.ndarray:
        """Read ids (B, T) at their positions into the last T of the slots, of which `real` (B, S) are the rows'. cut:
        (B,), of which row of the call before each row is, where some have gone -> logits (B, last, V) of the last."""
        if cut is not None and len(cut) < len(self.places):
            self.state, self.places = self.state.at_rows(np.asarray(cut, np.int32)), self.places[cut]
        slot = real.shape[1] - ids.shape[1]
        self._make_room(real.shape[1])
        self.places[:, slot : real.shape[1]] = places
        owners = np.full((len(ids), 1, self.places.shape[1]), -1, np.int32)
        owners[:, 0, : real.shape[1]] = real - 1
        state = self.state._replace(slot=np.int32(slot), owners=owners, places=self.places)
        logits, caches = self.go_on(state, ids, np.int32(last))
        self.state = state._replace(caches=caches)
        return np.asarray(logits)

    def _make_room(self, slots: int) -> None:
        missing = slots - self.places.shape[1]
        if missing > 0:
            self.state = self.state.with_room(missing + -missing % ROOM)
            self.places = np.array(self.state.places)

    def likeliest(
        self, ids: np.ndarray, places: np.ndarray, real: np.ndarray, cut: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `decoding.draft.ReadOn`."""
        log_probs = numpy_ops.log_softmax(self(ids, places, real, cut, 1)[:, 0])
        return log_probs.argmax(axis=-1), log_probs.max(axis=-1)


class Past(NamedTuple):
    """What the next step must know besides the tokens; the cache is the reading's."""

    real: np.ndarray  # (B, S) int32: the slots that hold what a row has read, and no guess that was wrong
    prompt: int  # slots that the prompts take
    first: np.ndarray  # (B,) int32: the position of what is read first after them
    ahead: tuple[Ahead, ...]
    cut: np.ndarray | None = None  # (B,) int64: of which of the rows before each is, where some have gone

    @classmethod
    def after(cls, reading: Reading, ahead: tuple[Ahead, ...]) -> Self:
        """Nothing read after the prompts."""
        length = int(reading.state.slot)
        owners = np.asarray(reading.state.owners)[:, 0, :length]
        return cls((owners >= 0).astype(np.int32), length, reading.places[:, length].copy(), ahead)

    def at_rows(self, places: np.ndarray) -> "Past":
        """The rows at `places` alone. The cache follows with the next step."""
        return self._replace(
            real=self.real[places],
            first=self.first[places],
            ahead=tuple(self.ahead[place] for place in places),
            cut=places if self.cut is None else self.cut[places],
        )


class AheadStepper:
    """The step of one search of one hypothesis a text. It reads a token with guesses of what follows, and nothing where
    all rows were guessed right."""

    def __init__(self, reading: Reading, guesser: Guesser, most_guesses: int, max_new_tokens: int) -> None:
        self.reading, self.guesser, self.most_guesses = reading, guesser, most_guesses
        self.left = max_new_tokens  # to be written with this step's

    def __call__(self, ids: np.ndarray, parents: np.ndarray, past: Past) -> tuple[np.ndarray, Past]:
        ahead, real = gone_on(past.ahead, ids[:, 0], past.real)
        past = past._replace(ahead=ahead, real=real)
        if not all(one.found for one in ahead):
            past = self._read(past)
        self.left -= 1
        return np.stack([one.found.pop(0) for one in past.ahead]), past

    def _read(self, past: Past) -> Past:
        read = to_read(past.ahead, self.guesser, min(self.most_guesses, self.left - 1))
        ids, new = side_by_side(read)
        before, fresh = max(past.prompt, in_use(past.real, past.ahead)), ids.shape[1]
        real = np.concatenate([past.real[:, :before], new], axis=1)
        counts = np.maximum(real[:, past.prompt :].cumsum(axis=1)[:, -fresh:] - 1, 0)
        places = past.first[:, None] + counts.astype(np.int32)
        logits = self.reading(ids, places, real, past.cut, fresh)
        real[:, before + 1 :] = 0  # guesses become real when they prove right
        return past._replace(real=real, cut=None, ahead=having_read(past.ahead, read, before, [logits]))
