"""The translation task: texts in, translations out, in the order they came (Vaswani et al. 2017, section 6.1)."""

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, NamedTuple, overload

from regard.decoding.options import GenerationOptions
from regard.errors import ConfigError, InputError
from regard.features.tokenizer import Tokenizer
from regard.tasks.blocks import blocks
from regard.tasks.hypotheses import Hypothesis, Writer
from regard.tasks.languages import Direction, Languages, languages_of
from regard.tasks.sentences import join_sentences, split_sentences
from regard.tasks.sources import most_source_tokens, written

Long = Literal["refuse", "split"]

_BETWEEN_PIECES = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: far from the seeds of the texts nearby


@dataclass(frozen=True)
class Translation(Hypothesis):
    """One translated text. A text that was split has the sum of its sentences' scores.

    source_lang: None where the model is not told, or was left to its default.
    """

    alternatives: tuple["Translation", ...] = ()  # the other num_return_sequences - 1 hypotheses, best first
    source_lang: str | None = None
    target_lang: str | None = None
    sentences: int = 1  # that were translated apart: several of a text too long for the model, none of a blank one

    def as_json(self) -> dict[str, Any]:
        return {
            **super().as_json(),
            "source_lang": self.source_lang,
            "target_lang": self.target_lang,
            "alternatives": [alternative.as_json() for alternative in self.alternatives],
        }


class _Request(NamedTuple):
    direction: Direction
    options: GenerationOptions
    long: Long
    batch_tokens: int
    before: int  # texts that were translated elsewhere


class Translator:
    """A translation model with its tokenizer: `translator("text")` or `translator(["many", "texts"])`.

    `languages` are the target languages to choose from: those that the tokenizer has tags (>>de<<) or codes (de_DE)
    for, or that the checkpoint says how to ask for. Without any the model knows one target, and takes no `target_lang`.
    `source_languages` are those that the model can be told the text is in.
    """

    def __init__(
        self, engine: Writer, tokenizer: Tokenizer, defaults: GenerationOptions, languages: Languages | None = None
    ) -> None:
        """languages: default: what the tokenizer has tags or codes for."""
        self.engine = engine
        self.tokenizer = tokenizer
        self.defaults = defaults
        self._known = languages_of(tokenizer, engine.spec.tokens) if languages is None else languages
        self.languages, self.source_languages = self._known.targets, self._known.sources
        self.default_target = self._known.default  # where none is asked for; None: it must be, or there is no choice

    @property
    def max_source_tokens(self) -> int | None:
        """The longest input in tokens, end token and language tag included; None: no bound."""
        return most_source_tokens(self.engine.spec)

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
        source_lang: str | None = None,
        target_lang: str | None = None,
        long: Long = "refuse",
        batch_tokens: int = 4096,
        window: int = 512,
        first: int = 0,
        **options: Any,
    ) -> Iterator[Translation]:
        """Translate texts as they come, reading `window` of them ahead, sorted by length within the window.

        `source_lang` and `target_lang` are the model's own codes, or short forms of them ("de" for deu_Latn); left out,
        they are what the checkpoint says. `long` says what happens to a text of more than `max_source_tokens`: an
        InputError, or a split at its sentence ends. `batch_tokens` bounds rows * longest row of a batch. `options` are
        those of GenerationOptions, over the checkpoint's own, but for `seed`: an int s means s + i for text i, counted
        from `first` over the whole stream, blank texts included; a tuple has one seed a text. So a text's sample does
        not depend on its batch-mates. Blank texts give empty translations.
        """
        if long not in ("refuse", "split"):
            raise InputError(f"long must be 'refuse' or 'split', but is {long!r}")
        for name, value in (("batch_tokens", batch_tokens), ("window", window)):
            if value < 1:
                raise InputError(f"{name} must be at least 1, but is {value}")
        direction = self._known.direction(source_lang, target_lang)
        merged = self._options(direction).merged(**options)
        if isinstance(texts, Sized):
            _check_seeds(merged.seed, len(texts))
        if isinstance(merged.seed, int):
            merged = replace(merged, seed=(merged.seed + first) % 2**64)
        return self._stream(texts, _Request(direction, merged, long, batch_tokens, first), window)

    def _options(self, direction: Direction) -> GenerationOptions:
        """The checkpoint's own for a direction."""
        options = replace(self.defaults, **direction.options)
        return options if direction.first is None else replace(options, forced_bos_token_id=direction.first)

    def source_ids(self, text: str, target_lang: str | None = None, source_lang: str | None = None) -> list[int]:
        """The token ids of a text as the model reads them: its language where it is said, its pieces, its end."""
        return self._encoded([text], self._known.direction(source_lang, target_lang))[0]

    def _stream(self, texts: Iterable[str], request: _Request, window: int) -> Iterator[Translation]:
        seed, first = request.options.seed, 1
        for block in blocks(iter(texts), lambda _: window):
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
            yield _joined(list(islice(translated, len(source))), request.direction)
        if refusal is not None:
            raise refusal

    def _encode(
        self, texts: Sequence[str], first: int, request: _Request
    ) -> tuple[list[list[list[int]]], InputError | None]:
        """The token ids of each text's pieces, up to the first text that is refused, and the refusal."""
        encoded = iter(self._encoded([text for text in texts if text.strip()], request.direction))
        sources: list[list[list[int]]] = []
        for number, text in enumerate(texts, request.before + first):
            try:
                sources.append(self._fit(text, next(encoded), number, request) if text.strip() else [])
            except InputError as refusal:
                return sources, refusal
        return sources, None

    def _encoded(self, texts: Sequence[str], direction: Direction) -> list[list[int]]:
        asked = [direction.prefix + text for text in texts]
        return [[*direction.before, *ids] for ids in self.tokenizer.encode_batch(asked, source_lang=direction.beside)]

    def _fit(self, text: str, ids: list[int], number: int, request: _Request) -> list[list[int]]:
        limit = self.max_source_tokens
        if limit is None or len(ids) <= limit:
            return [ids]
        if request.long == "refuse":
            raise InputError(
                f"line {number} has {len(ids)} tokens, but the model reads at most {limit}: shorten it, or split it at "
                "its sentence ends with long='split' (--long split)"
            )
        pieces = self._encoded(split_sentences(text), request.direction)
        longest = max(map(len, pieces))
        if longest > limit:
            raise InputError(
                f"line {number} has a sentence of {longest} tokens, but the model reads at most {limit}: shorten it"
            )
        return pieces

    def _translate_pieces(
        self, pieces: Sequence[list[int]], seeds: Sequence[int] | None, request: _Request
    ) -> list[list[Hypothesis]]:
        """The hypotheses of each piece, best first."""
        return written(
            self.engine,
            self.tokenizer,
            pieces,
            request.options,
            batch_tokens=request.batch_tokens,
            seeds=seeds,
            start=request.direction.start,
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


def _joined(pieces: Sequence[Sequence[Hypothesis]], direction: Direction) -> Translation:
    """The translation of one text from the hypotheses of its pieces: rank by rank, best first."""
    if not pieces:
        return Translation("", source_lang=direction.source_lang, target_lang=direction.target_lang, sentences=0)
    best, *others = [_concatenated(rank, direction) for rank in zip(*pieces, strict=False)]
    return replace(best, alternatives=tuple(others))


def _concatenated(parts: Sequence[Hypothesis], direction: Direction) -> Translation:
    scores = [part.score for part in parts if part.score is not None]
    token_scores = [part.token_scores for part in parts if part.token_scores is not None]
    return Translation(
        text=join_sentences(part.text for part in parts),
        score=sum(scores) if scores else None,
        tokens=tuple(token for part in parts for token in part.tokens),
        token_ids=tuple(token for part in parts for token in part.token_ids),
        token_scores=tuple(value for values in token_scores for value in values) if token_scores else None,
        finished=all(part.finished for part in parts),
        source_lang=direction.source_lang,
        target_lang=direction.target_lang,
        sentences=len(parts),
    )
