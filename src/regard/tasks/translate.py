"""The translation task: texts in, translations out, in the order they came (Vaswani et al. 2017, section 6.1)."""

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol, overload

import numpy as np

from regard.batch import Batch
from regard.data.batching import batches_by_length
from regard.decoding.options import Generation, GenerationOptions
from regard.errors import ConfigError, InputError
from regard.features.tokenizer import Tokenizer
from regard.specs import ModelSpec
from regard.tasks.sentences import join_sentences, split_sentences

Long = Literal["refuse", "split"]

_BETWEEN_PIECES = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: far from the seeds of the texts nearby


class Engine(Protocol):
    """Whatever generates: our model, or an exported one."""

    @property
    def spec(self) -> ModelSpec:
        """What the network is; its positions bound the source."""
        ...

    def generate(self, batch: Batch, options: GenerationOptions | None = None) -> Generation:
        """Decode `input_ids` and `attention_mask`, (B, S) int32 arrays."""
        ...


@dataclass(frozen=True)
class Translation:
    """One translated text.

    `score` is the search's, a log-probability in nats under the length penalty; `token_scores` are the
    log-probabilities of `tokens`. Both are None where the search did not compute them; `return_scores=True` makes it.
    A text that was split has the sum of its sentences' scores.
    """

    text: str
    score: float | None = None
    tokens: tuple[str, ...] = ()  # readable pieces, the end among them
    token_ids: tuple[int, ...] = ()
    token_scores: tuple[float, ...] | None = None
    alternatives: tuple["Translation", ...] = ()  # the other num_return_sequences - 1 hypotheses, best first
    target_lang: str | None = None
    finished: bool = True  # False: max_new_tokens came before the end of the sentence
    sentences: int = 1  # that were translated apart: several of a text too long for the model, none of a blank one


class _Request(NamedTuple):
    tag: tuple[int, ...]  # the id that leads each source, where the model reads its target language there
    target_lang: str | None
    options: GenerationOptions
    long: Long
    batch_tokens: int


class Translator:
    """A translation model with its tokenizer: `translator("text")` or `translator(["many", "texts"])`.

    `languages` are the target languages to choose from: those that the tokenizer has tags (>>de<<) for. Without any
    the model knows one target, and takes no `target_lang`.
    """

    def __init__(self, engine: Engine, tokenizer: Tokenizer, defaults: GenerationOptions) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.defaults = defaults
        self.languages = tuple(tag.strip("<>") for tag in tokenizer.tags)

    @property
    def max_source_tokens(self) -> int | None:
        """The longest input in tokens, end token and language tag included; None: no bound."""
        positions = self.engine.spec.text.positions
        return None if positions.kind == "none" else positions.max_positions

    @overload
    def __call__(self, texts: str, **settings: Any) -> Translation: ...

    @overload
    def __call__(self, texts: Sequence[str], **settings: Any) -> list[Translation]: ...

    def __call__(self, texts: str | Sequence[str], **settings: Any) -> Translation | list[Translation]:
        """Translate a text to a `Translation`, or a sequence of texts to a list of them, in their order.

        `settings` are those of `stream`, `window` aside. Raises InputError for a text that is too long, naming it.
        """
        if isinstance(texts, str):
            return next(self.stream([texts], **settings))
        return list(self.stream(texts, window=max(len(texts), 1), **settings))

    def stream(
        self,
        texts: Iterable[str],
        *,
        target_lang: str | None = None,
        long: Long = "refuse",
        batch_tokens: int = 4096,
        window: int = 512,
        **options: Any,
    ) -> Iterator[Translation]:
        """Translate texts as they come, reading `window` of them ahead, sorted by length within the window.

        `long` says what happens to a text of more than `max_source_tokens`: an InputError, or a split at its sentence
        ends. `batch_tokens` bounds rows * longest row of a batch. `options` are those of GenerationOptions, over the
        checkpoint's own, but for `seed`: an int s means s + i for text i, counted from 0 over the whole stream, blank
        texts included; a tuple has one seed a text. So a text's sample does not depend on its batch-mates. Blank texts
        give empty translations.
        """
        if long not in ("refuse", "split"):
            raise InputError(f"long must be 'refuse' or 'split', but is {long!r}")
        for name, value in (("batch_tokens", batch_tokens), ("window", window)):
            if value < 1:
                raise InputError(f"{name} must be at least 1, but is {value}")
        language = self._language(target_lang)
        merged = self.defaults.merged(**options)
        if isinstance(texts, Sized):
            _check_seeds(merged.seed, len(texts))
        request = _Request(self._tag(language), language, merged, long, batch_tokens)
        return self._stream(texts, request, window)

    def _language(self, wanted: str | None) -> str | None:
        known = ", ".join(self.languages)
        if wanted is None and len(self.languages) > 1:
            raise InputError(f"this model translates into several languages: give target_lang, one of {known}")
        if wanted is None:
            return self.languages[0] if self.languages else None
        if not self.languages:
            raise InputError(f"this model translates into one language and takes no target_lang, but got {wanted!r}")
        if wanted not in self.languages:
            raise InputError(f"target_lang must be one of {known}, but is {wanted!r}")
        return wanted

    def source_ids(self, text: str, target_lang: str | None = None) -> list[int]:
        """The token ids of a text as the model reads them: its language tag, if any, its pieces, its end."""
        return [*self._tag(self._language(target_lang)), *self.tokenizer.encode(text)]

    def _tag(self, language: str | None) -> tuple[int, ...]:
        tag = self.tokenizer.tag_id(f">>{language}<<") if self.languages else None
        return () if tag is None else (tag,)

    def _stream(self, texts: Iterable[str], request: _Request, window: int) -> Iterator[Translation]:
        remaining = iter(texts)
        seed, first = request.options.seed, 1
        while block := list(islice(remaining, window)):
            if isinstance(seed, tuple) and len(seed) < first - 1 + len(block):
                _check_seeds(seed, first - 1 + len(block))
            yield from self._translate_window(block, first, request)
            first += len(block)
        _check_seeds(seed, first - 1)

    def _translate_window(self, texts: Sequence[str], first: int, request: _Request) -> Iterator[Translation]:
        sources, refusal = self._encode(texts, first, request)
        pieces = [ids for source in sources for ids in source]
        seeds = _piece_seeds(request.options.seed, first - 1, sources)
        translated = iter(self._translate_pieces(pieces, seeds, request))
        for source in sources:
            yield _joined(list(islice(translated, len(source))), request.target_lang)
        if refusal is not None:
            raise refusal

    def _encode(
        self, texts: Sequence[str], first: int, request: _Request
    ) -> tuple[list[list[list[int]]], InputError | None]:
        """The token ids of each text's pieces, up to the first text that is refused, and the refusal."""
        encoded = iter(self._tagged([text for text in texts if text.strip()], request))
        sources: list[list[list[int]]] = []
        for number, text in enumerate(texts, first):
            try:
                sources.append(self._fit(text, next(encoded), number, request) if text.strip() else [])
            except InputError as refusal:
                return sources, refusal
        return sources, None

    def _tagged(self, texts: Sequence[str], request: _Request) -> list[list[int]]:
        return [[*request.tag, *ids] for ids in self.tokenizer.encode_batch(texts)]

    def _fit(self, text: str, ids: list[int], number: int, request: _Request) -> list[list[int]]:
        limit = self.max_source_tokens
        if limit is None or len(ids) <= limit:
            return [ids]
        if request.long == "refuse":
            raise InputError(
                f"line {number} has {len(ids)} tokens, but the model reads at most {limit}: shorten it, or split it at "
                "its sentence ends with long='split' (--long split)"
            )
        pieces = self._tagged(split_sentences(text), request)
        longest = max(map(len, pieces))
        if longest > limit:
            raise InputError(
                f"line {number} has a sentence of {longest} tokens, but the model reads at most {limit}: shorten it"
            )
        return pieces

    def _translate_pieces(
        self, pieces: Sequence[list[int]], seeds: Sequence[int] | None, request: _Request
    ) -> list[list[Translation]]:
        """The hypotheses of each piece, best first."""
        hypotheses: list[list[Translation]] = [[] for _ in pieces]
        for rows in batches_by_length([len(ids) for ids in pieces], request.batch_tokens):
            options = request.options
            if seeds is not None:
                options = replace(options, seed=tuple(seeds[row] for row in rows))
            generation = self.engine.generate(self._batch([pieces[row] for row in rows]), options)
            for place, row in enumerate(rows):
                hypotheses[row] = self._hypotheses(generation, place, request)
        return hypotheses

    def _batch(self, rows: Sequence[list[int]]) -> Batch:
        input_ids = np.full((len(rows), max(map(len, rows))), self.tokenizer.pad_id, np.int32)
        attention_mask = np.zeros_like(input_ids)
        for place, ids in enumerate(rows):
            input_ids[place, : len(ids)] = ids
            attention_mask[place, : len(ids)] = 1
        return {"input_ids": input_ids, "attention_mask": attention_mask}

    def _hypotheses(self, generation: Generation, row: int, request: _Request) -> list[Translation]:
        found = []
        for rank, length in enumerate(np.asarray(generation.lengths)[row].tolist()):
            if length or not rank:  # a wide beam may find fewer hypotheses than asked for: those have no token
                found.append(self._hypothesis(generation, (row, rank), length, request))
        return found

    def _hypothesis(
        self, generation: Generation, place: tuple[int, int], length: int, request: _Request
    ) -> Translation:
        ids = np.asarray(generation.sequences)[place][:length].tolist()
        scores, token_scores = generation.scores, generation.token_scores
        return Translation(
            text=self.tokenizer.decode(ids),
            score=None if scores is None else float(scores[place]),
            tokens=tuple(self.tokenizer.tokens(ids)),
            token_ids=tuple(ids),
            token_scores=None if token_scores is None else tuple(token_scores[place][:length].tolist()),
            target_lang=request.target_lang,
            finished=_is_finished(ids, request.options),
        )


def _check_seeds(seed: int | tuple[int, ...] | None, texts: int) -> None:
    if isinstance(seed, tuple) and len(seed) != texts:
        raise ConfigError(f"seed must be one int or one a text ({texts}), but has {len(seed)}")


def _piece_seeds(
    seed: int | tuple[int, ...] | None, first: int, sources: Sequence[Sequence[list[int]]]
) -> list[int] | None:
    """A seed for each piece of each text, text `first` of the stream first; None: the engine draws them."""
    if seed is None:
        return None
    own = seed[first:] if isinstance(seed, tuple) else range(seed + first, seed + first + len(sources))
    return [
        (start + piece * _BETWEEN_PIECES) % 2**64
        for start, pieces in zip(own, sources, strict=False)
        for piece in range(len(pieces))
    ]


def _is_finished(ids: Sequence[int], options: GenerationOptions) -> bool:
    """Whether the model ended the sequence itself: a forced end at the last step is none."""
    forced = bool(options.forced_eos_ids) and len(ids) >= options.max_new_tokens
    return bool(ids) and ids[-1] in options.eos_ids and not forced


def _joined(pieces: Sequence[Sequence[Translation]], target_lang: str | None) -> Translation:
    """The translation of one text from the hypotheses of its pieces: rank by rank, best first."""
    if not pieces:
        return Translation("", target_lang=target_lang, sentences=0)
    best, *others = [_concatenated(rank) for rank in zip(*pieces, strict=False)]
    return replace(best, alternatives=tuple(others))


def _concatenated(parts: Sequence[Translation]) -> Translation:
    scores = [part.score for part in parts if part.score is not None]
    token_scores = [part.token_scores for part in parts if part.token_scores is not None]
    return Translation(
        text=join_sentences(part.text for part in parts),
        score=sum(scores) if scores else None,
        tokens=tuple(token for part in parts for token in part.tokens),
        token_ids=tuple(token for part in parts for token in part.token_ids),
        token_scores=tuple(value for values in token_scores for value in values) if token_scores else None,
        target_lang=parts[0].target_lang,
        finished=all(part.finished for part in parts),
        sentences=len(parts),
    )
