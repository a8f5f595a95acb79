"""GenerationOptions in, Generation out: the names are those of Transformers' `generate`."""

import difflib
import math
import operator
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from regard.errors import ConfigError

Array = Any  # a NumPy array, or a tensor of the engine whose `ops` are in use

_LEAST = {"max_new_tokens": 1, "min_new_tokens": 0, "num_beams": 1, "num_return_sequences": 1}
_LEAST |= {"top_k": 0, "no_repeat_ngram_size": 0}
_RATES = ("top_p", "min_p")
_ABOVE_ZERO = ("temperature", "repetition_penalty")
_TOKEN_IDS = ("pad_token_id", "forced_bos_token_id")
_TOKEN_SETS = ("eos_token_id", "forced_eos_token_id")
_SAMPLING = ("temperature", "top_k", "top_p", "min_p")  # what do_sample alone reads
_OURS = ("length_penalty_form", "seed", "return_scores")  # what generation_config.json does not know


@dataclass(frozen=True)
class GenerationOptions:
    """How to search. Hashable: without its seed (`static`) it is the key of a compiled search.

    None stands for a field's default. Raises ConfigError for values out of bounds or at odds with each other.
    """

    max_new_tokens: int = 20  # generated tokens at most, eos included
    min_new_tokens: int = 0  # eos is banned before
    num_beams: int = 1
    num_return_sequences: int = 1
    length_penalty: float = 1.0  # the exponent of the length; below 0 favours short sequences
    length_penalty_form: Literal["transformers", "gnmt"] = "transformers"  # length**a, or ((5 + length) / 6)**a
    early_stopping: bool | Literal["never"] = False  # True: at num_beams hypotheses; "never": once none can improve
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50  # sample among the k likeliest; 0: among all
    top_p: float = 1.0  # sample among the likeliest that hold this much probability
    min_p: float = 0.0  # sample among those with at least this share of the likeliest one's probability
    repetition_penalty: float = 1.0  # above 1 makes tokens of the history less likely
    no_repeat_ngram_size: int = 0  # no n-gram of this size comes twice; 0: no such rule
    bad_words_ids: tuple[tuple[int, ...], ...] = ()  # sequences that are never completed
    seed: int | tuple[int, ...] | None = None  # s: s + i for row i; or one a row; None: another one each time
    return_scores: bool = False  # token_scores, and scores for greedy search and sampling
    eos_token_id: int | tuple[int, ...] | None = None
    pad_token_id: int | None = None
    forced_bos_token_id: int | None = None  # the first generated token
    forced_eos_token_id: int | tuple[int, ...] | None = None  # the only tokens allowed at max_new_tokens

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, field.default if value is None else _plain(field.name, value))
        self._check_choices()
        self._check_pairs()

    def _check_choices(self) -> None:
        if self.early_stopping not in (True, False, "never"):
            raise ConfigError(f'early_stopping must be True, False or "never", but is {self.early_stopping!r}')
        if self.length_penalty_form not in ("transformers", "gnmt"):
            raise ConfigError(
                f'length_penalty_form must be "transformers" or "gnmt", but is {self.length_penalty_form!r}'
            )

    def _check_pairs(self) -> None:
        if self.min_new_tokens > self.max_new_tokens:
            raise ConfigError(
                f"min_new_tokens must be at most max_new_tokens ({self.max_new_tokens}), but is {self.min_new_tokens}"
            )
        sampling_alone = self.do_sample and self.num_beams == 1
        if self.num_beams < self.num_return_sequences and not sampling_alone:
            raise ConfigError(
                f"num_beams must be at least num_return_sequences ({self.num_return_sequences}), "
                f"but is {self.num_beams}" + ("" if self.num_beams > 1 else " (or set do_sample=True)")
            )

    @property
    def width(self) -> int:
        """W, the hypotheses that a step extends: the beams, or the samples."""
        return self.num_beams if self.num_beams > 1 else self.num_return_sequences

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """`eos_token_id` as a tuple."""
        return _as_tuple(self.eos_token_id)

    @property
    def forced_eos_ids(self) -> tuple[int, ...]:
        """`forced_eos_token_id` as a tuple."""
        return _as_tuple(self.forced_eos_token_id)

    @property
    def pad_id(self) -> int:
        """What fills a row after its end: pad, or eos where there is no pad."""
        return self.pad_token_id if self.pad_token_id is not None else (*self.eos_ids, 0)[0]

    @property
    def static(self) -> Self:
        """These options without the seed: all that the graph of a search depends on."""
        return replace(self, seed=None)

    def merged(self, **overrides: Any) -> Self:
        """These options with some fields replaced; what only sampling reads is refused where nothing samples."""
        known = [field.name for field in fields(self)]
        for name in overrides:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known options: {', '.join(known)}"
                raise ConfigError(f"unknown option {name}: {hint}")
        merged = replace(self, **overrides)
        for name in _SAMPLING:
            if name in overrides and not merged.do_sample and getattr(merged, name) not in (_DEFAULTS[name], 0):
                raise ConfigError(f"{name} is for sampling, so it needs do_sample=True, but do_sample is False")
        return merged

    def row_seeds(self, rows: int) -> np.ndarray:
        """The seed of each row as two words: (rows, 2) uint32, the low one first."""
        if isinstance(self.seed, tuple):
            if len(self.seed) != rows:
                raise ConfigError(f"seed must be one int or one a row ({rows}), but has {len(self.seed)}")
            seeds = self.seed
        else:
            first = secrets.randbits(62) if self.seed is None else self.seed
            seeds = tuple(range(first, first + rows))
        words = [[(seed >> shift) & 0xFFFFFFFF for shift in (0, 32)] for seed in seeds]
        return np.array(words, "uint32").reshape(rows, 2)

    @classmethod
    def from_generation_config(cls, config: Mapping[str, Any], prompt_length: int = 1) -> Self:
        """Read what Hugging Face's generation_config.json says; keys outside GENERATION_CONFIG_KEYS are left alone.

        `max_length` and `min_length` count the prompt too: `prompt_length` tokens, 1 for an encoder-decoder.
        """
        values = {name: config[name] for name in _DEFAULTS if name not in _OURS and config.get(name) is not None}
        for length, tokens in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
            if config.get(length) is not None and tokens not in values:
                values[tokens] = max(config[length] - prompt_length, _LEAST[tokens])
        return cls(**values)

    def to_generation_config(self) -> dict[str, Any]:
        """What differs from Transformers' defaults, under generation_config.json's keys."""
        values = {name: getattr(self, name) for name in _DEFAULTS if name not in _OURS}
        return {name: _as_json(value) for name, value in values.items() if value != _DEFAULTS[name]}


_DEFAULTS = MappingProxyType({field.name: field.default for field in fields(GenerationOptions)})
GENERATION_CONFIG_KEYS = frozenset(_DEFAULTS) - frozenset(_OURS) | {"max_length", "min_length"}


class Generation(NamedTuple):
    """What a search found, best first for beams.

    A hypothesis that does not exist (a beam wider than the number of sequences) has score -inf and length 0.
    """

    sequences: Array  # (B, N, T) int32: generated ids alone, with eos, then padding
    lengths: Array  # (B, N) int32: tokens before the padding, eos included
    scores: Array | None = None  # (B, N) float32: sum of token_scores over the length penalty, in nats
    token_scores: Array | None = None  # (B, N, T) float32: log-probability of each token, 0 in padding

    def cropped(self) -> "Generation":
        """As NumPy arrays, with T cut to the longest sequence of the batch."""
        lengths = np.asarray(self.lengths)
        longest = int(lengths.max(initial=0))
        return Generation(
            sequences=np.asarray(self.sequences)[..., :longest],
            lengths=lengths,
            scores=None if self.scores is None else np.asarray(self.scores),
            token_scores=None if self.token_scores is None else np.asarray(self.token_scores)[..., :longest],
        )


def _plain(name: str, value: Any) -> Any:
    """`value` as plain, hashable Python, checked against the bounds of the field `name`."""
    if name in _LEAST:
        return _at_least(name, _int(name, value), _LEAST[name])
    if name in _TOKEN_IDS:
        return _at_least(name, _int(name, value), 0)
    if name in _TOKEN_SETS:
        return _ints(name, value, least=0) if isinstance(value, Iterable) else _at_least(name, _int(name, value), 0)
    if name == "bad_words_ids":
        return _words(name, value)
    if name == "seed":
        return _ints(name, value) if isinstance(value, Iterable) else _int(name, value)
    if name in ("do_sample", "return_scores"):
        return _flag(name, value)
    if name in _RATES or name in _ABOVE_ZERO or name == "length_penalty":
        return _real(name, value)
    return value


def _flag(name: str, value: Any) -> bool:
    if value not in (True, False):
        raise ConfigError(f"{name} must be True or False, but is {value!r}")
    return bool(value)


def _real(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{name} must be a number, but is {value!r}") from None
    if not math.isfinite(number):
        raise ConfigError(f"{name} must be finite, but is {number}")
    if name in _RATES and not 0 <= number <= 1:
        raise ConfigError(f"{name} must be between 0 and 1, but is {number}")
    if name in _ABOVE_ZERO and number <= 0:
        hint = "; do_sample=False takes the likeliest token" if name == "temperature" else ""
        raise ConfigError(f"{name} must be above 0, but is {number}{hint}")
    return number


def _int(name: str, value: Any) -> int:
    if isinstance(value, bool):
        raise ConfigError(f"{name} must be an integer, but is {value}")
    try:
        return operator.index(value)
    except TypeError:
        raise ConfigError(f"{name} must be an integer, but is {value!r}") from None


def _at_least(name: str, value: int, least: int) -> int:
    if value < least:
        raise ConfigError(f"{name} must be at least {least}, but is {value}")
    return value


def _ints(name: str, values: Iterable[Any], least: int | None = None) -> tuple[int, ...]:
    if isinstance(values, str):
        raise ConfigError(f"{name} must be integers, but is {values!r}")
    numbers = tuple(_int(name, value) for value in values)
    return numbers if least is None else tuple(_at_least(name, number, least) for number in numbers)


def _words(name: str, words: Any) -> tuple[tuple[int, ...], ...]:
    if not isinstance(words, Iterable) or not all(isinstance(word, Sequence) and len(word) for word in words):
        raise ConfigError(f"{name} must be a list of non-empty lists of ids, but is {words!r}")
    return tuple(_ints(name, word, least=0) for word in words)


def _as_tuple(ids: int | tuple[int, ...] | None) -> tuple[int, ...]:
    if ids is None:
        return ()
    return (ids,) if isinstance(ids, int) else ids


def _as_json(value: Any) -> Any:
    return [_as_json(entry) for entry in value] if isinstance(value, tuple) else value
