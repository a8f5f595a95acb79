"""One step of a search on OpenVINO: what is fed to the decoder's request, and what the search gets of it."""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from regard.decoding.best_tokens import BestTokens, bans_on_best, best_count, forced_best
from regard.decoding.lookahead import Ahead, Guesser, gone_on, having_read, places_of, side_by_side, to_read
from regard.decoding.options import GenerationOptions
from regard.export.openvino_request import Request
from regard.export.openvino_shortlist import Offered
from regard.specs import ModelSpec


class Past(NamedTuple):
    """What the decoder's next step must know besides the tokens; its cache is in the request."""

    real: np.ndarray  # (B, S) int32: 0 where there is padding, or a guess that was wrong
    first: np.ndarray | None  # (B, P) int32: what the first step reads; None after it
    together: bool  # the cache holds one row a text yet, for all of its hypotheses
    cut: np.ndarray | None  # (B,) int64: of which of the rows before each is, where some have gone; None: all are there
    memory: Mapping[str, np.ndarray]
    ahead: tuple[Ahead, ...] = ()  # of each row, where guesses are read ahead

    def at_rows(self, places: np.ndarray) -> "Past":
        """The rows at `places` alone. The cache follows with the next step, which says where each row's past stands."""
        return self._replace(
            real=self.real[places],
            cut=places if self.cut is None else self.cut[places],
            memory={name: value[places] for name, value in self.memory.items()},
            ahead=tuple(self.ahead[place] for place in places) if self.ahead else (),
        )


class Stepper:
    """The step of one search: it knows which tokens the search will ask for."""

    def __init__(
        self,
        request: Request,
        options: GenerationOptions,
        vocab_size: int,
        guided: bool,
        guesser: Guesser | None = None,
        most_guesses: int = 0,
        offered: Offered | None = None,
    ) -> None:
        """guided: a rule or a trie reads all logits. guesser: tells what may come, `most_guesses` tokens at once.
        offered: the only tokens that are scored."""
        self.offered = offered
        self.request, self.options, self.vocab_size, self.guided = request, options, vocab_size, guided
        self.guesser, self.most_guesses = guesser, most_guesses
        self.unprompted: bool | None = False
        self.step = 0
        self._banned: tuple[tuple[int, ...], np.ndarray] | None = None

    def __call__(self, ids: np.ndarray, parents: np.ndarray, past: Past) -> tuple[Any, Past]:
        batch, width = ids.shape
        forced = None
        if not self.guided:
            forced = forced_best(self.options, self.step, batch, self.vocab_size, self.unprompted)
        if forced is not None and past.first is None and self.step == self.options.max_new_tokens - 1:
            return forced, past  # nothing comes after it, so it need not be read
        if past.first is not None:
            found = self._infer(self._beginning(past), past.real, 1)
            past = past._replace(first=None)
        elif past.ahead:
            found, past = self._looking_ahead(ids, past)
        else:
            feed, past = self._feed(ids, parents, past)
            found = self._infer(feed, np.repeat(past.real, width, axis=0), 1)
        self.step += 1
        each = [self._of_each(part, batch, width) for part in found]
        if forced is not None:
            return forced, past
        return each[0] if len(each) == 1 else BestTokens(*each), past

    def _infer(self, feed: dict[str, Any], real: np.ndarray, last: int) -> list[np.ndarray]:
        """What the search asks for at the last tokens of each row: logits (R * last, V), or the best log-probabilities
        and their ids (R * last, C)."""
        bans = None if self.guided else bans_on_best(self.options, self.step, self.unprompted)
        count = 1 if bans is None else best_count(self.options, self.vocab_size)
        bias = self._bias(bans or ())
        ends = {"bias": bias, "count": number(count), "last": one_number(last)}
        if self.offered is not None:
            ends["output_rows"] = self.offered.rows
        self.request.run({**feed, "attention_mask": real, **ends})
        names = ("logits",) if bans is None else ("log_probs", "ids")
        found = [self.request.result(name) for name in names]
        if self.offered is None:
            return found
        return (
            [self.offered.of_all(found[0], self.vocab_size)] if bans is None else [found[0], self.offered.ids(found[1])]
        )

    def _bias(self, bans: tuple[int, ...]) -> np.ndarray:
        """(V,) float32, or of what is offered: what is added to the logits of the best tokens. Made once for the steps
        that ban the same."""
        if self._banned is None or self._banned[0] != bans:
            bias = np.zeros(self.vocab_size if self.offered is None else len(self.offered.tokens), np.float32)
            bias[list(bans) if self.offered is None else self.offered.places(bans)] = -np.inf
            self._banned = (bans, bias)
        return self._banned[1]

    def _of_each(self, rows: np.ndarray, batch: int, width: int) -> np.ndarray:
        """(R, C) -> (B, W, C); before the first token all hypotheses of a text are one row."""
        if len(rows) == batch:
            return np.broadcast_to(rows[:, None], (batch, width, rows.shape[-1]))
        return rows.reshape(batch, width, -1)

    def _beginning(self, past: Past) -> dict[str, Any]:
        assert past.first is not None
        batch, length = past.first.shape
        known = past.real.shape[1] > length  # all go on from what row 0 of the cache holds
        rows = np.zeros(batch, np.int32) if known else np.arange(batch, dtype=np.int32)
        places = places_of(past.real)[:, -length:]
        return {"input_ids": past.first, "position_ids": places, "beam_idx": rows, **past.memory}

    def _feed(self, ids: np.ndarray, parents: np.ndarray, past: Past) -> tuple[dict[str, Any], Past]:
        batch, width = ids.shape
        real = np.concatenate([past.real, np.ones((batch, 1), np.int32)], axis=1)
        cached = (np.arange(batch) if past.cut is None else past.cut)[:, None]
        rows = np.broadcast_to(cached, (batch, width)) if past.together else cached * width + parents
        feed = {
            "input_ids": ids.reshape(-1, 1).astype(np.int32),
            "position_ids": np.repeat(real.sum(axis=1, dtype=np.int32) - 1, width)[:, None],
            "beam_idx": rows.reshape(-1).astype(np.int32),
        }
        return {**feed, **past.memory}, past._replace(real=real, together=False, cut=None)

    def _looking_ahead(self, ids: np.ndarray, past: Past) -> tuple[list[np.ndarray], Past]:
        """As a step of one hypothesis a text, with guesses of what comes after it; nothing is run where all rows were
        guessed right."""
        ahead, real = gone_on(past.ahead, ids[:, 0], past.real)
        past = past._replace(real=real, ahead=ahead)
        if not all(one.found for one in ahead):
            past = self._read(past)
        found = [one.found.pop(0) for one in past.ahead]
        return [np.stack(parts) for parts in zip(*found, strict=True)], past

    def _read(self, past: Past) -> Past:
        """Run the last token of each row of which nothing is known, and guesses after it; what others have less is
        padding."""
        assert self.guesser is not None
        room = self.options.max_new_tokens - 2 - self.step  # the last token may have rules of its own
        count = min(self.most_guesses, room) if self._is_steady() else 0
        read = to_read(past.ahead, self.guesser, count)
        ids, new = side_by_side(read)
        (rows, fresh), before = ids.shape, past.real.shape[1]
        real = np.concatenate([past.real, new], axis=1)
        cached = np.arange(rows) if past.cut is None else past.cut
        feed = {"input_ids": ids, "position_ids": places_of(real)[:, -fresh:], "beam_idx": cached.astype(np.int32)}
        found = [part.reshape(rows, fresh, -1).copy() for part in self._infer({**feed, **past.memory}, real, fresh)]
        real[:, before + 1 :] = 0  # guesses become real when they prove right
        ahead = having_read(past.ahead, read, before, found)
        return past._replace(real=real, ahead=ahead, together=False, cut=None)

    def _is_steady(self) -> bool:
        """Whether the rules of the next steps are those of this one."""
        return self.step >= max(2, self.options.min_new_tokens)


class DraftReader:
    """A `ReadOn` of a smaller model's request."""

    def __init__(self, request: Request, memory: Mapping[str, np.ndarray], spec: ModelSpec) -> None:
        """memory: of the batch, where there is an encoder."""
        self.request, self.memory = request, memory
        self.nothing = np.zeros(spec.text.vocab_size, np.float32)

    def __call__(
        self, ids: np.ndarray, places: np.ndarray, real: np.ndarray, cut: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        if len(self.memory) and len(cut) < len(next(iter(self.memory.values()))):
            self.memory = {name: value[cut] for name, value in self.memory.items()}
        if real.shape[1] == ids.shape[1]:  # there is no cache yet
            cut = np.arange(len(ids), dtype=np.int32)
        feed = {"input_ids": ids, "position_ids": places, "attention_mask": real, "beam_idx": cut}
        feed |= {"bias": self.nothing, "count": number(1), "last": one_number(1), **self.memory}
        self.request.run(feed)
        return self.request.result("ids")[:, 0], self.request.result("log_probs")[:, 0]


@cache
def number(value: int) -> np.ndarray:
    """A scalar input; one array for each value, so that it is bound but once."""
    return np.array(value, np.int64)


@cache
def one_number(value: int) -> np.ndarray:
    """As `number`, of one dimension."""
    return np.array([value], np.int64)
