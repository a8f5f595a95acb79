"""Values of options as plain, hashable Python, or an error that names the option: a checkpoint's file may say anything.

The graph of a search grows with some of them: arrays of (B, W, V) for W beams or samples, a comparison for each token
of an n-gram, one search a group. Hence the bounds above.
"""

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from regard.errors import ConfigError

Word = tuple[int, ...]

LEAST = {"max_new_tokens": 1, "min_new_tokens": 0, "num_beams": 1, "num_return_sequences": 1, "num_beam_groups": 1}
LEAST |= {"max_length": 1, "min_length": 0, "top_k": 0, "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0}
LEAST |= {"prompt_lookup_num_tokens": 0, "num_assistant_tokens": 1}
_MOST = {"num_beams": 1024, "num_return_sequences": 1024, "num_beam_groups": 64}
_MOST["max_new_tokens"] = 2**20  # room for all of them is taken
_MOST |= {"no_repeat_ngram_size": 1024, "encoder_no_repeat_ngram_size": 1024}
_MOST |= {"prompt_lookup_num_tokens": 64, "num_assistant_tokens": 64}  # more never prove right together
_MOST_STOPS = 1024  # ids of all stop sequences together: the states of the automaton that looks for them
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {  # of numbers: which values, and in words
    **dict.fromkeys(("top_p", "min_p", "assistant_confidence_threshold"), (lambda x: 0 <= x <= 1, "between 0 and 1")),
    **dict.fromkeys(("typical_p", "top_h"), (lambda x: 0 < x <= 1, "above 0 and at most 1")),
    **dict.fromkeys(("epsilon_cutoff", "eta_cutoff"), (lambda x: 0 <= x < 1, "at least 0 and below 1")),
    **dict.fromkeys(("temperature", "repetition_penalty", "encoder_repetition_penalty"), (lambda x: x > 0, "above 0")),
    **dict.fromkeys(("diversity_penalty", "beam_threshold"), (lambda x: x >= 0, "at least 0")),
}
_REALS = (*_RANGES, "length_penalty", "frequency_penalty", "presence_penalty")
_FLAGS = ("do_sample", "renormalize_logits", "remove_invalid_values", "return_scores")
_SEEDS = 2**64  # how many there are: a seed is two words of 32 bits

TOKEN_IDS = ("pad_token_id", "forced_bos_token_id")
TOKEN_SETS = ("eos_token_id", "forced_eos_token_id")  # one id, or several
TOKEN_LISTS = ("suppress_tokens", "begin_suppress_tokens")
WORD_LISTS = ("bad_words_ids", "stop_sequences")


def plain(name: str, value: Any) -> Any:
    """`value` as plain, hashable Python, checked against the bounds of the option `name`."""
    if name in LEAST:
        return _at_most(name, at_least(name, integer(name, value), LEAST[name]))
    if name in TOKEN_IDS:
        return at_least(name, integer(name, value), 0)
    if name in TOKEN_SETS and not isinstance(value, Iterable):
        return at_least(name, integer(name, value), 0)
    if name in TOKEN_SETS or name in TOKEN_LISTS:
        return _integers(name, value, least=0)
    if name in WORD_LISTS:
        return _words(name, value)
    if name in _FLAGS:
        return _flag(name, value, "True or False")
    if name in _REALS:
        return _real(name, value)
    return _PECULIAR[name](name, value)


def _early_stopping(name: str, value: Any) -> bool | str:
    return value if isinstance(value, str) and value == "never" else _flag(name, value, 'True, False or "never"')


def _length_form(name: str, value: Any) -> str:
    if not isinstance(value, str) or value not in ("transformers", "gnmt"):
        raise ConfigError(f'{name} must be "transformers" or "gnmt", but is {value!r}')
    return value


def _seeds(name: str, value: Any) -> int | Word:
    return tuple(map(_seed, _integers(name, value))) if isinstance(value, Iterable) else _seed(integer(name, value))


def _decay(name: str, value: Any) -> tuple[int, float]:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise ConfigError(f"{name} must be a start, in tokens, and a factor, but is {value!r}")
    start, factor = at_least(name, integer(name, value[0]), 0), _real(name, value[1])
    if factor <= 0:
        raise ConfigError(f"{name} must have a factor above 0, but has {factor}")
    return start, factor


def _biases(name: str, value: Any) -> tuple[tuple[Word, float], ...]:
    pairs = list(value.items() if isinstance(value, Mapping) else value) if isinstance(value, Iterable) else None
    if pairs is None or not all(isinstance(pair, Sequence) and len(pair) == 2 for pair in pairs):
        raise ConfigError(f"{name} must be a list of [ids, bias], but is {value!r}")
    words = _words(name, [word for word, _ in pairs])
    biases = dict(zip(words, (_real(name, bias) for _, bias in pairs), strict=True))  # of equal words the last counts
    return tuple(biases.items())


_PECULIAR = {
    "early_stopping": _early_stopping,
    "length_penalty_form": _length_form,
    "seed": _seeds,
    "exponential_decay_length_penalty": _decay,
    "sequence_bias": _biases,
}


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
    fits, range_in_words = _RANGES.get(name, (math.isfinite, "finite"))
    if not fits(number):
        hint = "; do_sample=False takes the likeliest token" if name == "temperature" else ""
        raise ConfigError(f"{name} must be {range_in_words}, but is {number}{hint}")
    return number


def integer(name: str, value: Any) -> int:
    """`value` as an int, if it is one of any kind but a bool."""
    if isinstance(value, bool):
        raise ConfigError(f"{name} must be an integer, but is {value}")
    try:
        return operator.index(value)
    except TypeError:
        raise ConfigError(f"{name} must be an integer, but is {value!r}") from None


def at_least(name: str, value: int, least: int) -> int:
    """`value`, if it is at least `least`."""
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


def _integers(name: str, values: Any, least: int | None = None) -> Word:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigError(f"{name} must be integers, but is {values!r}")
    numbers = tuple(integer(name, value) for value in values)
    return numbers if least is None else tuple(at_least(name, number, least) for number in numbers)


def _words(name: str, words: Any) -> tuple[Word, ...]:
    listed = list(words) if isinstance(words, Iterable) else None  # an iterator can be read but once
    if listed is None or not all(isinstance(word, Sequence) and len(word) for word in listed):
        raise ConfigError(f"{name} must be a list of non-empty lists of ids, but is {listed or words!r}")
    plain_words = tuple(_integers(name, word, least=0) for word in listed)
    if name == "stop_sequences" and sum(map(len, plain_words)) > _MOST_STOPS:
        raise ConfigError(f"{name} must hold at most {_MOST_STOPS} ids, but hold {sum(map(len, plain_words))}")
    return plain_words
