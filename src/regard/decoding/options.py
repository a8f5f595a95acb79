"""GenerationOptions in, Generation out: the names are those of Transformers' `generate`."""

import difflib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from regard.decoding.options_checks import (
    LEAST,
    TOKEN_IDS,
    TOKEN_LISTS,
    TOKEN_SETS,
    WORD_LISTS,
    Word,
    at_least,
    integer,
    plain,
)
from regard.errors import ConfigError

Array = Any  # a NumPy array, or a tensor of the engine whose `ops` are in use

_COUNTED = {"max_length": "max_new_tokens", "min_length": "min_new_tokens"}  # lengths that count the prompt, too
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "top_h", "epsilon_cutoff", "eta_cutoff")
_OURS = (  # what generation_config.json does not know
    "length_penalty_form",
    "frequency_penalty",
    "presence_penalty",
    "beam_threshold",
    "stop_sequences",
    "seed",
    "return_scores",
)
_UNSUPPORTED: Mapping[str, tuple[Any, ...]] = MappingProxyType(  # what generation_config.json knows and we do not
    {  # key: the values besides None that change nothing
        "constraints": ([],),
        "dola_layers": ([],),
        "force_words_ids": ([],),
        "forced_decoder_ids": ([],),
        "guidance_scale": (1,),
        "max_time": (),
        "penalty_alpha": (0,),
        "stop_strings": ([], ""),  # text: a task turns it into a StopTable
        "token_healing": (False,),
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
    max_length: int | None = None  # the same with the prompt counted, in place of max_new_tokens
    min_length: int | None = None  # in place of min_new_tokens
    num_beams: int = 1
    num_return_sequences: int = 1
    length_penalty: float = 1.0  # the exponent of the length; below 0 favours short sequences
    length_penalty_form: Literal["transformers", "gnmt"] = "transformers"  # length**a, or ((5 + length) / 6)**a
    early_stopping: bool | Literal["never"] = False  # True: at num_beams hypotheses; "never": once none can improve
    # give up beams so many nats behind the best: fewer steps, and now and then another text; None: follow all
    beam_threshold: float | None = None
    num_beam_groups: int = 1  # equal parts of the beams, one decoded after the other, each kept off the former's tokens
    diversity_penalty: float = 0.0  # what a token loses for each beam of former groups that takes it at the same step
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50  # sample among the k likeliest; 0: among all
    top_p: float = 1.0  # sample among the likeliest that hold this much probability
    min_p: float = 0.0  # sample among those with at least this share of the likeliest one's probability
    typical_p: float = 1.0  # sample among those whose information is nearest the entropy and that hold this much
    top_h: float | None = None  # sample among the likeliest, of 100, that hold this share of their entropy
    epsilon_cutoff: float = 0.0  # sample among those with at least this probability
    eta_cutoff: float = 0.0  # the same, with a bound that falls with the entropy
    repetition_penalty: float = 1.0  # above 1 makes tokens of the history less likely
    encoder_repetition_penalty: float = 1.0  # above 1 makes tokens of the source more likely
    frequency_penalty: float = 0.0  # what a generated token's logit loses each time it comes
    presence_penalty: float = 0.0  # what it loses once it has come
    no_repeat_ngram_size: int = 0  # no n-gram of this size comes twice; 0: no such rule
    encoder_no_repeat_ngram_size: int = 0  # no n-gram of the source comes
    bad_words_ids: tuple[Word, ...] = ()  # sequences that are never completed
    sequence_bias: tuple[tuple[Word, float], ...] = ()  # what is added to the score of the token that completes each
    suppress_tokens: Word = ()  # never generated
    begin_suppress_tokens: Word = ()  # not the first to be chosen freely
    # (start, factor): t tokens after the start, eos gains |score| (factor**t - 1)
    exponential_decay_length_penalty: tuple[int, float] | None = None
    remove_invalid_values: bool = False  # NaN becomes 0, and infinities the largest numbers
    renormalize_logits: bool = False  # beams add up log-probabilities of what the rules left, not of all tokens
    # guesses from the text before that are checked together, which changes nothing but the time; 0: none
    prompt_lookup_num_tokens: int = 0
    num_assistant_tokens: int = 20  # guesses of an assistant at once, at most
    assistant_confidence_threshold: float = 0.4  # the probability that its guess must have; 0: any
    seed: int | tuple[int, ...] | None = None  # s: s + i for row i; or one a row; None: another one each time
    return_scores: bool = False  # token_scores, and scores for greedy search and sampling
    eos_token_id: int | tuple[int, ...] | None = None
    pad_token_id: int | None = None
    stop_sequences: tuple[Word, ...] = ()  # a hypothesis ends with each of them, as with eos
    forced_bos_token_id: int | None = None  # the first generated token, unless a prompt is longer than a start token
    forced_eos_token_id: int | tuple[int, ...] | None = None  # the only tokens allowed at max_new_tokens

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, field.default if value is None else plain(field.name, value))
        self._check_pairs()
        self._check_groups()

    def _check_pairs(self) -> None:
        if self.max_length is None and self.min_length is None and self.min_new_tokens > self.max_new_tokens:
            raise ConfigError(
                f"min_new_tokens must be at most max_new_tokens ({self.max_new_tokens}), but is {self.min_new_tokens}"
            )
        sampling_alone = self.do_sample and self.num_beams == 1
        if self.num_beams < self.num_return_sequences and not sampling_alone:
            raise ConfigError(
                f"num_beams must be at least num_return_sequences ({self.num_return_sequences}), "
                f"but is {self.num_beams}" + ("" if self.num_beams > 1 else " (or set do_sample=True)")
            )

        if self.prompt_lookup_num_tokens:
            self.check_one_hypothesis("prompt_lookup_num_tokens")
        for name in ("forced_bos_token_id", "forced_eos_token_id"):
            forced = _as_tuple(getattr(self, name))
            if forced and set(forced) <= set(self.suppress_tokens):
                raise ConfigError(f"{name} must not be among suppress_tokens, but {forced[0]} is")

    def _check_groups(self) -> None:
        if self.num_beams % self.num_beam_groups:
            raise ConfigError(
                f"num_beams must be a multiple of num_beam_groups ({self.num_beam_groups}), but is {self.num_beams}"
            )
        if self.num_beam_groups > 1 and self.do_sample:
            raise ConfigError("num_beam_groups is for beams that do not sample: set do_sample=False, or leave it at 1")
        if self.num_beam_groups > 1 and not self.diversity_penalty:
            raise ConfigError("diversity_penalty must be above 0 where num_beam_groups is above 1, but is 0.0")

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
        for length, tokens in _COUNTED.items():
            if overrides.get(tokens) is not None:
                if overrides.get(length) is not None:
                    raise ConfigError(f"{tokens} and {length} both say how long a text is: give one of them")
                overrides[length] = None
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
        if overrides.get("diversity_penalty") and merged.num_beam_groups == 1:
            raise ConfigError("diversity_penalty is between groups, so it needs num_beam_groups above 1, which is 1")
        if overrides.get("beam_threshold") is not None and merged.num_beams == 1:
            raise ConfigError("beam_threshold is between beams, so it needs num_beams above 1, which is 1")
        return merged

    def resolved(self, prompt_length: int) -> Self:
        """These options with the lengths that count a prompt of so many tokens turned into those that do not."""
        counted: dict[str, Any] = {"max_length": None, "min_length": None}
        for length, tokens in _COUNTED.items():
            if getattr(self, length) is not None:
                counted[tokens] = max(getattr(self, length) - prompt_length, LEAST[tokens])
        if "min_new_tokens" in counted:  # a checkpoint's least length may be above what is asked for: eos never comes
            most = counted.get("max_new_tokens", self.max_new_tokens)
            counted["min_new_tokens"] = min(counted["min_new_tokens"], most)
        return self if len(counted) == len(_COUNTED) else replace(self, **counted)

    def check_vocabulary(self, vocab_size: int) -> None:
        """Raise ConfigError, with the option's name, for an id that a vocabulary of this size does not have."""
        for name in (*TOKEN_IDS, *TOKEN_SETS, *TOKEN_LISTS):
            self._check_ids(name, _as_tuple(getattr(self, name)), vocab_size)
        words = {name: getattr(self, name) for name in WORD_LISTS}
        words["sequence_bias"] = tuple(word for word, _ in self.sequence_bias)
        for name, listed in words.items():
            self._check_ids(name, [token for word in listed for token in word], vocab_size)

    def _check_ids(self, name: str, ids: Sequence[int], vocab_size: int) -> None:
        for token in ids:
            if token >= vocab_size:
                verb = "is" if isinstance(getattr(self, name), int) else "has"
                raise ConfigError(f"{name} must be below the vocabulary's size ({vocab_size}), but {verb} {token}")

    def check_one_hypothesis(self, asking: str) -> None:
        """Raise ConfigError where there are several a text, for `asking`."""
        if self.width > 1:
            raise ConfigError(
                f"{asking} is for one hypothesis a text: num_beams and num_return_sequences must be 1, "
                f"but are {self.num_beams} and {self.num_return_sequences}"
            )

    def check_stream(self, every: int) -> None:
        """Raise ConfigError where nothing is final before the end, and for a stream that never gets on."""
        at_least("every", integer("every", every), 1)
        if self.num_beams > 1:
            raise ConfigError(
                f"a stream needs num_beams=1, for beams agree on no token before the end, but has {self.num_beams}"
            )

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
    def from_generation_config(cls, config: Mapping[str, Any]) -> Self:
        """Read what Hugging Face's generation_config.json says; keys outside GENERATION_CONFIG_KEYS are left alone. Of
        two lengths the one that does not count the prompt is meant."""
        values = {name: config[name] for name in _DEFAULTS if name not in _OURS and config.get(name) is not None}
        for length, tokens in _COUNTED.items():
            if tokens in values:
                values.pop(length, None)
        return cls(**values)

    def to_generation_config(self) -> dict[str, Any]:
        """What differs from Transformers' defaults, under generation_config.json's keys."""
        values = {name: getattr(self, name) for name in _DEFAULTS if name not in _OURS}
        return {name: _as_json(value) for name, value in values.items() if value != _DEFAULTS[name]}


_DEFAULTS = MappingProxyType({field.name: field.default for field in fields(GenerationOptions)})
GENERATION_CONFIG_KEYS = frozenset(_DEFAULTS) - frozenset(_OURS)


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


def _as_tuple(ids: int | tuple[int, ...] | None) -> tuple[int, ...]:
    if ids is None:
        return ()
    return (ids,) if isinstance(ids, int) else ids


def _as_json(value: Any) -> Any:
    return [_as_json(entry) for entry in value] if isinstance(value, tuple) else value
