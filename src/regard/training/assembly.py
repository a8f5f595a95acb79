"""What a run trains with, put together from what its run file says: its step and its batches."""

from pathlib import Path
from typing import Any, NamedTuple

import keras
from rich.console import Console

from regard.config import RunConfig
from regard.config.tasks import batch_key
from regard.data.batching import Batches
from regard.data.curriculum import Curriculum
from regard.data.objectives.catalog import objective_of
from regard.data.objectives.objective import Batching, Objective
from regard.data.prepare import open_or_prepare
from regard.data.shards import PreparedData
from regard.errors import ConfigError, DataError
from regard.models.forms import Transformer
from regard.training.checkpoint import CheckpointStore
from regard.training.cluster import ALONE, Cluster, expected_replicas
from regard.training.lock import locked
from regard.training.network import batch_keys, network, refuse_no_network
from regard.training.optimizer import model_optimizer
from regard.training.precision import resolve_dtype
from regard.training.rematerialisation import recompute_layers
from regard.training.starting import brought_by
from regard.training.step import TrainStep
from regard.training.streams import usual_streams


class Rehearsal(NamedTuple):
    """A run before its first step, of which nothing is kept."""

    prepared: PreparedData
    objective: Objective
    step: TrainStep


def rehearsal(run: RunConfig, directory: Path, console: Console) -> Rehearsal:
    """The run's fresh network, seeded, and its data, which are prepared under the run directory if that is not done;
    nothing else in it is written or read."""
    refuse_no_network(run)
    with locked(directory):
        begun = bool(CheckpointStore(directory / "checkpoints").complete())
        progress = console.is_terminal
        prepared = open_or_prepare(run, directory / "data", begun=begun, given=brought_by(run), progress=progress)
    objective = objective_of(run).of(prepared)
    keras.utils.set_random_seed(run.seed)
    model = network(run, prepared, resolve_dtype(run.training.dtype), None)
    step = train_step(run, model, objective, streams=streams_of(run, expected_replicas()))
    return Rehearsal(prepared, objective, step)


def past_curriculum(run: RunConfig) -> RunConfig:
    """The run as it goes on after its curriculum, whose first batches are few and of the shortest rows alone: what a
    rehearsal measures is meant for all of them."""
    return run.model_copy(update={"data": run.data.model_copy(update={"curriculum": None})})


def train_step(
    run: RunConfig, model: Transformer, objective: Objective, cluster: Cluster = ALONE, streams: int | None = None
) -> TrainStep:
    """The step of a run, with an optimizer that has taken none. streams: absent: as the run file says."""
    optimizer = model_optimizer(run.training, model)
    if run.training.remat:
        recompute_layers(model)
    return TrainStep(
        model,
        optimizer,
        weights=optimizer.trained_weights,
        keys=batch_keys(objective, model.spec),
        labels=objective.labels,
        label_smoothing=run.training.label_smoothing,
        temperature=run.objective.temperature,
        clip_norm=run.training.clip_norm or None,
        accumulation=run.training.accumulation,
        spike_deviations=run.training.spike_deviations,
        cluster=cluster,
        streams=streams_of(run, cluster.replicas) if streams is None else streams,
        few_labels=objective.few_labels,
    )


def streams_of(run: RunConfig, replicas: int = 1) -> int:
    """`training.streams`, settled for this machine. Raises ConfigError where a step cannot be cut into pieces."""
    asked, whole = run.training.streams, objective_of(run).whole_batches
    if asked == "auto":
        return 1 if whole or replicas > 1 else usual_streams()
    if asked > 1 and whole:
        raise ConfigError(
            f"training.streams = {asked} would cut batches, but task = {run.task!r} tells the rows of a batch from "
            "each other: leave it out"
        )
    if asked > 1 and replicas > 1:
        raise ConfigError(f"training.streams = {asked} is for one device, and {replicas} replicas train: leave it out")
    return asked


def batches_of(
    run: RunConfig, prepared: PreparedData, objective: Objective, model: Transformer, split: str, *, shuffle: bool
) -> Batches:
    """The batches of one split, as the model of a run reads them."""
    types = model.spec.embedding is not None and bool(model.spec.embedding.token_types)
    tokens, rows = (_settled(run, key) for key in ("batch_tokens", batch_key(run.task)))
    how = Batching(tokens, run.seed, shuffle, types, varied=split == "train", batch_rows=rows)
    if split == "train":
        how = how._replace(**mixing(run, prepared))
    return objective.batches(prepared.split(split), prepared.tokenizer, how)


def _settled(run: RunConfig, key: str) -> int:
    size = getattr(run.training, key)
    if isinstance(size, int):
        return size
    raise ConfigError(f"training.{key} is {size!r}, which `regard train` settles: say how many here")


def mixing(run: RunConfig, prepared: PreparedData) -> dict[str, Any]:
    """What the run file says of the order of its training data: fields of `Batching`."""
    course, training = run.data.curriculum, run.training
    curriculum = None if course is None else Curriculum(course.steps * training.accumulation, course.share)
    if run.data.temperature is None:
        return {"curriculum": curriculum}
    names = corpus_names(run, prepared)
    if not names:
        raise ConfigError(
            f"data.temperature mixes corpora, but data.builder = {run.data.builder!r} brings a single one: leave it out"
        )
    counts = tuple(prepared.manifest["splits"]["train"].get("corpora", ()))
    if len(counts) != len(names):
        raise DataError(
            f"{prepared.directory} is of an earlier version, which did not note the corpus of each row, and "
            "data.temperature needs that: remove it, and it is prepared again"
        )
    return {"curriculum": curriculum, "temperature": run.data.temperature, "corpora": counts}


def corpus_names(run: RunConfig, prepared: PreparedData) -> tuple[str, ...]:
    """What the training data are made of: the files that the run file names, or the parts of what a builder made, none
    where it made one corpus."""
    return tuple(corpus.name for corpus in run.data.train) or tuple(prepared.manifest.get("parts", ()))
