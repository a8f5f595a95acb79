"""What a model can be trained for, and which keys of a run file belong to which task."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from regard.config.sizes import defaults_of, is_prompted

TaskName = Literal[
    "translate",
    "summarise",
    "text-to-text",
    "language-model",
    "masked-language-model",
    "span-corruption",
    "classify",
    "tag",
    "answer",
    "embed",
    "classify-image",
    "caption",
    "transcribe",
    "transcribe-ctc",
]
IMAGE_TASKS: tuple[TaskName, ...] = ("classify-image", "caption")  # whose models read images
SOUND_TASKS: tuple[TaskName, ...] = ("transcribe", "transcribe-ctc")  # whose models read recordings


def batch_key(task: TaskName) -> str:
    """The key of [training] that says how large a batch is."""
    if task in IMAGE_TASKS:
        return "batch_images"
    return "batch_recordings" if task in SOUND_TASKS else "batch_tokens"


def learnt_from(task: TaskName) -> str:
    """What a run counts as it goes: its "tokens" are the labelled ones, and an image has one label."""
    return "images" if task == "classify-image" else "tokens"


class TaskRules(NamedTuple):
    """A task as far as a run file is concerned."""

    corpora: tuple[str, ...]  # keys that name a corpus
    scores: tuple[str, ...]  # what `training.best` may name
    keys: tuple[str, ...]  # of those in OWNED, the ones that belong to it
    defaults: Mapping[str, Mapping[str, Any]]  # where they differ from the section's own
    senseless: tuple[str, ...] = ()  # keys of all the others that say nothing to it


_OF_IMAGES = (
    *("data.image_size", "training.batch_images"),
    *("augmentation.crop_padding", "augmentation.flip", "augmentation.turn", "augmentation.zoom"),
    *("augmentation.outline", "augmentation.colour", "augmentation.hue", "augmentation.grey", "augmentation.erase"),
)
_OF_SOUNDS = (
    *("data.audio_seconds", "data.frame_ms", "training.batch_recordings"),
    *("augmentation.level", "augmentation.room", "augmentation.noise", "augmentation.band"),
    *("augmentation.frequency_masks", "augmentation.frequency_mask"),
    *("augmentation.time_masks", "augmentation.time_mask"),
)
# Keys that belong to some tasks alone; whole tables by their name.
OWNED = (
    *("data.language_tags", "data.max_ratio", "training.score_examples", "decoding"),
    *("training.label_smoothing", "objective.problem", "objective.rate", "objective.whole_words"),
    *("objective.mean_span", "objective.stride", "objective.temperature", "data.temperature", "data.curriculum"),
    *("data.pad_to_multiple_ms", "ngrams", "data.language", "data.prompt"),
    *_OF_IMAGES,
    *_OF_SOUNDS,
)
_MIXED = ("data.temperature", "data.curriculum")  # of tasks that batch texts by their lengths
_WRITING = ("training.score_examples", "decoding", "training.label_smoothing")
_PLAIN = {"label_smoothing": 0.0, "score_examples": 0}

# As Whisper's own generation_config.json has it; half of its places are for the text before.
_WHISPER_DECODES = {
    "num_beams": 1,
    "length_penalty": 1.0,
    "length_penalty_form": "transformers",
    "max_new_tokens": 220,
}

TASKS: dict[str, TaskRules] = {
    "translate": TaskRules(
        ("source", "tsv", "jsonl"),
        ("loss", "bleu", "chrf"),
        (*OWNED[:5], *_MIXED),
        {"model": {"preset": "base"}},
    ),
    "summarise": TaskRules(
        ("source", "tsv", "jsonl"),
        ("loss", "rouge1", "rouge2", "rouge_l"),
        ("data.prompt", *_WRITING, *_MIXED),
        {"model": {"preset": "base"}},
    ),
    "text-to-text": TaskRules(
        ("source", "tsv", "jsonl"),
        ("loss", "exact_match", "f1"),
        ("data.prompt", *_WRITING, *_MIXED),
        {"model": {"preset": "base"}},
    ),
    "language-model": TaskRules(
        ("text", "jsonl"),
        ("loss",),
        ("training.label_smoothing", "data.temperature"),
        {"model": {"preset": "gpt2-small"}, "training": _PLAIN},
    ),
    "masked-language-model": TaskRules(
        ("text", "jsonl"),
        ("loss", "accuracy"),
        ("training.label_smoothing", "objective.rate", "objective.whole_words", *_MIXED),
        {"model": {"preset": "bert-small"}, "training": _PLAIN},
    ),
    "span-corruption": TaskRules(
        ("text", "jsonl"),
        ("loss", "accuracy"),
        ("training.label_smoothing", "objective.rate", "objective.mean_span", *_MIXED),
        {"model": {"preset": "t5-small"}, "training": _PLAIN},
    ),
    "classify": TaskRules(
        ("jsonl",),
        ("loss", "accuracy", "f1", "pearson"),
        ("training.label_smoothing", "objective.problem", *_MIXED),
        {"model": {"preset": "bert-small"}, "training": _PLAIN},
    ),
    "tag": TaskRules(
        ("jsonl",),
        ("loss", "accuracy", "f1"),
        ("training.label_smoothing", "objective.stride", *_MIXED),
        {"model": {"preset": "bert-small"}, "training": _PLAIN},
    ),
    "answer": TaskRules(
        ("jsonl",),
        ("loss", "exact_match", "f1"),
        ("objective.stride", *_MIXED),
        {"model": {"preset": "bert-small"}, "training": _PLAIN},
    ),
    "embed": TaskRules(
        ("jsonl",),
        ("loss", "recall10"),
        ("objective.temperature", *_MIXED),
        {"model": {"preset": "bert-small"}, "training": _PLAIN},
    ),
    "classify-image": TaskRules(
        ("jsonl",),
        ("loss", "accuracy", "f1"),
        ("training.label_smoothing", "data.temperature", *_OF_IMAGES),
        {"model": {"preset": "vit-tiny"}, "training": _PLAIN},
        ("tokenizer", "data.max_tokens", "training.batch_tokens"),
    ),
    "caption": TaskRules(
        ("jsonl",),
        ("loss", "bleu"),
        ("data.language_tags", *_WRITING, "data.temperature", *_OF_IMAGES),
        {"model": {"preset": "vit-gpt2-tiny"}},
        ("training.batch_tokens",),
    ),
    "transcribe": TaskRules(
        ("jsonl",),
        ("loss", "wer", "cer"),
        (*_WRITING, "data.language", "data.temperature", *_OF_SOUNDS),
        {"model": {"preset": "whisper-mini"}},
        ("training.batch_tokens",),
    ),
    "transcribe-ctc": TaskRules(
        ("jsonl",),
        ("loss", "wer", "cer"),
        ("data.pad_to_multiple_ms", "ngrams", "data.temperature", *_OF_SOUNDS),
        {"model": {"preset": "whisper-mini"}, "training": _PLAIN},
        ("training.batch_tokens",),
    ),
}


def with_defaults(values: Any) -> Any:
    """A run file's values, with the defaults of its size and of its task where it says nothing."""
    if not isinstance(values, Mapping):
        return values
    name = values.get("task", "translate")
    rules = TASKS.get(name) if isinstance(name, str) else None
    if rules is None:
        return values
    filled = dict(values)
    sized = defaults_of(str(name), values)
    if "schedule" in sized.get("training", {}) and isinstance(filled.get("training"), Mapping):
        filled["training"] = {**filled["training"], "schedule": sized["training"]["schedule"]}
    usual = {**rules.defaults, **({"model": {"preset": "gpt2-small"}} if is_prompted(values) else {})}
    for table in usual.keys() | sized.keys():
        defaults = {**usual.get(table, {}), **sized.get(table, {})}
        given = filled.get(table, {} if table == "model" else None)
        if isinstance(given, Mapping) and not (table == "model" and "from" in given):
            filled[table] = {**defaults, **given}
    if name == "transcribe" and "from" in _table(filled, "model"):
        filled["decoding"] = {**_WHISPER_DECODES, **_table(filled, "decoding")}
    return filled


def _table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A table of a run file; what is none is left to who reads its keys."""
    table = values.get(name, {})
    return table if isinstance(table, Mapping) else {}
