"""Train a translator by a run file, and go on by itself where an earlier process stopped."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
from rich.console import Console

from regard.config import RunConfig, to_toml
from regard.data.batching import BucketedBatches
from regard.data.prepare import open_or_prepare
from regard.data.shards import PreparedData, write_file
from regard.errors import ConfigError
from regard.interop.checkpoints import assign_weights, save_model
from regard.interop.directory import read_json
from regard.models.catalog import spec as preset_spec
from regard.models.forms import Transformer, build_model
from regard.training.averaging import mean_weights
from regard.training.checkpoint import STATE, CheckpointStore
from regard.training.lock import locked
from regard.training.loop import Loop, finite_or_none
from regard.training.optimizer import build_optimizer
from regard.training.precision import resolve_dtype
from regard.training.progress import Report, require_tensorboard
from regard.training.resume import refuse_another_run, refuse_other_data
from regard.training.saving import Saver
from regard.training.signals import StopRequest
from regard.training.state import RunState, restore
from regard.training.step import TrainStep
from regard.training.validation import Score, Validator

BATCH_KEYS = ("input_ids", "attention_mask", "labels")


class TrainingResult(NamedTuple):
    """What a finished run came to."""

    model: Path  # a Hugging Face directory
    step: int
    tokens: int  # real target tokens seen
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
    Ctrl-C and SIGTERM count as a yes. console: where progress goes; absent: stderr. command: what a user who stopped
    it types to go on; absent: `regard train DIRECTORY`. Sets the global seeds of Python, NumPy and TensorFlow to
    `run.seed`.

    Raises ConfigError where `run` is not the run of the directory, RegardError where another process is at work in it,
    CheckpointError where checkpoints cannot be written, TrainingInterrupted after saving where it was told to stop.
    """
    console, directory = console or Console(stderr=True), Path(directory)
    if run.training.tensorboard:
        require_tensorboard()
    with locked(directory):
        command = command or shlex.join(["regard", "train", str(directory)])
        return _train(run, directory, stop, console, command)


def _train(
    run: RunConfig, directory: Path, stop: Callable[[], bool] | None, console: Console, command: str
) -> TrainingResult:
    store = CheckpointStore(directory / "checkpoints")
    checkpoint, complaints = store.newest_good()
    saved = {} if checkpoint is None else read_json(checkpoint, STATE, required=True)
    if checkpoint is not None:
        refuse_another_run(saved["run"], run, checkpoint)
    begun = checkpoint is not None
    prepared = open_or_prepare(run, directory / "data", begun=begun, progress=console.is_terminal)
    if checkpoint is not None:
        refuse_other_data(saved["data_hash"], prepared.content_hash, checkpoint)
    write_file(directory / "run.toml", to_toml(run).encode())
    # On another machine "auto" could mean another dtype, and another result.
    dtype = saved.get("dtype") or resolve_dtype(run.training.dtype)
    keras.utils.set_random_seed(run.seed)
    step = _train_step(run, _network(run, prepared, dtype))
    state = RunState() if checkpoint is None else restore(checkpoint, step)
    saver = Saver(store, run, prepared, dtype, step)
    with Report(directory, console, step=state.step, tensorboard=run.training.tensorboard) as report:
        _say_where_it_starts(report, checkpoint, complaints)
        saver.thin_out()
        validator = _validator(run, prepared, step.model)
        batches = _batches(run, prepared, "train", shuffle=True)
        loop = Loop(run, state, step, batches, validator, saver, report, command)
        with StopRequest(stop, lambda name: _say_stopping(report, name)) as request:
            reason = loop.train(request)
        return _finish(directory, state, saver, validator, report, reason)


def _network(run: RunConfig, prepared: PreparedData, dtype: str) -> Transformer:
    """The model with fresh weights, which `run.seed` decides, and with the run's way of decoding."""
    tokenizer = prepared.tokenizer
    spec = preset_spec(
        run.model.preset,
        vocab_size=tokenizer.vocab_size,
        pad_id=tokenizer.id_of("pad"),
        eos_id=tokenizer.id_of("eos"),
        **run.model.overrides(),
    )
    bound = spec.text.positions.max_positions
    lengths = {"data.max_tokens": run.data.max_tokens, "decoding.max_new_tokens": run.decoding.max_new_tokens}
    for key, length in lengths.items():
        if length > bound:
            raise ConfigError(f"{key} must be at most model.max_positions ({bound}), but is {length}")
    model = build_model(spec, dtype)
    model.generation_options = model.generation_options.merged(**run.decoding.model_dump())
    return model


def _train_step(run: RunConfig, model: Transformer) -> TrainStep:
    return TrainStep(
        model,
        build_optimizer(run.training.optimizer, model.trainable_variables),
        keys=BATCH_KEYS,
        label_smoothing=run.training.label_smoothing,
        clip_norm=run.training.clip_norm,
        accumulation=run.training.accumulation,
    )


def _batches(run: RunConfig, prepared: PreparedData, split: str, *, shuffle: bool) -> BucketedBatches:
    return BucketedBatches(
        prepared.split(split),
        batch_tokens=run.training.batch_tokens,
        seed=run.seed,
        pad_id=prepared.tokenizer.id_of("pad"),
        shuffle=shuffle,
        max_tokens=run.data.max_tokens,
    )


def _validator(run: RunConfig, prepared: PreparedData, model: Any) -> Validator | None:
    """None where the data has nothing to validate on."""
    if "validation" not in prepared.manifest["splits"] or not len(prepared.split("validation")):
        return None
    batches = _batches(run, prepared, "validation", shuffle=False)
    shards = prepared.split("validation")
    return Validator(model, shards, prepared.tokenizer, batches, run.training.score_examples)


def _say_where_it_starts(report: Report, checkpoint: Path | None, complaints: list[str]) -> None:
    for complaint in complaints:
        report.warn(complaint)
    if checkpoint is not None:
        report.say(f"going on from {checkpoint}")
    elif complaints:
        report.warn("no good checkpoint is left: training begins anew")


def _say_stopping(report: Report, name: str) -> None:
    report.end_bar()
    report.say(f"{name}: stopping after this step, and saving; once more ends at once")


def _finish(
    directory: Path, state: RunState, saver: Saver, validator: Validator | None, report: Report, reason: str
) -> TrainingResult:
    """Write model/: the best checkpoint, or the mean of several."""
    if saver.store.path(state.step) not in saver.store.complete():
        report.warn(f"the last step, {state.step}, is not saved: the model is made of what was saved before it")
    chosen, model = saver.chosen(report.warn), saver.step.model
    assign_weights(model, mean_weights(chosen))
    if len(chosen) == 1:
        score = read_json(chosen[0], STATE, required=True)["state"]["score"]
    else:
        score = None if validator is None else finite_or_none(validator.measure())
    made_of = [path.name for path in chosen]
    model_step = max(read_json(path, STATE, required=True)["state"]["step"] for path in chosen)
    progress = {"step": state.step, "model_step": model_step, "tokens": state.tokens}
    facts = {**saver.facts(), **progress, "score": score, "checkpoints": made_of}
    target = directory / "model"
    save_model(model, target, tokenizer=saver.prepared.tokenizer, regard=facts)
    ending = {"step": state.step, "model_step": model_step, "checkpoints": made_of, "reason": reason}
    report.final({"kind": "final", **ending, **(score or {})})
    return TrainingResult(target, state.step, state.tokens, state.seconds, score, reason)
