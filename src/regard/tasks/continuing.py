"""Prompts -> what a model writes after them, whole or piece by piece. For an encoder-decoder a prompt is the source."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from regard.batch import Batch
from regard.data.batching import batches_by_length
from regard.decoding.options import Generation, GenerationOptions
from regard.decoding.stops import StopTable
from regard.decoding.trie import TokenTrie
from regard.errors import ConfigError, InputError
from regard.features.tokenizer import Tokenizer
from regard.specs import ModelSpec
from regard.tasks.hypotheses import Hypothesis
from regard.tasks.stopping import StopCutter, StopTables

BATCH_TOKENS = 4096

Ending = Literal["eos", "stop", "length"]


class Engine(Protocol):
    """Whatever generates, also piece by piece: our model, or an exported one."""

    @property
    def spec(self) -> ModelSpec:
        """What the network is; its positions bound a prompt and what follows."""
        ...

    def generate(
        self,
        batch: Batch,
        options: GenerationOptions | None = None,
        *,
        trie: TokenTrie | None = None,
        stops: StopTable | None = None,
    ) -> Generation:
        """Decode `input_ids` and `attention_mask`, (B, S) int32 arrays."""
        ...

    def generate_stream(
        self, batch: Batch, options: GenerationOptions | None = None, *, stops: StopTable | None = None
    ) -> Iterator[Generation]:
        """What there is after each token."""
        ...


@dataclass(frozen=True)
class Continuation(Hypothesis):
    """What a model wrote after a prompt; `text` is without the prompt and without the stop string that ended it.

    ended_by: "eos", a token that ends texts; "stop", a stop string, whose tokens are among `token_ids`; "length",
    max_new_tokens or the model's last position, where `finished` is False. prompt_tokens: how many the model read.
    """

    ended_by: Ending = "eos"
    prompt_tokens: int = 0

    def as_json(self) -> dict[str, Any]:
        return {**super().as_json(), "ended_by": self.ended_by, "prompt_tokens": self.prompt_tokens}


class Prompt(NamedTuple):
    """The ids that a model reads, and how to speak of them in a complaint."""

    ids: list[int]
    name: str


class Request(NamedTuple):
    """How prompts are continued."""

    options: GenerationOptions
    stops: tuple[str, ...] = ()
    bounded: bool = False  # somebody asked for max_new_tokens, so that fewer will not do
    trie: TokenTrie | None = None


class Continuer:
    """A model with its tokenizer, as far as prompts of ids are concerned."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer, apart: bool = False) -> None:
        """apart: what is written is a text of its own, though it goes on from the prompt: an answer."""
        self.engine, self.tokenizer, self.apart = engine, tokenizer, apart
        self.continues = engine.spec.form == "decoder"  # the text goes on after the prompt
        self._tables = StopTables(tokenizer)

    @property
    def max_tokens(self) -> int | None:
        """Prompt and continuation together, or for an encoder-decoder each for itself; None: no bound."""
        positions = self.engine.spec.text.positions
        return None if positions.kind == "none" and not self.continues else positions.max_positions

    def fitted(self, prompt: Prompt, request: Request) -> GenerationOptions:
        """The options for one prompt: lengths that count it are resolved, and max_new_tokens is as many as fit where
        nobody asked for so many.

        Raises InputError, with the numbers, where the prompt and max_new_tokens do not fit the model's positions.
        """
        options = request.options.resolved(len(prompt.ids) if self.continues else 1)
        return replace(options, max_new_tokens=self._new_tokens(prompt, options.max_new_tokens, request.bounded))

    def _new_tokens(self, prompt: Prompt, wanted: int, bounded: bool) -> int:
        limit, length = self.max_tokens, len(prompt.ids)
        if limit is None:
            return wanted
        left = limit - length if self.continues else limit
        if left < 1 or length > limit:
            need = "positions, and writing needs one more" if length <= limit else "positions"
            raise InputError(f"{prompt.name} has {length} tokens, but the model has {limit} {need}: shorten it")
        if wanted <= left or not bounded:
            return min(wanted, left)
        if not self.continues:
            raise InputError(f"max_new_tokens must be at most {limit}, the model's positions, but is {wanted}")
        raise InputError(
            f"{prompt.name} has {length} tokens, which with max_new_tokens ({wanted}) makes {length + wanted}, but the "
            f"model has {limit} positions: shorten it, or set max_new_tokens to {left} at most"
        )

    def continued(
        self,
        prompts: Sequence[Prompt],
        request: Request,
        seeds: Sequence[int] | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> list[list[Continuation]]:
        """The continuations of each prompt, best first. seeds: one a prompt; None: the options'.

        Prompts that leave room for equally many tokens go together, so that none hangs on its batch-mates.
        """
        alike: dict[GenerationOptions, list[int]] = defaultdict(list)
        for number, prompt in enumerate(prompts):
            alike[self.fitted(prompt, request)].append(number)
        found: list[list[Continuation]] = [[] for _ in prompts]
        table = self._tables(request.stops)
        for fitted, numbers in alike.items():
            own = request._replace(options=fitted)
            for places in batches_by_length([len(prompts[number].ids) for number in numbers], batch_tokens):
                rows = [numbers[place] for place in places]
                options = own.options
                if seeds is not None:
                    options = replace(options, seed=tuple(seeds[row] for row in rows))
                batch = self._batch([prompts[row].ids for row in rows])
                generation = self.engine.generate(batch, options, trie=request.trie, stops=table)
                for place, row in enumerate(rows):
                    found[row] = self._ranked(generation, place, prompts[row], own)
        return found

    def stream(self, prompt: Prompt, request: Request) -> "TextPieces":
        """The continuation of one prompt as it comes. Raises ConfigError where there would be several, or beams."""
        if request.options.width > 1:
            raise ConfigError(
                "a text that is shown as it is written is one: num_beams and num_return_sequences must be 1, but are "
                f"{request.options.num_beams} and {request.options.num_return_sequences}"
            )
        own = request._replace(options=self.fitted(prompt, request))
        steps = self.engine.generate_stream(self._batch([prompt.ids]), own.options, stops=self._tables(request.stops))
        return TextPieces(steps, prompt, own, self)

    def shown(self, prompt: Prompt) -> list[int]:
        """The ids that stand before a continuation in one text."""
        return prompt.ids if self.continues and not self.apart else []

    def cutter(self, prompt: Prompt, stops: Sequence[str]) -> StopCutter:
        """Special tokens are none of a text, so a stop that begins before one does not go on after it."""
        before = self.shown(prompt) if stops else []
        special = [place for place, token in enumerate(before) if not self.tokenizer.is_visible(token)]
        return StopCutter(stops, self.tokenizer.decode(before[special[-1] + 1 if special else 0 :]))

    def of_ids(
        self, ids: Sequence[int], prompt: Prompt, request: Request, text: str, stopped: bool, **scores: Any
    ) -> Continuation:
        """The continuation of which these are the ids and the text."""
        ended_by = _ending(ids, request.options, stopped)
        return Continuation(
            text,
            tokens=tuple(self.tokenizer.tokens(ids)),
            token_ids=tuple(ids),
            finished=ended_by != "length",
            ended_by=ended_by,
            prompt_tokens=len(prompt.ids),
            **scores,
        )

    def _batch(self, rows: Sequence[Sequence[int]]) -> Batch:
        input_ids = np.full((len(rows), max(map(len, rows))), self.engine.spec.text.pad_id or 0, np.int32)
        attention_mask = np.zeros_like(input_ids)
        for place, ids in enumerate(rows):
            input_ids[place, : len(ids)] = ids
            attention_mask[place, : len(ids)] = 1
        return {"input_ids": input_ids, "attention_mask": attention_mask}

    def _ranked(self, generation: Generation, row: int, prompt: Prompt, request: Request) -> list[Continuation]:
        found = []
        for rank, length in enumerate(np.asarray(generation.lengths)[row].tolist()):
            if length or not rank:  # a wide beam may find fewer hypotheses than asked for: those have no token
                found.append(self._one(generation, (row, rank), length, prompt, request))
        return found

    def _one(
        self, generation: Generation, place: tuple[int, int], length: int, prompt: Prompt, request: Request
    ) -> Continuation:
        ids = np.asarray(generation.sequences)[place][:length].tolist()
        before, cutter = self.shown(prompt), self.cutter(prompt, request.stops)
        whole = self.tokenizer.decode([*before, *ids])[len(self.tokenizer.decode(before)) :]
        text = cutter.push(whole) + cutter.finish()
        scores, token_scores = generation.scores, generation.token_scores
        return self.of_ids(
            ids,
            prompt,
            request,
            text,
            cutter.found,
            score=None if scores is None else float(scores[place]),
            token_scores=None if token_scores is None else tuple(token_scores[place][:length].tolist()),
        )


def _ending(ids: Sequence[int], options: GenerationOptions, stopped: bool) -> Ending:
    full = len(ids) >= options.max_new_tokens
    if stopped or any(tuple(ids[-len(stop) :]) == stop for stop in options.stop_sequences):
        return "stop"
    if ids and ids[-1] in options.eos_ids and not (full and options.forced_eos_ids):
        return "eos"
    return "length" if full else "stop"


class TextPieces(Iterator[str]):
    """A text as it is written: pieces that never split a character, whose sum is the text of `result`.

    `result` is what there is so far; all, once the pieces are at their end. `close` gives the rest up.
    """

    def __init__(self, steps: Iterator[Generation], prompt: Prompt, request: Request, continuer: Continuer) -> None:
        self._prompt, self._request, self._continuer = prompt, request, continuer
        self._ids: list[int] = []
        self._text = ""
        self._cutter = continuer.cutter(prompt, request.stops)
        self._pieces = self._read(steps)

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        self._pieces.close()

    @property
    def result(self) -> Continuation:
        return self._continuer.of_ids(self._ids, self._prompt, self._request, self._text, self._cutter.found)

    def _read(self, steps: Iterator[Generation]) -> Any:
        stream, before = self._continuer.tokenizer.stream(), self._continuer.shown(self._prompt)
        old = len(self._continuer.tokenizer.decode(before)) - len(stream.push(before))  # of the prompt, still to come
        for generation in steps:
            length = int(np.asarray(generation.lengths)[0, 0])
            fresh = np.asarray(generation.sequences)[0, 0, len(self._ids) : length].tolist()
            self._ids += fresh
            text = stream.push(fresh)
            yield from self._shown(self._cutter.push(text[old:]))
            old = max(old - len(text), 0)
            if self._cutter.found:
                return
        yield from self._shown(self._cutter.push(stream.finish()[old:]) + self._cutter.finish())

    def _shown(self, text: str) -> Iterator[str]:
        self._text += text
        if text:
            yield text
