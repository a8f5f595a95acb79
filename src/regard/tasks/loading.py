"""A path -> the task that its checkpoint is for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from regard.errors import CheckpointError, ConfigError
from regard.features.tokenizer import Tokenizer
from regard.interop.checkpoints import load_model
from regard.specs import ModelSpec
from regard.tasks.answer import Answerer
from regard.tasks.classify import TextClassifier
from regard.tasks.embed import Embedder, read_habits
from regard.tasks.fill_mask import MaskFiller
from regard.tasks.labels import label_names
from regard.tasks.locate import model_place
from regard.tasks.sentence_modules import MODULES, mean, read_modules
from regard.tasks.tag import TokenTagger
from regard.tasks.translate import Translator

Model = Any  # of regard.models.forms, which a task does not import


class Found(NamedTuple):
    """A loaded checkpoint. sentences: the directory with modules.json, of a sentence-transformers model."""

    model: Model
    tokenizer: Tokenizer
    place: Path
    sentences: Path | None

    @property
    def labels(self) -> tuple[str, ...]:
        return label_names(self.model.kept_config, self.model.spec.output.labels)


class Task(NamedTuple):
    what: str  # with its article
    needs: str  # what a model must be
    fits: Callable[[ModelSpec], bool]
    make: Callable[[Found], Any]


def _reads_text(spec: ModelSpec, *kinds: str) -> bool:
    """Whether it is an encoder or decoder of texts with such a head."""
    return spec.form in ("encoder", "decoder") and spec.source is None and spec.output.kind in kinds


def _translator(found: Found) -> Translator:
    _require_same_vocabulary(found.model.spec, found.tokenizer, found.place)
    return Translator(found.model, found.tokenizer, found.model.generation_options)


def _embedder(found: Found) -> Embedder:
    if found.sentences is None:
        return Embedder(found.model, found.tokenizer, (mean,))
    after = read_modules(found.sentences).after
    return Embedder(found.model, found.tokenizer, after, read_habits(found.sentences, found.place))


# Where nobody names a task, it is the first that the model fits: each head is for one, and without one a model embeds.
TASKS: dict[str, Task] = {
    "translate": Task(
        "a translator",
        "an encoder-decoder of texts",
        lambda spec: spec.form == "encoder-decoder" and spec.source is None and spec.output.kind == "language",
        _translator,
    ),
    "classify": Task(
        "a text classifier",
        "a model of texts with a sequence_class head",
        lambda spec: _reads_text(spec, "sequence_class"),
        lambda found: TextClassifier(found.model, found.tokenizer, found.labels),
    ),
    "tag": Task(
        "a token tagger",
        "a model of texts with a token_class head",
        lambda spec: _reads_text(spec, "token_class"),
        lambda found: TokenTagger(found.model, found.tokenizer, found.labels),
    ),
    "fill-mask": Task(
        "a mask filler",
        "a model of texts with a masked_language head",
        lambda spec: _reads_text(spec, "masked_language"),
        lambda found: MaskFiller(found.model, found.tokenizer),
    ),
    "answer": Task(
        "an answerer",
        "a model of texts with a span head",
        lambda spec: _reads_text(spec, "span"),
        lambda found: Answerer(found.model, found.tokenizer),
    ),
    "embed": Task(
        "an embedder",
        "an encoder or a decoder of texts",
        lambda spec: _reads_text(
            spec, "hidden", "sequence_class", "token_class", "masked_language", "span", "language"
        ),
        _embedder,
    ),
}


def load(path: str | Path, dtype: str = "float32", task: str | None = None) -> Any:
    """The task that the checkpoint at `path` is for: a `Translator`, `TextClassifier`, `TokenTagger`, `MaskFiller`,
    `Answerer` or `Embedder`; `task`, a key of TASKS, where another one is wanted.

    path: a model directory; a run directory, which stands for its finished model, else its best checkpoint; a .gguf
    file; a name in `regard.interop.packaged.PACKAGES`; or the id of a model on the hub. dtype: as for `load_model`.
    Raises CheckpointError where there is no model, a file is damaged, the tokenizer is another model's, or the model is
    not one for the task; ConfigError for an unknown task.
    """
    if task is not None and task not in TASKS:
        raise ConfigError(f"task must be one of {', '.join(TASKS)}, but is {task!r}")
    place = model_place(path)
    sentences = place if (place / MODULES).is_file() else None
    if sentences is not None:
        place = read_modules(sentences).encoder
        task = task or "embed"
    tokenizer = Tokenizer.load(place) if place.is_dir() else None  # before the weights, which take longer to miss
    model = load_model(place, dtype)
    chosen = _chosen(model.spec, task, place)
    return chosen.make(Found(model, tokenizer or _companion(model, place), place, sentences))


def _chosen(spec: ModelSpec, name: str | None, place: Path) -> Task:
    if name is None:
        fitting = [task for task in TASKS.values() if task.fits(spec)]
        if fitting:
            return fitting[0]
        raise CheckpointError(f"no task reads {place}, {_described(spec)}; regard.load_model loads it as a bare model")
    task = TASKS[name]
    if not task.fits(spec):
        raise CheckpointError(
            f"{place} is no model for {name}: it is {_described(spec)}, and {task.what} is {task.needs}; "
            "regard.load_model loads it as a bare model"
        )
    return task


def _described(spec: ModelSpec) -> str:
    article = "a" if spec.form in ("decoder", "pair") else "an"
    return f"{article} {spec.form} ({spec.family}) with a {spec.output.kind} head"


def _companion(model: Model, place: Path) -> Tokenizer:
    """The tokenizer inside a .gguf file."""
    content, config = (model.companions[name]() for name in ("tokenizer.json", "tokenizer_config.json"))
    return Tokenizer(content, json.loads(config), str(place))


def _require_same_vocabulary(spec: ModelSpec, tokenizer: Tokenizer, directory: Path) -> None:
    pairs = {
        "vocabulary": (tokenizer.vocab_size, spec.text.vocab_size),
        "eos id": (tokenizer.eos_id, spec.tokens.eos),
        "pad id": (tokenizer.pad_id, spec.tokens.pad),
    }
    for name, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise CheckpointError(
                f"{directory}: the tokenizer is another model's: its {name} is {ours}, but the model's is {theirs}"
            )
