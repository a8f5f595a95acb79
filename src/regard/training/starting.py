"""The checkpoint that a run goes on from: where it is, what it brings, and the head that it would have for a task."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from regard.config import RunConfig
from regard.config.sections import ModelConfig
from regard.config.tasks import IMAGE_TASKS, SOUND_TASKS, TaskName
from regard.data.given import Given
from regard.errors import CheckpointError
from regard.features.audio import AudioProcessor
from regard.features.image import KIND_OF, ImageProcessor
from regard.features.processor_config import FILE as PROCESSOR
from regard.features.processors import Processor
from regard.features.tokenizer import Tokenizer
from regard.interop.directory import CONFIG, read_json
from regard.interop.opening import Checkpoint, open_checkpoint
from regard.interop.packaged import PACKAGES, packaged
from regard.interop.speech_tokens import told_by
from regard.models.catalog import family
from regard.models.dropouts import with_dropouts
from regard.models.family import Config
from regard.models.presets import with_head
from regard.specs import HeadKind, HeadSpec, ModelSpec, Problem


class WantedHead(NamedTuple):
    """What a task needs on the hidden states."""

    kind: HeadKind
    names: Sequence[str] = ()  # of its labels
    problem: Problem | None = None

    @property
    def labels(self) -> int:
        return 1 if self.problem == "regression" else len(self.names)


def open_start(model: ModelConfig) -> Checkpoint:
    """A model directory, a run directory's model, a .gguf file, a packaged model or one of the hub, unread but for its
    JSON, whose dropouts are those of the run file where it sets them.

    Raises CheckpointError where there is none, and for a run that has not come to its model; ConfigError for a dropout
    that it does not have.
    """
    assert model.from_ is not None
    found = _opened(model.from_)
    return found._replace(config=Config(with_dropouts(found.config, model.dropouts())))


def _opened(name: str) -> Checkpoint:
    place = Path(name)
    if not place.exists() and name in PACKAGES:
        return open_checkpoint(packaged(name))
    finished = place / "model"
    if (place / "run.toml").is_file() and not finished.exists() and not (place / CONFIG).is_file():
        raise CheckpointError(
            f"model.from: {place} is a run that has no model yet: regard train {place} goes on with it"
        )
    return open_checkpoint(finished if not (place / CONFIG).is_file() and (finished / CONFIG).is_file() else name)


def tokenizer_of(checkpoint: Checkpoint) -> Tokenizer:
    """The tokenizer beside a checkpoint's weights, or in them. Raises CheckpointError where the tokenizer gives ids
    beyond its table."""
    if checkpoint.place.is_dir():
        tokenizer = Tokenizer.load(checkpoint.place)
    else:
        content, config = (checkpoint.companions[name]() for name in ("tokenizer.json", "tokenizer_config.json"))
        tokenizer = Tokenizer(content, json.loads(config), str(checkpoint.place))
    rows = _spec_of(checkpoint).vocab_size
    if tokenizer.vocab_size > rows:
        raise CheckpointError(
            f"{checkpoint.place}: the tokenizer is another model's: its vocabulary is {tokenizer.vocab_size}, "
            f"but the model's is {rows}"
        )
    return tokenizer


def processor_of(checkpoint: Checkpoint, task: TaskName) -> Processor:
    """How a checkpoint's images, or its recordings, are prepared. Raises CheckpointError where it does not say."""
    senses_images = task in IMAGE_TASKS
    what, nested = ("images", "image_processor") if senses_images else ("recordings", "feature_extractor")
    for file in ("processor_config.json", PROCESSOR):
        values = read_json(checkpoint.place, file) if checkpoint.place.is_dir() else {}
        if not senses_images and "image_processor_type" in values:
            break
        if nested in values or (values and file == PROCESSOR):
            return _image_processor(checkpoint, values) if senses_images else AudioProcessor.from_config(values)
    raise CheckpointError(f"model.from: {checkpoint.place} does not say how {what} are prepared, in a {PROCESSOR}")


def _image_processor(checkpoint: Checkpoint, values: Mapping[str, Any]) -> ImageProcessor:
    """Of a file that may leave its class to the family: a captioner's is that of what sees."""
    of = checkpoint.config.get("encoder") or checkpoint.config
    return ImageProcessor.from_config(values, KIND_OF.get(of["model_type"], "ViTImageProcessor"))


def brought_by(run: RunConfig) -> Callable[[], Given] | None:
    """Gives what the checkpoint of `model.from` brings for the task."""
    if run.model.from_ is None:
        return None
    return partial(_brought, run.model, run.task)


def _brought(model: ModelConfig, task: TaskName) -> Given:
    checkpoint = open_start(model)
    processor = processor_of(checkpoint, task) if task in (*IMAGE_TASKS, *SOUND_TASKS) else None
    if task == "classify-image":
        return Given(processor=processor)
    tokenizer = tokenizer_of(checkpoint)
    if task != "transcribe":
        return Given(tokenizer, processor)
    spec = _spec_of(checkpoint)
    if spec.output.kind == "ctc":  # is told nothing; and what it heard by length, a decoder hears in whole windows
        assert isinstance(processor, AudioProcessor)
        return Given(tokenizer, replace(processor, pad_to_multiple_of=None))
    return Given(tokenizer, processor, told_by(checkpoint.config, checkpoint.generation, spec, tokenizer).prefixes())


def _spec_of(checkpoint: Checkpoint) -> ModelSpec:
    return family(checkpoint.config["model_type"]).from_config(Config(dict(checkpoint.config)))


def head_for(checkpoint: Checkpoint, wanted: WantedHead) -> HeadSpec | None:
    """The head to begin anew with; None where the checkpoint's own is the one, labels and all.

    Raises CheckpointError where its family has no such head.
    """
    config = dict(checkpoint.config)
    known = family(config["model_type"])
    own = known.from_config(Config(config)).output
    if own.kind == wanted.kind and own.labels == wanted.labels and own.problem in (None, wanted.problem):
        listed = config.get("id2label") or {}
        if not wanted.names or [listed.get(str(number)) for number in range(own.labels)] == list(wanted.names):
            return None
    head = known.from_config(Config(with_head(config, wanted.kind, wanted.labels, wanted.problem))).output
    if head.kind != wanted.kind:
        raise CheckpointError(
            f"model.from: {checkpoint.place} is of the family {config['model_type']}, which has no {wanted.kind} head"
        )
    return head
