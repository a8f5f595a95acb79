"""The summarising task: a long text in, a short one out (Lewis et al. 2020, section 5.3; Zhang et al. 2020)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, overload

from regard.decoding.options import GenerationOptions
from regard.errors import InputError
from regard.features.tokenizer import Tokenizer
from regard.tasks.hypotheses import Hypothesis, Writer, check_seeds, item_seeds
from regard.tasks.sources import most_source_tokens, written

Long = Literal["refuse", "cut"]


@dataclass(frozen=True)
class Summary(Hypothesis):
    """One summary. cut: how many tokens of the text were not read, since the model reads no more."""

    alternatives: tuple[Hypothesis, ...] = ()  # the other num_return_sequences - 1 hypotheses, best first
    cut: int = 0

    def as_json(self) -> dict[str, Any]:
        alternatives = [alternative.as_json() for alternative in self.alternatives]
        return {**super().as_json(), "alternatives": alternatives, "cut": self.cut}


class _Source(NamedTuple):
    ids: list[int]
    cut: int


class Summariser:
    """A model that summarises, with its tokenizer: `summariser("A long text.")`, or a list of texts.

    prefix: the words that an encoder-decoder is asked with, before each text ("summarize: " of T5). A language model is
    asked by its tokenizer's chat template, and goes on with the summary.
    """

    def __init__(self, engine: Writer, tokenizer: Tokenizer, defaults: GenerationOptions, prefix: str = "") -> None:
        self.engine, self.tokenizer, self.defaults, self.prefix = engine, tokenizer, defaults, prefix
        self._continues = engine.spec.form == "decoder"

    @property
    def max_source_tokens(self) -> int | None:
        """The longest input in tokens, special tokens and the prefix or prompt included; None: no bound."""
        return self._room(self.defaults)

    def _room(self, options: GenerationOptions) -> int | None:
        """As many tokens as the model reads; of one that goes on from them, with room for what it writes."""
        most = most_source_tokens(self.engine.spec)
        if most is None or not self._continues:
            return most
        if options.max_new_tokens >= most:
            raise InputError(
                f"max_new_tokens must be below {most}, the model's positions, which the text and its summary share, "
                f"but is {options.max_new_tokens}"
            )
        return most - options.max_new_tokens

    @overload
    def __call__(self, texts: str, **settings: Any) -> Summary: ...

    @overload
    def __call__(self, texts: Sequence[str], **settings: Any) -> list[Summary]: ...

    def __call__(self, texts: str | Sequence[str], **settings: Any) -> Summary | list[Summary]:
        """A text -> its `Summary`; a sequence -> a list of them. `settings` are those of `summarise`."""
        return self.summarise([texts], **settings)[0] if isinstance(texts, str) else self.summarise(texts, **settings)

    def summarise(
        self,
        texts: Sequence[str],
        *,
        long: Long = "refuse",
        batch_tokens: int = 4096,
        first: int = 0,
        **options: Any,
    ) -> list[Summary]:
        """The summaries of the texts, in their order.

        `long` says what happens to a text of more than `max_source_tokens`: an InputError, or its end is not read, and
        `Summary.cut` counts the tokens. `batch_tokens` bounds rows * longest row of a batch. `options` are those of
        GenerationOptions, over the checkpoint's own, but for `seed`: an int s means s + i for text i, counted from
        `first`; a tuple has one seed a text. Blank texts give empty summaries.
        """
        if long not in ("refuse", "cut"):
            raise InputError(f"long must be 'refuse' or 'cut', but is {long!r}")
        if batch_tokens < 1:
            raise InputError(f"batch_tokens must be at least 1, but is {batch_tokens}")
        merged = self.defaults.merged(**options)
        check_seeds(merged.seed, first + len(texts))
        filled = [place for place, text in enumerate(texts) if text.strip()]
        sources = self._sources(texts, filled, first, long, self._room(merged))
        seeds = item_seeds(merged.seed, first, len(texts))
        found = written(
            self.engine,
            self.tokenizer,
            [source.ids for source in sources],
            merged,
            batch_tokens=batch_tokens,
            seeds=None if seeds is None else [seeds[place] for place in filled],
        )
        summaries = [Summary("")] * len(texts)
        for place, source, (best, *others) in zip(filled, sources, found, strict=True):
            summaries[place] = Summary(**vars(best), alternatives=tuple(others), cut=source.cut)
        return summaries

    def source_ids(self, text: str) -> list[int]:
        """The token ids of a text as the model reads them, without its end where it is too long."""
        return self._sources([text], [0], 0, "cut", self.max_source_tokens)[0].ids

    def _sources(
        self, texts: Sequence[str], filled: Sequence[int], first: int, long: Long, limit: int | None
    ) -> list[_Source]:
        read = [self.prefix + texts[place] for place in filled]
        encoded = [self._asked(text).ids for text in read] if self._continues else self.tokenizer.encode_batch(read)
        return [
            self._fit(text, ids, first + place + 1, long, limit)
            for place, text, ids in zip(filled, read, encoded, strict=True)
        ]

    def _fit(self, text: str, ids: list[int], number: int, long: Long, limit: int | None) -> _Source:
        if limit is None or len(ids) <= limit:
            return _Source(ids, 0)
        if long == "refuse":
            raise InputError(
                f"text {number} has {len(ids)} tokens, but the model reads at most {limit}: shorten it, or leave out "
                "its end with long='cut' (--long cut)"
            )
        if self._continues:
            return self._asked(text, limit)
        encoding = self.tokenizer.encode_text(text, max_length=limit)
        return _Source(encoding.ids, encoding.cut)

    def _asked(self, text: str, limit: int | None = None) -> _Source:
        from regard.features.asking import asked  # and with it Jinja, which an encoder-decoder does without

        return _Source(*asked(self.tokenizer, text, limit))
