"""Pieces of a step that are computed side by side."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.config import OptimizerConfig, RunConfig
from regard.data.processes import available_cores
from regard.errors import ConfigError, TrainingInterrupted
from regard.training import assembly, streams
from regard.training.assembly import streams_of
from regard.training.cluster import Cluster, expected_replicas
from regard.training.optimizer import build_optimizer
from regard.training.step import APPLIED, NOT_FINITE, TrainStep
from regard.training.streams import pieces_of, share_cores, side_by_side
from regard.training.trainer import train

sys.path.append(str(Path(__file__).parent))

from whole_runs import quiet

KEYS = ("input_ids", "attention_mask", "labels")
Batch = dict[str, np.ndarray]


def step_of(model: Any, *, streams: int, optimizer: Any = None, **options: Any) -> TrainStep:
    optimizer = optimizer or build_optimizer(OptimizerConfig(name="adam"), model.trainable_variables, ema=0.9)
    return TrainStep(model, optimizer, keys=KEYS, streams=streams, **options)


def everything(step: TrainStep) -> list[np.ndarray]:
    variables = [*step.model.variables, *step.optimizer.variables, *step.variables.values()]
    return [np.array(variable.numpy()) for variable in variables]


def assert_same(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@given(rows=st.lists(st.integers(0, 9), min_size=1, max_size=6), streams=st.integers(1, 4))
def test_each_row_is_in_one_piece_and_each_group_has_one_a_stream(rows: list[int], streams: int) -> None:
    bounds = np.cumsum([0, *rows])
    batches = [{"ids": np.arange(a, b), "more": np.arange(a, b) * 2} for a, b in pairwise(bounds)]
    groups = pieces_of(batches, streams)
    assert {len(group) for group in groups} == {streams}
    for key, times in (("ids", 1), ("more", 2)):
        found = np.concatenate([piece[key] for group in groups for piece in group])
        np.testing.assert_array_equal(found, np.arange(bounds[-1]) * times)
    if len(rows) % streams:  # the rows of each micro-batch are shared evenly
        sizes = [[len(piece["ids"]) for piece in group] for group in groups]
        assert all(max(each) - min(each) <= 1 for each in sizes)
    else:  # whole micro-batches
        assert [len(piece["ids"]) for group in groups for piece in group] == rows


@pytest.mark.parametrize(("streams", "accumulation"), [(2, 1), (2, 2), (2, 3), (2, 4), (3, 2)])
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 99))
def test_streams_teach_what_one_batch_of_their_rows_does(
    toy: Callable[..., Any], random_batch: Callable[..., Batch], streams: int, accumulation: int, seed: int
) -> None:
    """With micro-batches of one row, too, of which a piece has none."""
    batch = random_batch(rows=8, seed=seed)
    bounds = {1: [0, 8], 2: [0, 1, 8], 3: [0, 1, 4, 8], 4: [0, 1, 3, 6, 8]}[accumulation]
    parts = [{key: rows[a:b] for key, rows in batch.items()} for a, b in pairwise(bounds)]
    whole, cut = toy(), toy()
    settings_of_both = {"label_smoothing": 0.1, "clip_norm": 0.05}
    one = step_of(whole, streams=1, optimizer=keras.optimizers.SGD(0.0), **settings_of_both)
    many = step_of(
        cut, streams=streams, optimizer=keras.optimizers.SGD(0.0), accumulation=accumulation, **settings_of_both
    )
    for _ in range(2):
        assert int(one([batch], 0.5)) == int(many(parts, 0.5)) == APPLIED
    for a, b in zip(whole.trainable_variables, cut.trainable_variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-7)
    first, second = one.read(), many.read()
    assert first.loss == pytest.approx(second.loss, rel=1e-6)
    assert first.gradient_norm == pytest.approx(second.gradient_norm, rel=1e-5)


def test_a_batch_of_one_row_leaves_a_piece_without_any(
    toy: Callable[..., Any], random_batch: Callable[..., Batch]
) -> None:
    batch = random_batch(rows=1)
    one, two = (step_of(toy(), streams=count) for count in (1, 2))
    assert int(one([batch], 0.1)) == int(two([batch], 0.1)) == APPLIED
    assert one.read().loss == pytest.approx(two.read().loss, rel=1e-6)


def test_two_runs_have_the_same_noise_and_the_pieces_of_a_step_another_each(
    toy: Callable[..., Any], random_batch: Callable[..., Batch]
) -> None:
    row = random_batch(rows=1)
    twins = {key: np.repeat(value, 2, axis=0) for key, value in row.items()}
    ends = []
    for _ in range(2):
        step = step_of(toy(dropout=0.5), streams=2)
        for _ in range(4):
            assert int(step([twins], 0.1)) == APPLIED
        ends.append(everything(step))
    assert_same(*ends)
    # A step that teaches nothing: what it reads is the mean over both pieces, which one piece's noise alone is not.
    step = step_of(toy(dropout=0.5), streams=2, optimizer=keras.optimizers.SGD(0.0))
    losses = []
    for _ in range(3):
        step([twins], 0.0)
        losses.append(step.read().loss)
    assert len(set(losses)) == 3  # the noise moves on
    first = step_of(toy(dropout=0.5), streams=1, optimizer=keras.optimizers.SGD(0.0))
    first([row], 0.0)
    assert losses[0] != pytest.approx(first.read().loss, rel=1e-4)


def test_a_step_that_is_not_finite_touches_nothing_but_the_noise(
    toy: Callable[..., Any], random_batch: Callable[..., Batch]
) -> None:
    model = toy()
    step = step_of(model, streams=2, clip_norm=1.0)
    assert int(step([random_batch()], 0.1)) == APPLIED
    before = everything(step)
    table = np.array(model.table.numpy())
    model.table.assign(np.full_like(table, np.nan))
    assert int(step([random_batch()], 0.1)) == NOT_FINITE
    model.table.assign(table)
    assert_same(everything(step), before)
    assert int(step([random_batch()], 0.1)) == APPLIED


def test_one_graph_serves_all_pieces_and_shapes(toy: Callable[..., Any], random_batch: Callable[..., Batch]) -> None:
    model = toy()
    step = step_of(model, streams=2)
    for rows, length in ((4, 5), (1, 3), (7, 9)):
        step([random_batch(rows=rows, length=length)], 0.1)
    assert model.traces == 1


CORES = """
import json
import tensorflow as tf
from regard.data.processes import available_cores
from regard.training.streams import share_cores
share_cores({streams} or available_cores())
print(json.dumps([tf.config.threading.get_intra_op_parallelism_threads(),
                  tf.config.threading.get_inter_op_parallelism_threads()]))
"""


@pytest.mark.parametrize(
    ("streams", "environment", "threads"),
    [(0, {}, None), (1, {}, [0, 0]), (0, {"TF_NUM_INTRAOP_THREADS": "3"}, [0, 0])],
)
def test_an_operation_has_one_core_where_there_are_as_many_streams_unless_threads_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, streams: int, environment: dict[str, str], threads: list[int] | None
) -> None:
    """0: as many as there are cores."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):  # tests have few
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    code = CORES.format(streams=streams)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    alone = [0, 0] if available_cores() == 1 else [1, available_cores()]
    assert json.loads(done.stdout) == (threads or alone)


def test_where_tensorflow_is_at_work_its_threads_stay() -> None:
    tf.constant(0) + 1
    before = tf.config.threading.get_intra_op_parallelism_threads()
    share_cores(7)
    assert tf.config.threading.get_intra_op_parallelism_threads() == before


def test_a_run_keeps_the_streams_that_it_was_begun_with(
    toy_run: Callable[..., RunConfig],
    begun: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    assert_as_if_nothing_had_happened: Callable[[Path, Path], None],
) -> None:
    """On a machine where "auto" would mean one, too."""
    whole = tmp_path / "whole"
    shutil.copytree(begun / "data", whole / "data")
    run = toy_run(accumulation=3, streams="auto")
    monkeypatch.setattr(assembly, "usual_streams", lambda: 2)
    train(run, whole, console=quiet())
    asked = iter(range(100))
    with pytest.raises(TrainingInterrupted):
        train(run, begun, stop=lambda: next(asked) > 4, console=quiet())
    monkeypatch.setattr(assembly, "usual_streams", lambda: 1)
    train(run, begun, console=quiet())
    assert_as_if_nothing_had_happened(begun, whole)
    newest = max((begun / "checkpoints").glob("step-*"))
    assert json.loads((newest / "state.json").read_text())["streams"] == 2


def test_who_asks_for_streams_where_there_are_none_is_told(
    toy_run: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert streams_of(toy_run(streams=3)) == 3
    assert streams_of(toy_run(streams="auto"), replicas=2) == 1
    with pytest.raises(ConfigError, match=r"training.streams = 2 is for one device, and 2 replicas train"):
        streams_of(toy_run(streams=2), replicas=2)
    monkeypatch.setattr(assembly, "objective_of", lambda run: SimpleNamespace(whole_batches=True))
    assert streams_of(toy_run(streams="auto")) == 1
    with pytest.raises(ConfigError, match="tells the rows of a batch from each other: leave it out"):
        streams_of(toy_run(streams=2))


@pytest.mark.parametrize(
    ("cores", "threads", "gpus", "expected"),
    [(1, "", 0, 1), (2, "", 0, 2), (2, "", 1, 1), (2, "1", 0, 1), (16, "", 0, 1), (16, "2", 0, 2), (2, "0", 0, 2)],
)
def test_auto_is_two_streams_on_two_cores_alone(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: str, gpus: int, expected: int
) -> None:
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", threads)
    monkeypatch.setattr(streams, "available_cores", lambda: cores)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind] * gpus)
    assert streams.usual_streams() == expected


def test_several_replicas_have_no_streams(toy: Callable[..., Any]) -> None:
    cluster = Cluster()
    cluster.replicas = 3
    with pytest.raises(ValueError, match="2 streams are for one device, but there are 3 replicas"):
        step_of(toy(), streams=2, cluster=cluster)


def test_no_thread_is_at_work_when_a_step_ends_with_an_error(
    toy: Callable[..., Any], random_batch: Callable[..., Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = step_of(toy(), streams=2)
    slow, ended = threading.Event(), []

    def piece(batch: Batch, noise: Any) -> Any:
        if len(batch["labels"]) == 1:
            raise InterruptedError("asked to stop")
        slow.wait(1)
        ended.append(True)

    monkeypatch.setattr(step._streams, "_traced", True)
    monkeypatch.setattr(step._streams, "_piece", piece)
    with pytest.raises(InterruptedError):
        step([random_batch(rows=3)], 0.1)
    assert ended == [True]


def test_how_many_replicas_there_will_be_is_known_beforehand() -> None:
    cluster = {"cluster": {"worker": ["a:1", "b:1", "c:1"]}, "task": {"type": "worker", "index": 1}}
    assert expected_replicas({"TF_CONFIG": json.dumps(cluster)}) == 3
    assert expected_replicas({}) == 1


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_what_is_made_side_by_side_comes_in_order_and_so_many_at_a_time(streams: int) -> None:
    together, at_work, seen = threading.Barrier(streams), [], []

    def made(item: int) -> int:
        together.wait(60)  # only so many at the same time get past it
        at_work.append(threading.get_ident())
        return item * item

    for item, result in side_by_side(made, range(6), streams):
        seen.append((item, result))
    assert seen == [(number, number * number) for number in range(6)]
    assert len(set(at_work)) == streams


def test_an_error_in_a_thread_is_raised_where_its_item_would_come() -> None:
    def made(item: int) -> float:
        return 1 / (item - 2)

    found = side_by_side(made, range(5), 2)
    assert [next(found), next(found)] == [(0, -0.5), (1, -1.0)]
    with pytest.raises(ZeroDivisionError):
        next(found)
