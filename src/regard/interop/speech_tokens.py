"""The tokens by which Whisper is told what to do (Radford et al. 2022, section 2.3), and what its files say of them.

Ids come from generation_config.json, or config.json in older checkpoints; what neither says, the tokenizer knows by the
tokens' names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from regard.decoding.timestamps import TimestampRule
from regard.errors import CheckpointError
from regard.features.spoken_languages import language_code
from regard.features.tokenizer import Tokenizer
from regard.specs import ModelSpec

TASKS = ("transcribe", "translate")
_ENGLISH_VOCABULARY = 51_864  # a multilingual one has 51,865 or more
_NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")  # today's name, and the first one
Find = Callable[[str], int | None]


@dataclass(frozen=True)
class SpeechTokens:
    """The ids of one model; None where it has no such token."""

    start: int  # <|startoftranscript|>
    eos: int
    languages: Mapping[str, int] = field(default_factory=dict)  # by code; empty: the model knows English alone
    tasks: Mapping[str, int] = field(default_factory=dict)  # transcribe, translate
    no_timestamps: int | None = None
    first_time: int | None = None  # <|0.00|>; a step further stands for two frames more
    previous: int | None = None  # <|startofprev|>
    no_speech: int | None = None
    latest_first: int | None = None  # in steps: the first timestamp is not later
    language: str | None = None  # what the checkpoint does where nobody asks for anything
    task: str = "transcribe"

    def prompt(self, language: str | None, task: str, timestamps: bool) -> list[int]:
        """What a window's text begins after. language: a key of `languages`; task: one of `tasks`."""
        ids = [self.start]
        if language is not None and self.languages:
            ids.append(self.languages[language])
        if task in self.tasks:
            ids.append(self.tasks[task])
        if not timestamps and self.no_timestamps is not None:
            ids.append(self.no_timestamps)
        return ids

    def prefixes(self) -> dict[str, tuple[int, ...]] | None:
        """What a transcript without timestamps is written after, behind <|startoftranscript|>, by the language's code;
        None where that is nothing."""
        found = {code: self.prompt(code, "transcribe", timestamps=False)[1:] for code in self.languages or ("en",)}
        return {code: tuple(ids) for code, ids in found.items()} if all(found.values()) else None

    @property
    def prefix_length(self) -> int:
        """In tokens, of each of `prefixes`."""
        found = self.prefixes()
        return 0 if found is None else len(next(iter(found.values())))

    def rule(self) -> TimestampRule:
        """What timestamps must keep to. CheckpointError where the model has none."""
        if self.no_timestamps is None or self.first_time is None:
            raise CheckpointError("the model has no timestamps: its files name no token <|notimestamps|>")
        return TimestampRule(self.first_time, self.eos, self.no_timestamps, self.latest_first)

    def of_text(self, ids: list[int]) -> list[int]:
        """Without the timestamps, which older tokenizers do not have."""
        return ids if self.first_time is None else [token for token in ids if token < self.first_time]


def told_by(
    config: Mapping[str, Any], generation: Mapping[str, Any], spec: ModelSpec, tokenizer: Tokenizer
) -> SpeechTokens:
    """Of a checkpoint: generation_config.json counts before what older ones say in config.json. Raises as
    `read_speech_tokens`."""
    said = {**config, **{key: value for key, value in generation.items() if value is not None}}
    return read_speech_tokens(said, spec, tokenizer.token_id, tokenizer.languages)


def read_speech_tokens(said: Mapping[str, Any], spec: ModelSpec, find: Find, spoken: Mapping[str, int]) -> SpeechTokens:
    """`said`: generation_config.json, parsed, or what is kept of it; `find`: a token's text -> its id; `spoken`: the
    languages that the tokenizer has tokens for.

    Raises CheckpointError for an id that is none of the vocabulary, and for what is of the wrong type.
    """
    start = spec.tokens.decoder_start
    eos = spec.tokens.eos[0] if isinstance(spec.tokens.eos, tuple) else spec.tokens.eos
    if start is None or eos is None:
        raise CheckpointError("the model cannot transcribe: its files name no decoder_start_token_id or eos_token_id")
    languages, tasks = _languages(said, spec, find, spoken), {}
    if languages:
        tasks = _table(said, "task_to_id") or _found(find, {task: f"<|{task}|>" for task in TASKS})
    no_timestamps = _id(said, "no_timestamps_token_id", find("<|notimestamps|>"))
    first_time = None if no_timestamps is None else no_timestamps + 1
    language, task = _preset(said, languages, tasks)
    tokens = SpeechTokens(
        start=start,
        eos=eos,
        languages=languages,
        tasks=tasks,
        no_timestamps=no_timestamps,
        first_time=None if first_time is None or first_time >= spec.text.vocab_size else first_time,
        previous=_id(said, "prev_sot_token_id", find("<|startofprev|>")),
        no_speech=next((token for token in map(find, _NO_SPEECH) if token is not None), None),
        latest_first=_id(said, "max_initial_timestamp_index", None),
        language=language,
        task=task,
    )
    _check(tokens, spec.text.vocab_size)
    return tokens


def _languages(said: Mapping[str, Any], spec: ModelSpec, find: Find, spoken: Mapping[str, int]) -> dict[str, int]:
    """By code; none where the model knows English alone, though its tokenizer may have tokens for the others."""
    listed = {name.strip("<|>"): token for name, token in _table(said, "lang_to_id").items()}
    known = listed or dict(spoken)
    is_multilingual = said.get("is_multilingual")
    if is_multilingual is None:
        is_multilingual = bool(listed) or _says_language(said, spec, find)
    return known if is_multilingual else {}


def _says_language(said: Mapping[str, Any], spec: ModelSpec, find: Find) -> bool:
    """How the first checkpoints tell: an English model's prompt goes on with <|notimestamps|>, if with anything."""
    forced = dict(_forced(said))
    if 1 in forced:
        return forced[1] is None or forced[1] != find("<|notimestamps|>")
    return spec.text.vocab_size != _ENGLISH_VOCABULARY


def _preset(said: Mapping[str, Any], languages: Mapping[str, int], tasks: Mapping[str, int]) -> tuple[str | None, str]:
    """The language and the task that the checkpoint is for, if it says: by name, or as the first ones by the prompt."""
    language, task = said.get("language"), said.get("task")
    if language is None and task is None:
        forced = [token for _, token in _forced(said)]
        language = next((code for code, token in languages.items() if token in forced), None)
        task = next((name for name, token in tasks.items() if token in forced), None)
    elif isinstance(language, str) and languages:
        language = language_code(language, languages)
    task = "transcribe" if task is None else task
    if task not in TASKS or not isinstance(language, str | None):
        raise CheckpointError(f"generation_config.json asks for the task {task!r} in {language!r}, which nobody knows")
    return language if languages else None, task


def _forced(said: Mapping[str, Any]) -> list[tuple[int, int | None]]:
    """`forced_decoder_ids`: the place of each token of the prompt after the first, and the token."""
    pairs = said.get("forced_decoder_ids") or []
    try:
        return [(int(place), None if token is None else int(token)) for place, token in pairs]
    except (TypeError, ValueError):
        raise CheckpointError(f"forced_decoder_ids must be pairs of a place and an id, but is {pairs!r}") from None


def _found(find: Find, names: Mapping[str, str]) -> dict[str, int]:
    ids = {key: find(name) for key, name in names.items()}
    return {key: token for key, token in ids.items() if token is not None}


def _table(said: Mapping[str, Any], key: str) -> dict[str, int]:
    table = said.get(key) or {}
    if not isinstance(table, Mapping) or any(type(token) is not int for token in table.values()):
        raise CheckpointError(f"{key} must give each name an id, but is {table!r}")
    return dict(table)


def _id(said: Mapping[str, Any], key: str, default: int | None) -> int | None:
    token = said.get(key)
    if token is not None and type(token) is not int:
        raise CheckpointError(f"{key} must be a whole number, but is {token!r}")
    return default if token is None else token


def _check(tokens: SpeechTokens, vocab_size: int) -> None:
    ids = {"no_timestamps": tokens.no_timestamps, "startofprev": tokens.previous, "nospeech": tokens.no_speech}
    for name, token in {**ids, **tokens.languages, **tokens.tasks}.items():
        if token is not None and not 0 <= token < vocab_size:
            raise CheckpointError(f"the token of {name} must be an id below vocab_size ({vocab_size}), but is {token}")
    if tokens.latest_first is not None and tokens.latest_first < 0:
        raise CheckpointError(f"max_initial_timestamp_index must be at least 0, but is {tokens.latest_first}")
