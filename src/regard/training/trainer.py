"""Train a model by a run file, and go on by itself where an earlier process stopped."""

import shlex
import shutil
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf
from rich.console import Console

from regard.config import RunConfig, to_toml
from regard.config.tasks import learnt_from
from regard.data.batching import Batches
from regard.data.fingerprint import reads_stdin
from regard.data.objectives.catalog import objective_of
from regard.data.objectives.objective import Objective
from regard.data.packing import PackedBatches
from regard.data.prepare import open_or_prepare, prepare
from regard.data.shards import PreparedData, write_file
from regard.errors import CheckpointError, ConfigError, DataError
from regard.interop.checkpoints import assign_weights, save_model
from regard.interop.directory import read_json
from regard.training.assembly import batches_of, corpus_names, streams_of, train_step
from regard.training.averaging import mean_weights
from regard.training.batch_finder import settled
from regard.training.checkpoint import STATE, CheckpointStore
from regard.training.cluster import Cluster, expected_replicas, join_cluster
from regard.training.ema import assign_averages, averaged
from regard.training.lock import locked
from regard.training.loop import Loop, finite_or_none
from regard.training.network import network, refuse_no_network
from regard.training.optimizer import describe_training
from regard.training.precision import resolve_dtype
from regard.training.progress import Report, require_tensorboard
from regard.training.resume import refuse_another_run, refuse_other_data
from regard.training.saving import Saver
from regard.training.schedule import never_at_its_peak, refuse_too_short
from regard.training.scoring import scores_of
from regard.training.signals import StopRequest, stopping_at_once
from regard.training.starting import brought_by
from regard.training.state import TENSORS, RunState, other_bits, restore
from regard.training.step import TrainStep
from regard.training.validation import Score, Validator
from regard.training.word_files import WordFiles


class TrainingResult(NamedTuple):
    """What a finished run came to."""

    model: Path  # a Hugging Face directory
    step: int
    tokens: int  # real tokens seen, of pairs those of the targets
    seconds: float  # of training, summed over resumes
    score: Score | None  # of the model written, on the validation split; None where there is none
    reason: str  # why training ended


def train(
    run: RunConfig,
    directory: str | Path,
    *,
    stop: Callable[[], bool] | None = None,
    console: Console | None = None,
    command: str | None = None,
) -> TrainingResult:
    """Train as `run` says, in a run directory; prepare the data if that is not done, resume if training has begun.

    Writes run.toml, data/, checkpoints/, metrics.jsonl and, at the end, model/. `stop` is asked before each step;
    Ctrl-C and SIGTERM count as a yes, and end at once what comes before the first step and after the last; a second
    signal ends the process at once anywhere. console: where progress goes; absent: stderr. command: what a user who
    stopped it types to go on; absent: `regard train DIRECTORY`. Sets the global seeds of Python, NumPy and TensorFlow
    to `run.seed`. The threads of TensorFlow stay as they are: `regard train` calls `share_cores` before.

    Where `TF_CONFIG` names several workers, or this machine has several GPUs, all of them train (`Cluster`): each
    worker calls this with the same run and directory, and gets the same result.

    A run whose batch_tokens are "auto" is trained with those that `find_batch` suggests, once and for all.

    Raises ConfigError where `run` is not the run of the directory, RegardError where another process is at work in it,
    CheckpointError where checkpoints cannot be written or all are damaged, TrainingInterrupted after saving where it
    was told to stop, WorkerLost where another worker is gone.
    """
    console, directory = console or Console(stderr=True), Path(directory)
    if run.training.tensorboard:
        require_tensorboard()
    command = command or shlex.join(["regard", "train", str(directory)])
    with stopping_at_once(f"{{signal}}: nothing was to be saved; go on with: {command}"):
        run = settled(run, directory, console)
        cluster = join_cluster(
            say=lambda words: console.print(words, markup=False, highlight=False, soft_wrap=True),
            one_device=objective_of(run).whole_batches,
        )
        with locked(directory) if cluster.chief else nullcontext(), cluster.watched(command):
            return _train(run, directory, stop, console, command, cluster)


class Start(NamedTuple):
    """What the chief finds in the run directory; the other workers are told."""

    checkpoint: str | None  # its name
    complaints: list[str]
    dtype: str  # on another machine "auto" could mean another one, and another result
    data_hash: str


def streams_to_be(run: RunConfig, directory: Path) -> int:
    """Those of `train`, asked before TensorFlow makes its first tensor: for `share_cores`."""
    return _streams(run, directory, expected_replicas())


def _streams(run: RunConfig, directory: Path, replicas: int) -> int:
    """Those that the run was begun with, if this is no other number of replicas; else those that it asks for."""
    asked = streams_of(run, replicas)
    for path in reversed(CheckpointStore(directory / "checkpoints").complete() if replicas == 1 else []):
        with suppress(CheckpointError):  # whether it is whole is looked at later
            return int(read_json(path, STATE, required=True).get("streams", 1))
    return asked


def _find_start(run: RunConfig, directory: Path, console: Console) -> tuple[Start, PreparedData]:
    """The checkpoint to go on from, and data that are ready: on the chief."""
    store = CheckpointStore(directory / "checkpoints")
    checkpoint, complaints = store.newest_good()
    if checkpoint is None and complaints:  # not to throw a run away for a disk that is out of order for an hour
        raise store.none_left(complaints)
    saved = {} if checkpoint is None else read_json(checkpoint, STATE, required=True)
    if checkpoint is not None:
        refuse_another_run(saved["run"], run, checkpoint, saved["state"]["step"])
        complaints += filter(None, [other_bits(saved)])
    else:
        refuse_no_network(run)
    begun, given, progress = checkpoint is not None, brought_by(run), console.is_terminal
    prepared = open_or_prepare(run, directory / "data", begun=begun, given=given, progress=progress)
    if checkpoint is not None:
        if prepared.content_hash != saved["data_hash"] and not reads_stdin(run.data):
            prepared = prepare(
                run, directory / "data", given=given, progress=progress
            )  # the corpus may be back as it was
        refuse_other_data(saved["data_hash"], prepared.content_hash, checkpoint)
    write_file(directory / "run.toml", to_toml(run).encode())
    dtype = saved.get("dtype") or resolve_dtype(run.training.dtype)
    return Start(checkpoint.name if checkpoint else None, complaints, dtype, prepared.content_hash), prepared


def _train(
    run: RunConfig,
    directory: Path,
    stop: Callable[[], bool] | None,
    console: Console,
    command: str,
    cluster: Cluster,
) -> TrainingResult:
    streams = _streams(run, directory, cluster.replicas)
    found = _find_start(run, directory, console) if cluster.chief else None
    start = Start(*cluster.from_chief(lambda: found and found[0]))
    prepared = found[1] if found else _same_data(directory, start, cluster)
    store = CheckpointStore(directory / "checkpoints")
    checkpoint = None if start.checkpoint is None else store.directory / start.checkpoint
    objective = objective_of(run).of(prepared)
    if run.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(run.seed)
    _refuse_shared_batches(run, objective, cluster)
    with cluster.scope():
        made = network(run, prepared, start.dtype, checkpoint)
        step = train_step(run, made, objective, cluster, streams)
    state = _state(checkpoint, step)
    saver = Saver(store, run, prepared, start.dtype, step)
    records = directory if cluster.chief else None
    report = Report(
        records, console, step=state.step, counted=learnt_from(run.task), tensorboard=run.training.tensorboard
    )
    with report, saver:
        _say_where_it_starts(report, checkpoint, start.complaints)
        for line in (cluster.describe(), describe_training(step.optimizer, step.model)):
            if line:
                report.say(line)
        saver.thin_out()
        validator = _validator(run, prepared, objective, step)
        batches = batches_of(run, prepared, objective, step.model, "train", shuffle=True)
        if isinstance(batches, PackedBatches):
            report.say(batches.describe())
        if batches.mixture is not None:
            report.say(batches.mixture.describe(corpus_names(run, prepared)))
        steps_to_take = _steps_to_take(run, batches)
        refuse_too_short(run.training.schedule, steps_to_take)
        rising = never_at_its_peak(run.training.schedule, steps_to_take)
        if rising is not None:
            report.warn(rising)
        loop = Loop(run, state, step, batches, validator, saver, report, command, steps_to_take, cluster)
        with StopRequest(stop, lambda name: _say_stopping(report, name)) as request:
            reason = loop.train(request)
        result = cluster.from_chief(lambda: _finish(directory, state, saver, validator, report, reason))
        return TrainingResult(*result)._replace(model=directory / "model")


def _refuse_shared_batches(run: RunConfig, objective: Objective, cluster: Cluster) -> None:
    if objective.whole_batches and cluster.replicas > 1:
        raise ConfigError(
            f"task = {run.task!r} tells the rows of a batch from each other, which {cluster.replicas} replicas would "
            "share: train it by one worker"
        )


def _same_data(directory: Path, start: Start, cluster: Cluster) -> PreparedData:
    """What the chief has prepared, as this process sees it."""
    prepared = PreparedData.open(directory / "data")
    if prepared.content_hash != start.data_hash:
        raise DataError(
            f"worker {cluster.worker} finds other data in {directory / 'data'} than the chief (content hash "
            f"{prepared.content_hash[:12]}, not {start.data_hash[:12]}): all workers need the same run directory, on a "
            "file system that they share"
        )
    return prepared


def _state(checkpoint: Path | None, step: TrainStep) -> RunState:
    """Where the run is, with model and optimizer as they were there."""
    if checkpoint is not None:
        return restore(checkpoint, step)
    step.cluster.own_noise(step.model)
    return RunState()


def _validator(run: RunConfig, prepared: PreparedData, objective: Objective, step: TrainStep) -> Validator | None:
    """None where the data has nothing to validate on."""
    if "validation" not in prepared.manifest["splits"] or not len(prepared.split("validation")):
        return None
    batches = batches_of(run, prepared, objective, step.model, "validation", shuffle=False)
    weights = partial(averaged, step.optimizer) if run.training.average == "ema" else nullcontext
    scores = scores_of(run, prepared, objective, step.model)
    temperature, streams = run.objective.temperature, step.streams
    return Validator(step.model, batches, scores, objective.labels, weights, temperature, streams)


def _say_where_it_starts(report: Report, checkpoint: Path | None, complaints: list[str]) -> None:
    for complaint in complaints:
        report.warn(complaint)
    if checkpoint is not None:
        report.say(f"going on from {checkpoint}")


def _steps_to_take(run: RunConfig, batches: Batches) -> int | None:
    """By the steps and the epochs of a run, as long as its first epoch each, the last step perhaps with batches of the
    next one; None where it has minutes alone."""
    by_epochs = None if run.training.epochs is None else run.training.epochs * batches.epoch_length()
    bounds = [run.training.steps, by_epochs and -(-by_epochs // run.training.accumulation)]
    return min((bound for bound in bounds if bound is not None), default=None)


def _say_stopping(report: Report, name: str) -> None:
    report.end_bar()
    report.say(f"{name}: stopping after this step, and saving; once more ends at once")


def _finish(
    directory: Path, state: RunState, saver: Saver, validator: Validator | None, report: Report, reason: str
) -> TrainingResult:
    """Write model/: the best checkpoint, or the mean of several. On the chief."""
    if saver.store.path(state.step) not in saver.store.complete():
        report.warn(f"the last step, {state.step}, is not saved: the model is made of what was saved before it")
    chosen, model = saver.chosen(report.warn), saver.step.model
    assign_weights(model, mean_weights(chosen))
    if saver.run.training.average == "ema":
        assign_averages(saver.step.optimizer, chosen[0] / TENSORS)
    chooses = validator is not None and validator.scores.chooses
    measured = validator.measure() if validator is not None and (len(chosen) > 1 or chooses) else None
    if len(chosen) == 1:
        score = read_json(chosen[0], STATE, required=True)["state"]["score"]
    else:
        score = None if measured is None else finite_or_none(measured)
    choices = validator.scores.chosen if validator is not None and chooses else {}
    made_of = [path.name for path in chosen]
    model_step = max(read_json(path, STATE, required=True)["state"]["step"] for path in chosen)
    progress = {"step": state.step, "model_step": model_step, "tokens": state.tokens}
    facts = {**saver.facts(), **progress, **choices, "score": score, "checkpoints": made_of}
    target = directory / "model"
    for leftover in directory.glob(".model-*"):  # of a process that was killed while it wrote the model
        shutil.rmtree(leftover, ignore_errors=True)
    beside = WordFiles(saver.prepared, saver.run.ngrams) if saver.run.ngrams.order else saver.companions
    save_model(model, target, tokenizer=beside, regard=facts)
    ending = {"step": state.step, "model_step": model_step, "checkpoints": made_of, "reason": reason}
    report.final({"kind": "final", **ending, **(score or {})})
    return TrainingResult(target, state.step, state.tokens, state.seconds, score, reason)
