"""What a checkpoint says of the tasks that it is for: in regard.json, in config.json's task_specific_params, and by the
tokens that its tokenizer knows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from regard.decoding.options import GENERATION_CONFIG_KEYS
from regard.decoding.options_checks import LEAST, integer
from regard.errors import CheckpointError, ConfigError
from regard.interop.directory import GENERATION, REGARD, read_json
from regard.tasks.found import Found

TRANSLATE, SUMMARISE, GENERATE = "translate", "summarise", "generate"
TEXT_TO_TEXT = "text-to-text"  # of a run file
_TRANSLATION, _SUMMARY = "translation_", "summarization"  # how the keys of task_specific_params begin
_GAP = "<mask_1>"  # of Pegasus's tokenizers alone: a sentence that is to be written (Zhang et al. 2020, section 3)
_TRANSLATORS = ("marian",)  # whose architecture is one for machine translation by its name
_LENGTHS = {"max_length": "max_new_tokens", "min_length": "min_new_tokens"}


class Prompt(NamedTuple):
    """How a task is asked for: words before the text, and fields of GenerationOptions."""

    prefix: str
    options: Mapping[str, Any]


def meant(found: Found, fitting: Sequence[str]) -> str:
    """Which of the tasks that fit a checkpoint is for, best guess first; for several tasks of writing, what the
    checkpoint says, or writing as such where it says nothing."""
    rivals = [name for name in fitting if name in (TRANSLATE, SUMMARISE, GENERATE)]
    if SUMMARISE not in rivals or fitting[0] not in rivals:
        return fitting[0]
    said = _said(found)
    if said is not None and said in fitting:
        return said
    return GENERATE if GENERATE in fitting else fitting[0]


def _said(found: Found) -> str | None:
    saved = _beside(found, REGARD)
    run = saved.get("run")
    task = saved.get("task") or (run.get("task") if isinstance(run, Mapping) else None)
    if isinstance(task, str):
        return task
    prompts = task_params(found)
    translates = any(name.startswith(_TRANSLATION) for name in prompts) or found.spec.family in _TRANSLATORS
    if translates or found.tokenizer.languages:
        return TRANSLATE
    summarises = any(name.startswith(_SUMMARY) for name in prompts)
    return SUMMARISE if summarises or found.tokenizer.token_id(_GAP) is not None else None


def suited(found: Found, fitting: Sequence[str]) -> list[str]:
    """Of the tasks that its network fits, those that a checkpoint can do: a language model summarises once it has
    learned to."""
    learned = found.spec.form != "decoder" or is_asked(found)
    return [name for name in fitting if name != SUMMARISE or learned]


def is_asked(found: Found) -> bool:
    """Whether it is a language model that has learned to write a text for a text, behind a prompt."""
    run = _beside(found, REGARD).get("run")
    task = run.get("task") if isinstance(run, Mapping) else None
    return found.spec.form == "decoder" and task in (SUMMARISE, TEXT_TO_TEXT)


def task_params(found: Found) -> dict[str, Mapping[str, Any]]:
    """config.json's task_specific_params: what a checkpoint asks for task by task. Raises CheckpointError where it is
    no object of objects."""
    said = found.model.kept_config.get("task_specific_params") or {}
    if not isinstance(said, Mapping) or not all(isinstance(values, Mapping) for values in said.values()):
        raise CheckpointError(f"{found.place}: config.json: task_specific_params must be objects, but is {said!r}")
    return dict(said)


def translation_prompts(found: Found) -> dict[str, Prompt]:
    """How the checkpoint is asked for a translation, by the keys of task_specific_params."""
    asked = {name: values for name, values in task_params(found).items() if name.startswith(_TRANSLATION)}
    return {name: _prompt(found, name, values) for name, values in asked.items()}


def summary_prompt(found: Found) -> Prompt:
    """How the checkpoint is asked for a summary."""
    return _prompt(found, _SUMMARY, task_params(found).get(_SUMMARY, {}))


def _prompt(found: Found, name: str, values: Mapping[str, Any]) -> Prompt:
    """Its options are those that generation_config.json leaves open; a prefix that config.json has for all tasks holds
    where the task has none of its own, as in Transformers' pipelines."""
    said = {key for key, value in _beside(found, GENERATION).items() if value is not None}
    said |= {other for pair in _LENGTHS.items() for key, other in (pair, pair[::-1]) if key in said}
    asked = {key: value for key, value in values.items() if key in GENERATION_CONFIG_KEYS - said and value is not None}
    prefix = values.get("prefix", found.model.kept_config.get("prefix")) or ""
    try:
        options = _fields(asked)
        replace(found.generation_options, **options)
        if not isinstance(prefix, str):
            raise ConfigError(f"prefix must be a text, but is {prefix!r}")
    except ConfigError as error:
        raise CheckpointError(f"{found.place}: config.json: task_specific_params: {name}: {error}") from error
    return Prompt(prefix, options)


def _fields(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of GenerationOptions: `max_length` and `min_length` count the decoder's start token, too."""
    lengths = {
        tokens: max(integer(length, asked[length]) - 1, LEAST[tokens])
        for length, tokens in _LENGTHS.items()
        if length in asked
    }
    return {**lengths, **{key: value for key, value in asked.items() if key not in _LENGTHS}}


def _beside(found: Found, name: str) -> dict[str, Any]:
    """A JSON file of the checkpoint; {} for a .gguf file, which has none."""
    return read_json(found.place, name) if found.place.is_dir() else {}
