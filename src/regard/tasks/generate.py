"""The generation task: a prompt -> what a language model writes after it; for T5 or BART, a text for a text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

from regard.decoding.options import GenerationOptions
from regard.decoding.trie import TokenTrie
from regard.errors import ConfigError, InputError
from regard.features.tokenizer import Tokenizer
from regard.tasks.continuing import BATCH_TOKENS, Continuation, Continuer, Engine, Prompt, Request, TextPieces
from regard.tasks.hypotheses import check_seeds, item_seeds
from regard.tasks.stopping import checked_stops


@dataclass(frozen=True)
class GeneratedText(Continuation):
    """The best continuation of a prompt. alternatives: the other num_return_sequences - 1, best first."""

    alternatives: tuple[Continuation, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {**super().as_json(), "alternatives": [other.as_json() for other in self.alternatives]}


class _Settings(NamedTuple):
    request: Request
    parse_special: bool


class TextGenerator:
    """A model that writes, with its tokenizer: `generator("Once upon a time")`, or a list of prompts.

    A language model goes on from a prompt; an encoder-decoder reads it and writes another text. `stop` are the strings
    that end a text by default, `defaults` the options. asked: a language model is asked with the prompt, by its
    tokenizer's chat template, as one that has learned to write a text for a text is.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        defaults: GenerationOptions,
        stop: Sequence[str] = (),
        asked: bool = False,
    ) -> None:
        self.engine, self.tokenizer, self.defaults, self.stop = engine, tokenizer, defaults, tuple(stop)
        self.asked = asked
        self._continuer = Continuer(engine, tokenizer, apart=asked)

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of a prompt and what follows, or of an encoder-decoder's source; None: no bound."""
        return self._continuer.max_tokens

    @overload
    def __call__(self, prompts: str, **settings: Any) -> GeneratedText: ...

    @overload
    def __call__(self, prompts: Sequence[str], **settings: Any) -> list[GeneratedText]: ...

    def __call__(self, prompts: str | Sequence[str], **settings: Any) -> GeneratedText | list[GeneratedText]:
        """A prompt -> its `GeneratedText`; a sequence -> a list of them. `settings` are those of `generate`."""
        if isinstance(prompts, str):
            return self.generate([prompts], **settings)[0]
        return self.generate(prompts, **settings)

    def generate(
        self,
        prompts: Sequence[str],
        *,
        stop: str | Sequence[str] | None = None,
        allowed: Sequence[str] | None = None,
        parse_special: bool = False,
        batch_tokens: int = BATCH_TOKENS,
        first: int = 0,
        **options: Any,
    ) -> list[GeneratedText]:
        """The continuations of the prompts, in their order.

        stop: a text ends before the first of these strings; default: the checkpoint's. allowed: the text is one of
        these (give the space between it and the prompt, too). parse_special: special tokens that a prompt spells are
        read as such; else they are text. batch_tokens: rows * longest row of a batch. `options` are those of
        GenerationOptions, over the checkpoint's own, but for `seed`: an int s means s + first + i for prompt i, and a
        tuple has one seed a prompt, so that a sample does not hang on its batch-mates.

        A prompt is read as the tokenizer frames a text, without the end that it may put after it; an empty one is the
        token that begins texts. Raises InputError where one is too long for the model, and where max_new_tokens are
        asked for that do not fit after it; ConfigError for options at odds with each other.
        """
        if batch_tokens < 1:
            raise ConfigError(f"batch_tokens must be at least 1, but is {batch_tokens}")
        settings = self._settings(stop, parse_special, options)
        request = settings.request
        if allowed is not None:
            request = request._replace(trie=self._trie(allowed, request.options))
        check_seeds(request.options.seed, len(prompts))
        start = first if isinstance(request.options.seed, int) else 0
        encoded = [self._prompt(text, number, settings) for number, text in enumerate(prompts, first + 1)]
        found = self._continuer.continued(
            encoded, request, item_seeds(request.options.seed, start, len(prompts)), batch_tokens
        )
        return [GeneratedText(**vars(best), alternatives=tuple(others)) for best, *others in found]

    def stream(
        self,
        prompt: str,
        *,
        stop: str | Sequence[str] | None = None,
        parse_special: bool = False,
        **options: Any,
    ) -> TextPieces:
        """The text as it is written: an iterator of pieces that never split a character, and whose sum is the text
        that `generate` gives. The rest is in its `result`. Settings and errors are those of `generate`."""
        settings = self._settings(stop, parse_special, options)
        check_seeds(settings.request.options.seed, 1)
        return self._continuer.stream(self._prompt(prompt, 1, settings), settings.request)

    def _settings(self, stop: str | Sequence[str] | None, parse_special: bool, options: dict[str, Any]) -> _Settings:
        bounded = any(options.get(name) is not None for name in ("max_new_tokens", "max_length"))
        stops = self.stop if stop is None else checked_stops(stop)
        return _Settings(Request(self.defaults.merged(**options), stops, bounded), parse_special)

    def source_ids(self, prompt: str) -> list[int]:
        """The token ids of a prompt as the model reads it."""
        return self._prompt(prompt, 1, self._settings(None, False, {})).ids

    def _prompt(self, text: str, number: int, settings: _Settings) -> Prompt:
        if self.asked:
            if settings.parse_special:
                raise ConfigError("parse_special is for prompts as they stand: the model is asked by its chat template")
            from regard.features.asking import asked  # and with it Jinja, which no other text does

            return Prompt(asked(self.tokenizer, text).ids, f"prompt {number}")
        encoding = self.tokenizer.encode_text(text, parse_special=settings.parse_special)
        ids, name = encoding.ids, f"prompt {number}"
        if self._continuer.continues:
            ids = self._open_end(ids, encoding.segments)
        if not ids:
            raise InputError(f"{name} is empty, and the model has no token that begins a text: write something")
        return Prompt(ids, name)

    def _open_end(self, ids: list[int], segments: Sequence[int | None]) -> list[int]:
        """Without the special tokens after the text: nothing goes on after its end."""
        own = [place for place, segment in enumerate(segments) if segment is not None]
        if own:
            return ids[: own[-1] + 1]
        begin = self.engine.spec.tokens.bos if self.tokenizer.bos_id is None else self.tokenizer.bos_id
        return [] if begin is None else [begin]

    def _trie(self, allowed: Sequence[str], options: GenerationOptions) -> TokenTrie:
        """Raises ConfigError where there is nothing allowed, or more than max_new_tokens hold."""
        if isinstance(allowed, str) or not allowed or not all(allowed):
            raise ConfigError(f"allowed must be a list of texts that are not empty, but is {allowed!r}")
        ids = [self.tokenizer.encode_plain(text) for text in allowed]
        longest = max(map(len, ids)) + bool(options.eos_ids)
        if longest > options.max_new_tokens:
            raise ConfigError(
                f"max_new_tokens must be at least {longest}, for the longest text that is allowed and its end, "
                f"but is {options.max_new_tokens}"
            )
        return TokenTrie.of(ids, next(iter(options.eos_ids), None))
