"""What a search found -> hypotheses with their texts; and the seed of each item of a stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from regard.batch import Batch
from regard.decoding.options import Generation, GenerationOptions
from regard.errors import ConfigError
from regard.features.tokenizer import Tokenizer
from regard.specs import ModelSpec


class Writer(Protocol):
    """Whatever generates: our model, or an exported one."""

    @property
    def spec(self) -> ModelSpec:
        """What the network is; it bounds what it reads."""
        ...

    def generate(self, batch: Batch, options: GenerationOptions | None = None) -> Generation:
        """Decode what the batch holds."""
        ...


@dataclass(frozen=True)
class Hypothesis:
    """One text that a search found.

    `score` is the search's, a log-probability in nats under the length penalty; `token_scores` are the
    log-probabilities of `tokens`. Both are None where the search did not compute them; `return_scores=True` makes it.
    """

    text: str
    score: float | None = None
    tokens: tuple[str, ...] = ()  # readable pieces, the end among them
    token_ids: tuple[int, ...] = ()
    token_scores: tuple[float, ...] | None = None
    finished: bool = True  # False: max_new_tokens came before the end

    def as_json(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "score": self.score,
            "tokens": self.tokens,
            "token_scores": self.token_scores,
            "finished": self.finished,
        }


def hypotheses(generation: Generation, row: int, tokenizer: Tokenizer, options: GenerationOptions) -> list[Hypothesis]:
    """Those of one row of the batch, best first; a wide beam may find fewer than were asked for."""
    found = []
    for rank, length in enumerate(np.asarray(generation.lengths)[row].tolist()):
        if length or not rank:
            found.append(_hypothesis(generation, (row, rank), length, tokenizer, options))
    return found


def _hypothesis(
    generation: Generation, place: tuple[int, int], length: int, tokenizer: Tokenizer, options: GenerationOptions
) -> Hypothesis:
    ids = np.asarray(generation.sequences)[place][:length].tolist()
    scores, token_scores = generation.scores, generation.token_scores
    return Hypothesis(
        text=tokenizer.decode(ids),
        score=None if scores is None else float(scores[place]),
        tokens=tuple(tokenizer.tokens(ids)),
        token_ids=tuple(ids),
        token_scores=None if token_scores is None else tuple(token_scores[place][:length].tolist()),
        finished=is_finished(ids, options),
    )


def is_finished(ids: Sequence[int], options: GenerationOptions) -> bool:
    """Whether the model ended the sequence itself: a forced end at the last step is none."""
    if len(ids) < options.max_new_tokens:
        return bool(ids)
    stopped = any(tuple(ids[-len(stop) :]) == stop for stop in options.stop_sequences)
    return stopped or (ids[-1] in options.eos_ids and not options.forced_eos_ids)


def item_seeds(seed: int | tuple[int, ...] | None, first: int, count: int) -> tuple[int, ...] | None:
    """The seeds of items `first` to `first + count - 1` of a stream, counted from 0: an int s means s + i for item i,
    and a tuple has one an item. So a sample does not hang on its batch-mates. None: the search draws them.

    Raises ConfigError where a tuple has too few.
    """
    if seed is None:
        return None
    if isinstance(seed, int):
        return tuple(range(seed + first, seed + first + count))
    if len(seed) < first + count:
        raise ConfigError(f"seed must be one int or one an item (at least {first + count}), but has {len(seed)}")
    return seed[first : first + count]


def check_seeds(seed: int | tuple[int, ...] | None, items: int) -> None:
    """Raise ConfigError unless a tuple has one seed an item."""
    if isinstance(seed, tuple) and len(seed) != items:
        raise ConfigError(f"seed must be one int or one an item ({items}), but has {len(seed)}")
