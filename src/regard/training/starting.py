"""The checkpoint that a run goes on from: where it is, what it brings, and the head that it would have for a task."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from regard.config import RunConfig
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
from regard.models.family import Config
from regard.models.presets import with_head
from regard.specs import HeadKind, HeadSpec, Problem


class WantedHead(NamedTuple):
    """What a task needs on the hidden states."""

    kind: HeadKind
    names: Sequence[str] = ()  # of its labels
    problem: Problem | None = None

    @property
    def labels(self) -> int:
        return 1 if self.problem == "regression" else len(self.names)


def open_start(name: str) -> Checkpoint:
    """A model directory, a run directory's model, a .gguf file, a packaged model or one of the hub, unread but for its
    JSON. Raises CheckpointError where there is none, and for a run that has not come to its model."""
    place = Path(name)
    if not place.exists() and name in PACKAGES:
        return open_checkpoint(packaged(name))
    finished = place / "model"
    if (place / "run.toml").is_file() and not finished.exists() and not (place / CONFIG).is_file():
        raise CheckpointError(
            f"model.from: {place} is a run that has no model yet: regard train {place} goes on with it"
        )
    return open_checkpoint(finished if not (place / CONFIG).is_file() and (finished / CONFIG).is_file() else name)


def tokenizer_of(name: str) -> Tokenizer:
    """The tokenizer beside a checkpoint's weights, or in them. Raises CheckpointError where there is no such
    checkpoint, and where the tokenizer gives ids beyond its table."""
    checkpoint = open_start(name)
    if checkpoint.place.is_dir():
        tokenizer = Tokenizer.load(checkpoint.place)
    else:
        content, config = (checkpoint.companions[name]() for name in ("tokenizer.json", "tokenizer_config.json"))
        tokenizer = Tokenizer(content, json.loads(config), str(checkpoint.place))
    rows = family(checkpoint.config["model_type"]).from_config(Config(dict(checkpoint.config))).text.vocab_size
    if tokenizer.vocab_size > rows:
        raise CheckpointError(
            f"{checkpoint.place}: the tokenizer is another model's: its vocabulary is {tokenizer.vocab_size}, "
            f"but the model's is {rows}"
        )
    return tokenizer


def processor_of(name: str) -> Processor:
    """How a checkpoint's images or recordings are prepared. Raises CheckpointError where it does not say."""
    checkpoint = open_start(name)
    for file in ("processor_config.json", PROCESSOR):
        values = read_json(checkpoint.place, file) if checkpoint.place.is_dir() else {}
        if "feature_extractor" in values or "feature_extractor_type" in values:
            return AudioProcessor.from_config(values)
        if "image_processor" in values or (values and file == PROCESSOR):
            return ImageProcessor.from_config(values, KIND_OF.get(checkpoint.config["model_type"], "ViTImageProcessor"))
    raise CheckpointError(
        f"model.from: {checkpoint.place} does not say how images or recordings are prepared: it has no {PROCESSOR}"
    )


def brought_by(run: RunConfig) -> Callable[[], Given] | None:
    """Gives what the checkpoint of `model.from` brings for the task."""
    if run.model.from_ is None:
        return None
    return partial(_brought, run.model.from_, run.task)


def _brought(name: str, task: TaskName) -> Given:
    reads_texts = task != "classify-image"
    tokenizer = tokenizer_of(name) if reads_texts else None
    if task not in (*IMAGE_TASKS, *SOUND_TASKS):
        return Given(tokenizer)
    processor = processor_of(name)
    sensed = ("images", ImageProcessor) if task in IMAGE_TASKS else ("recordings", AudioProcessor)
    if not isinstance(processor, sensed[1]):
        raise CheckpointError(f"model.from: {name} does not say how {sensed[0]} are prepared, which {task} needs")
    return Given(tokenizer, processor, None if task != "transcribe" else _prefixes(name))


def _prefixes(name: str) -> dict[str, tuple[int, ...]] | None:
    """What the texts of a model that hears begin after."""
    checkpoint = open_start(name)
    spec = family(checkpoint.config["model_type"]).from_config(Config(dict(checkpoint.config)))
    return told_by(checkpoint.config, checkpoint.generation, spec, tokenizer_of(name)).prefixes()


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
