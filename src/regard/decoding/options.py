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
# A checkpoint's file may say anything, and the graph of a search grows with these: arrays of (B, W, V) for W beams or
# samples, and one comparison for each token of an n-gram.
_MOST = {"num_beams": 1024, "num_return_sequences": 1024, "no_repeat_ngram_size": 1024}
_RATES = ("top_p", "min_p")
_ABOVE_ZERO = ("temperature", "repetition_penalty")
_TOKEN_IDS = ("pad_token_id", "forced_bos_token_id")
_TOKEN_SETS = ("eos_token_id", "forced_eos_token_id")
_FLAGS = ("do_sample", "renormalize_logits", "return_scores")
_SAMPLING = ("temperature", "top_k", "top_p", "min_p")  # what do_sample alone reads
_OURS = ("length_penalty_form", "seed", "return_scores")  # what generation_config.json does not know
_SEEDS = 2**64  # how many there are: a seed is two words of 32 bits
_UNSUPPORTED: Mapping[str, tuple[Any, ...]] = MappingProxyType(  # what generation_config.json knows and we do not
    {  # key: the values besides None that change nothing
        "begin_suppress_tokens": ([],),
        "constraints": ([],),
        "diversity_penalty": (0,),
        "dola_layers": ([],),
        "encoder_no_repeat_ngram_size": (0,),
        "encoder_repetition_penalty": (1,),
        "epsilon_cutoff": (0,),
        "eta_cutoff": (0,),
        "exponential_decay_length_penalty": (),
        "force_words_ids": ([],),
        "forced_decoder_ids": ([],),
        "guidance_scale": (1,),
        "max_time": (),
        "num_beam_groups": (1,),
        "penalty_alpha": (0,),
        "prompt_lookup_num_tokens": (),
        "remove_invalid_values": (False,),
        "sequence_bias": ([], {}),
        "stop_strings": ([], ""),
        "suppress_tokens": ([],),
        "token_healing": (False,),
        "top_h": (),
        "typical_p": (1,),
        "watermarking_config": ({},),
    }
)


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
    renormalize_logits: bool = False  # beams add up log-probabilities of what the rules left, not of all tokens
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

    def check_vocabulary(self, vocab_size: int) -> None:
        """Raise ConfigError, with the option's name, for an id that a vocabulary of this size does not have."""
        for name in (*_TOKEN_IDS, *_TOKEN_SETS):
            self._check_ids(name, _as_tuple(getattr(self, name)), vocab_size)
        self._check_ids("bad_words_ids", [token for word in self.bad_words_ids for token in word], vocab_size)

    def _check_ids(self, name: str, ids: Sequence[int], vocab_size: int) -> None:
        for token in ids:
            if token >= vocab_size:
                verb = "is" if isinstance(getattr(self, name), int) else "has"
                raise ConfigError(f"{name} must be below the vocabulary's size ({vocab_size}), but {verb} {token}")

    def row_seeds(self, rows: int) -> np.ndarray:
        """The seed of each row, modulo 2**64, as two words: (rows, 2) uint32, the low one first."""
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
                values[tokens] = max(_int(length, config[length]) - prompt_length, _LEAST[tokens])
        return cls(**values)

    def to_generation_config(self) -> dict[str, Any]:
        """What differs from Transformers' defaults, under generation_config.json's keys."""
        values = {name: getattr(self, name) for name in _DEFAULTS if name not in _OURS}
        return {name: _as_json(value) for name, value in values.items() if value != _DEFAULTS[name]}


_DEFAULTS = MappingProxyType({field.name: field.default for field in fields(GenerationOptions)})
GENERATION_CONFIG_KEYS = frozenset(_DEFAULTS) - frozenset(_OURS) | {"max_length", "min_length"}


def unsupported_generation_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a generation_config.json (or an older config.json) asks of a search that no search here does."""
    asked = {key: config[key] for key in _UNSUPPORTED if config.get(key) is not None}
    return {key: value for key, value in asked.items() if value not in _UNSUPPORTED[key]}


class Generation(NamedTuple):
    """What a search found, best first for beams.

    A hypothesis that does not exist (a beam wider than the number of sequences, or all tokens banned from the start)
    has score -inf and length 0.
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
        return _at_most(name, _at_least(name, _int(name, value), _LEAST[name]))
    if name in _TOKEN_IDS:
        return _at_least(name, _int(name, value), 0)
    if name in _TOKEN_SETS:
        return _ints(name, value, least=0) if isinstance(value, Iterable) else _at_least(name, _int(name, value), 0)
    if name == "bad_words_ids":
        return _words(name, value)
    if name == "seed":
        return tuple(map(_seed, _ints(name, value))) if isinstance(value, Iterable) else _seed(_int(name, value))
    if name in _FLAGS:
        return _flag(name, value, "True or False")
    if name == "early_stopping":
        return value if isinstance(value, str) and value == "never" else _flag(name, value, 'True, False or "never"')
    if name in _RATES or name in _ABOVE_ZERO or name == "length_penalty":
        return _real(name, value)
    return value


def _flag(name: str, value: Any, choices: str) -> bool:
    if not isinstance(value, (int, np.integer, np.bool_)) or value not in (0, 1):
        raise ConfigError(f"{name} must be {choices}, but is {value!r}")
    return bool(value)


def _real(name: str, value: Any) -> float:
    if isinstance(value, (str, bool)):  # float() would take them
        raise ConfigError(f"{name} must be a number, but is {value!r}")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
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


def _at_most(name: str, value: int) -> int:
    if value > _MOST.get(name, value):
        raise ConfigError(f"{name} must be at most {_MOST[name]}, but is {value}")
    return value


def _seed(value: int) -> int:
    if not 0 <= value < _SEEDS:
        raise ConfigError(f"seed must be at least 0 and below 2**64, but is {value}")
    return value


def _ints(name: str, values: Iterable[Any], least: int | None = None) -> tuple[int, ...]:
    if isinstance(values, str):
        raise ConfigError(f"{name} must be integers, but is {values!r}")
    numbers = tuple(_int(name, value) for value in values)
    return numbers if least is None else tuple(_at_least(name, number, least) for number in numbers)


def _words(name: str, words: Any) -> tuple[tuple[int, ...], ...]:
    listed = list(words) if isinstance(words, Iterable) else None  # an iterator can be read but once
    if listed is None or not all(isinstance(word, Sequence) and len(word) for word in listed):
        raise ConfigError(f"{name} must be a list of non-empty lists of ids, but is {listed or words!r}")
    return tuple(_ints(name, word, least=0) for word in listed)


def _as_tuple(ids: int | tuple[int, ...] | None) -> tuple[int, ...]:
    if ids is None:
        return ()
    return (ids,) if isinstance(ids, int) else ids


def _as_json(value: Any) -> Any:
    return [_as_json(entry) for entry in value] if isinstance(value, tuple) else value
