"""Replicas against one device: MirroredStrategy on two logical CPUs, in a process of its own."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from regard.config import RunConfig, to_toml
from regard.config.tf_config import Place, worker_of
from regard.errors import ConfigError, WorkerLost
from regard.training.cluster import ALONE, Cluster
from regard.training.trainer import _refuse_shared_batches, train

TWO = {"worker": ["a:1", "b:1"]}
TWO_HOSTS = ("a:1", "b:1")


def two_replicas(*arguments: str) -> dict[str, Any]:
    script = Path(__file__).with_name("two_replicas.py")
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return two_replicas()


def assert_equal(cases: dict[str, Any]) -> None:
    for name, case in cases.items():
        close = 1e-3 if "bfloat16" in name else 1e-6
        assert case["weights"] < close, name
        assert case["statistics"] < close, name
        assert case["copies_equal"], name


def test_steps_on_two_replicas_are_those_of_one_device_and_the_copies_stay_equal(found: dict[str, Any]) -> None:
    assert_equal(found["cases"])


@pytest.mark.full
def test_so_they_are_by_every_optimizer() -> None:
    cases = two_replicas("--all")["cases"]
    assert len(cases) == 8
    assert_equal(cases)


def test_a_whole_run_on_two_replicas_is_one_devices_and_goes_on_with_the_same_bits(
    toy_run: Callable[..., RunConfig],
    undisturbed: Path,
    tmp_path: Path,
    records: Callable[[Path], list[dict[str, Any]]],
    assert_as_if_nothing_had_happened: Callable[[Path, Path], None],
) -> None:
    noisy = toy_run(streams=1, ema=0.9, average="ema")
    plain = toy_run(streams=1)
    plain = plain.model_copy(update={"model": plain.model.model_copy(update={"dropout": 0.0})})
    places = {name: tmp_path / name for name in ("whole", "stopped", "plain", "alone")}
    for place in places.values():
        shutil.copytree(undisturbed / "data", place / "data")
    for name, run in (("noisy", noisy), ("plain", plain)):
        (tmp_path / f"{name}.toml").write_text(to_toml(run), "utf-8")
    jobs = [("noisy", "whole", []), ("noisy", "stopped", [3, 5]), ("plain", "plain", [])]
    asked = [[str(tmp_path / f"{run}.toml"), str(places[name]), stops] for run, name, stops in jobs]
    script = Path(__file__).with_name("mirrored_runs.py")
    done = subprocess.run([sys.executable, str(script), json.dumps(asked)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 replicas in 1 process: each takes its rows of every batch") == 5
    assert done.stdout.count("going on from") == 2
    assert_as_if_nothing_had_happened(places["stopped"], places["whole"])
    train(plain, places["alone"], console=Console(file=io.StringIO()))
    together, alone = (
        {(each["kind"], each["step"]): each["loss"] for each in records(places[name])} for name in ("plain", "alone")
    )
    assert together == pytest.approx(alone, abs=1e-5)


def test_the_devices_of_a_machine_are_taken_without_being_asked_for(found: dict[str, Any]) -> None:
    assert (found["kind"], found["replicas"]) == ("MirroredStrategy", 2)


def test_what_one_replica_alone_meets_is_decided_alike_on_all(found: dict[str, Any]) -> None:
    assert found["poisoned"] == {"outcome": 0, "untouched": True}


def test_each_replica_has_dropout_noise_of_its_own_and_draws_as_often(found: dict[str, Any]) -> None:
    one, other = found["noise"]["seeds"]
    assert one != other
    assert found["noise"]["drawn"] == [2, 2]


@pytest.mark.parametrize(
    ("cluster", "task", "place"),
    [
        (TWO, {"type": "worker", "index": 1}, Place(1, 2, (("worker", 2),), TWO_HOSTS)),
        (
            {"chief": ["c:1"], **TWO},
            {"type": "worker", "index": 1},
            Place(2, 3, (("chief", 1), ("worker", 2)), ("c:1", *TWO_HOSTS)),
        ),
        (
            {"chief": ["c:1"], **TWO},
            {"type": "chief", "index": 0},
            Place(0, 3, (("chief", 1), ("worker", 2)), ("c:1", *TWO_HOSTS)),
        ),
        ({}, {}, Place(0, 1)),
    ],
)
def test_tf_config_names_a_worker(cluster: Any, task: Any, place: Place) -> None:
    assert worker_of(json.dumps({"cluster": cluster, "task": task})) == place


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("worker 1 of 2", "TF_CONFIG is not what TensorFlow's workers take, but 'worker 1 of 2'"),
        ("[1]", "TF_CONFIG is not what TensorFlow's workers take"),
        (json.dumps({"cluster": {**TWO, "ps": ["p:1"]}}), "knows the tasks chief and worker, but not 'ps'"),
        (json.dumps({"cluster": TWO, "task": {"type": "evaluator", "index": 0}}), "but not 'evaluator'"),
        (json.dumps({"cluster": TWO, "task": {"type": "worker", "index": 2}}), "must be below 2, but is 2"),
        (json.dumps({"cluster": {"chief": ["a:1", "b:1"]}, "task": {"type": "chief"}}), "there must be one chief"),
    ],
)
def test_a_tf_config_that_cannot_be_is_refused_by_name(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        worker_of(text)


def test_what_tells_the_rows_of_a_batch_apart_is_not_shared_over_replicas() -> None:
    run, objective = SimpleNamespace(task="embed"), SimpleNamespace(whole_batches=True)
    cluster = Cluster()
    _refuse_shared_batches(run, objective, cluster)
    cluster.replicas = 2
    with pytest.raises(ConfigError, match="task = 'embed' tells the rows of a batch from each other"):
        _refuse_shared_batches(run, objective, cluster)


def test_alone_nothing_is_asked_of_anybody() -> None:
    assert ALONE.from_chief(lambda: {"a": 1}) == {"a": 1}
    assert ALONE.agree(7, True, 3.0)[:2] == (True, 3.0)
    assert not ALONE.broken()
    assert ALONE.describe() == ""


class Wire:
    """The sums over two workers, of which one asks after the other: what the chief gives is kept for the follower."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[np.ndarray] = []
        self.chief, self.follower = Cluster(worker=0, workers=2), Cluster(worker=1, workers=2)
        self.stopping = 0.0  # what the other worker adds to the chief's wish to stop
        monkeypatch.setattr(self.chief, "_sum", self._of_chief)
        monkeypatch.setattr(self.follower, "_sum", self._of_follower)

    def _of_chief(self, values: Any) -> np.ndarray:
        total = np.array(values, np.float64)
        total[:1] += self.stopping
        self.sent.append(total)
        return total

    def _of_follower(self, values: Any) -> np.ndarray:
        assert not np.any(np.asarray(values)[1:])  # only a wish to stop is the follower's to add
        return self.sent.pop(0)


@pytest.mark.parametrize("given", [None, {"loss": 1.25, "name": "Straße"}, ["step-00000003", None], Path("a/b")])
def test_what_the_chief_says_reaches_the_others_as_it_was_said(monkeypatch: pytest.MonkeyPatch, given: Any) -> None:
    wire = Wire(monkeypatch)
    said = json.loads(json.dumps(given, default=str))
    assert wire.chief.from_chief(lambda: given) == said
    assert wire.follower.from_chief(lambda: pytest.fail("it is not the follower's to say")) == said


def test_all_agree_at_the_steps_that_the_chief_chose_and_on_its_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    wire, now = Wire(monkeypatch), [100.0]
    monkeypatch.setattr("regard.training.cluster.time", SimpleNamespace(monotonic=lambda: now[0]))
    asked = []
    for step in range(12):
        before = len(wire.sent)
        agreed = wire.chief.agree(step, False, now[0] - 100)
        asked += [step] * (len(wire.sent) > before)
        assert wire.follower.agree(step, False, 1e9) == agreed
        now[0] += 0.05  # four steps in 0.2 s, once that is known
    assert asked == [0, 1, 5, 9]
    assert wire.chief.agree(12, True, 0.0).stop is False  # the wish is heard at the next agreement, of all workers
    wire.stopping = 1.0
    assert wire.chief.agree(13, False, 0.7) == wire.follower.agree(13, True, 0.0)
    assert wire.chief.agree(13, False, 0.7).stop


def test_a_lost_worker_is_one_line_and_a_fault_of_ones_own_stays_what_it_is() -> None:
    import tensorflow as tf

    said = "Graph execution error:\nThe following tasks are unhealthy:\n/job:worker/replica:0/task:1\nRestart.\n"
    cluster = Cluster(worker=0, workers=2)
    told = r"lost another: /job:worker/replica:0/task:1; .*: regard train x"
    with pytest.raises(WorkerLost, match=told) as lost, cluster.watched("regard train x"):
        raise tf.errors.UnavailableError(None, None, said)
    assert lost.value.exit_code == 69
    advice = "The error could be from a previous operation. Restart your program to reset."
    said = f"Collective ops is aborted by: Socket closed\n{advice}\n\t [[{{{{node x}}}}]]"
    told = "lost another: Collective ops is aborted by: Socket closed;"
    with pytest.raises(WorkerLost, match=told), cluster.watched("regard train x"):
        raise tf.errors.UnavailableError(None, None, said)
    with pytest.raises(tf.errors.InvalidArgumentError), cluster.watched("regard train x"):
        raise tf.errors.InvalidArgumentError(None, None, "a shape")
