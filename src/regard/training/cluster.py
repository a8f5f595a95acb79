"""Where a step runs: on one device, on the devices of one machine, or on those of several processes and machines.

A replica is a device with a copy of every variable. Each takes its share of the rows of every batch; sums of losses,
gradients and counts of labels are added over all of them, and each then makes the same update from the same numbers.
So a run is the same whatever the number of replicas, up to the order of additions and to dropout's noise, and the
copies stay equal bit for bit. A run file's `batch_tokens` is of the whole batch.

`TF_CONFIG` is the contract between processes: {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker",
"index": 0}}, as TensorFlow has it. The first worker, or the only "chief", writes; all see the same run directory.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context  # the coordination service has no public name

from regard.batch import Batch
from regard.config.tf_config import Place, worker_of
from regard.errors import ConfigError, WorkerLost
from regard.training.rendezvous import Say, gather
from regard.training.streams import SEEDS_APART
from regard.training.watchdog import ended_after

_TO_JOIN = 300.0  # seconds for TensorFlow's own processes and the GPUs, once all workers have met
_BETWEEN_AGREEMENTS = 0.2  # seconds, about: so long may a signal wait for the step after which all stop
_MOST_STEPS_BETWEEN = 100
_SAYS_NOTHING = "The error could be from a previous operation"  # TensorFlow's last line of some errors
# What TensorFlow raises where a collective operation has lost a worker, or was aborted for it.
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)


class Agreement(NamedTuple):
    """What all workers do next."""

    stop: bool  # some worker was asked to
    seconds: float  # of training, by the chief's clock
    until: int  # the next step before which to agree again


class Cluster:
    """The replicas of a run, as one of its processes sees them."""

    def __init__(
        self, strategy: Any = None, *, worker: int = 0, workers: int = 1, jobs: Sequence[tuple[str, int]] = ()
    ) -> None:
        """strategy: None: one device in one process, and then nothing here costs anything. jobs: how many tasks
        `TF_CONFIG` has of each type."""
        self._jobs = list(jobs)
        self.strategy, self.worker, self.workers = strategy, worker, workers
        self.replicas = 1 if strategy is None else int(strategy.num_replicas_in_sync)
        self._agreed = Agreement(False, 0.0, 0)
        self._asked_at: tuple[int, float] | None = None  # the step before which, and when
        spec = tf.TensorSpec([None], tf.float64)
        self._total = tf.function(self._sum_over_workers, input_signature=[spec], autograph=False)

    @property
    def chief(self) -> bool:
        """Whether this process writes, validates and decides."""
        return self.worker == 0

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Inside, a variable is made with a copy on each replica, which that replica alone writes in a step."""
        if self.strategy is None:
            yield
            return
        with self.strategy.scope(), tf.variable_creator_scope(_each_its_own):
            yield

    def compiled(self, function: Callable[..., Any], signature: list[Any]) -> Callable[..., Any]:
        """A graph of `function`, which runs on each replica; its result is the first one's."""
        if self.strategy is None:
            return tf.function(function, input_signature=signature, autograph=False)

        def everywhere(*arguments: Any) -> Any:
            results = self.strategy.run(function, args=arguments)
            return tf.nest.map_structure(lambda each: self.strategy.experimental_local_results(each)[0], results)

        return tf.function(everywhere, input_signature=signature, autograph=False)

    def share(self, batch: Batch) -> Batch:
        """In a replica: its rows of the batch, at most one more than another's; none where there are too few."""
        if self.strategy is None:
            return batch
        replica = self._replica()
        rows = tf.shape(next(iter(batch.values())))[0]
        first, last = rows * replica // self.replicas, rows * (replica + 1) // self.replicas
        return {key: value[first:last] for key, value in batch.items()}

    def total(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """In a replica: the sums over all replicas, the same bits on each."""
        if self.strategy is None:
            return tensors
        return list(tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensors))

    def own_noise(self, model: Any) -> None:
        """Give each replica noise of its own, where all have the first one's: after variables were made or filled.

        Keras makes the seeds of dropout equal on all replicas. Each replica's counter goes on alike.
        """
        seeds = [variable for variable in model.non_trainable_variables if "seed_generator_state" in variable.path]
        if self.strategy is None or not seeds:
            return

        def differ() -> None:
            apart = tf.stack([tf.cast(self._replica(), tf.int64) * SEEDS_APART, 0])
            for seed in seeds:
                seed.value.assign_add(apart)

        tf.function(lambda: self.strategy.run(differ), autograph=False)()

    def agree(self, step: int, stop: bool, seconds: float) -> Agreement:
        """Before `step`: whether all stop here, and how long they have trained. All workers ask at the same steps."""
        if self.workers == 1:
            return Agreement(stop, seconds, step)
        if step >= self._agreed.until:
            ahead = self._steps_between(step)
            mine = [float(stop), *((seconds, float(step + ahead)) if self.chief else (0.0, 0.0))]
            stops, at, until = map(float, self._sum(mine))
            self._agreed = Agreement(stops > 0, at, int(until))
        return self._agreed

    def from_chief(self, make: Callable[[], Any]) -> Any:
        """What `make` gives on the chief, on every worker, by JSON. The others wait for it."""
        if self.workers == 1:
            return make()
        text = json.dumps(make(), default=str).encode() if self.chief else b""
        size = int(self._sum([float(len(text))])[0])
        values = self._sum(np.frombuffer(text, np.uint8) if self.chief else np.zeros(size))
        return json.loads(values.astype(np.uint8).tobytes())

    def broken(self) -> bool:
        """Whether a worker is known to be gone; nobody waits. A step would say so by itself."""
        if self.workers == 1:
            return False
        return any(error is not None for error in context.context().get_task_states(self._jobs))

    def describe(self) -> str:
        """For people; empty where there is one replica."""
        if self.strategy is None:
            return ""
        return (
            f"{self.replicas} replicas in {self.workers} process{'es' * (self.workers > 1)}: each takes its rows of "
            "every batch"
        )

    @contextmanager
    def watched(self, command: str) -> Iterator[None]:
        """Turn what TensorFlow says of a lost worker into WorkerLost; command: what starts each worker again."""
        try:
            yield
        except _LOST as error:
            if self.workers == 1:
                raise
            raise WorkerLost(
                f"worker {self.worker} of {self.workers} stops, for it has lost another: {_gist(error)}; start all of "
                f"them again, and they go on from the last checkpoint: {command}"
            ) from None

    def _steps_between(self, step: int) -> int:
        now, before = time.monotonic(), self._asked_at
        self._asked_at = (step, now)
        if before is None or step == before[0]:
            return 1
        each = (now - before[1]) / (step - before[0])
        return max(1, min(_MOST_STEPS_BETWEEN, int(_BETWEEN_AGREEMENTS / max(each, 1e-6))))

    def _sum(self, values: Any) -> np.ndarray:
        return np.asarray(self._total(np.asarray(values, np.float64)))

    def _sum_over_workers(self, values: tf.Tensor) -> tf.Tensor:
        def of_replica(values: tf.Tensor) -> tf.Tensor:
            first = self._replica() % (self.replicas // self.workers) == 0
            return self.total([tf.where(first, values, tf.zeros_like(values))])[0]

        return self.strategy.experimental_local_results(self.strategy.run(of_replica, args=(values,)))[0]

    def _replica(self) -> tf.Tensor:
        return tf.convert_to_tensor(tf.distribute.get_replica_context().replica_id_in_sync_group)


ALONE = Cluster()


def expected_replicas(environment: Mapping[str, str] = os.environ) -> int:
    """How many `join_cluster` will make, before TensorFlow makes its first tensor; of several processes, those.

    Raises ConfigError where `TF_CONFIG` is no such thing.
    """
    text = environment.get("TF_CONFIG", "").strip()
    workers = worker_of(text).workers if text else 1
    cpus, gpus = (tf.config.list_physical_devices(kind) for kind in ("CPU", "GPU"))
    devices = len(gpus) or len(tf.config.get_logical_device_configuration(cpus[0]) or cpus)
    return workers if workers > 1 else devices


def join_cluster(environment: Mapping[str, str] = os.environ, say: Say = print, one_device: bool = False) -> Cluster:
    """The cluster that `TF_CONFIG` names, once all its workers are there; else the devices of this machine.

    To be called before TensorFlow makes its first tensor. say: is told for whom it waits. one_device: of several of
    this machine the first one is taken alone, which is said. Raises ConfigError where
    `TF_CONFIG` is no such thing, WorkerLost where one goes while they join.
    """
    text = environment.get("TF_CONFIG", "").strip()
    if text:
        place = worker_of(text)
        if place.workers > 1:
            gather(place.hosts, place.worker, say)
            return Cluster(_multi_worker(place), worker=place.worker, workers=place.workers, jobs=place.jobs)
    devices = [device.name for kind in ("GPU", "CPU") for device in tf.config.list_logical_devices(kind)]
    kind = devices[0].split(":")[-2]
    same = [name for name in devices if name.split(":")[-2] == kind]
    if one_device and len(same) > 1:
        say(f"trained on one of {len(same)} {kind}s: what a row learns hangs on all rows of its batch")
    return ALONE if one_device or len(same) == 1 else Cluster(tf.distribute.MirroredStrategy(same))


def _multi_worker(place: Place) -> Any:
    hung = (
        f"worker {place.worker} of {place.workers} could not join the others within {_TO_JOIN:g} seconds: one was "
        "lost, or is too slow; start all of them again"
    )
    try:
        with ended_after(_TO_JOIN, hung):  # TensorFlow waits for a lost one without end, and hears no signal meanwhile
            return tf.distribute.MultiWorkerMirroredStrategy()
    except _LOST as error:
        raise WorkerLost(
            f"worker {place.worker} of {place.workers} could not join the others: {_gist(error)}; start all of them "
            "again"
        ) from None
    except RuntimeError as error:
        raise ConfigError(
            f"TF_CONFIG names a cluster, which a process must join before it uses TensorFlow ({error}): train in a "
            "fresh process, or unset TF_CONFIG"
        ) from error


def _each_its_own(make: Callable[..., Any], **settings: Any) -> Any:
    """Without an aggregation, a write within a replica is to that replica's copy: nothing is summed behind our back."""
    return make(**{**settings, "aggregation": tf.VariableAggregation.NONE})


def _gist(error: Exception) -> str:
    """Which tasks are said to be gone, or else the last thing that is said and is no place in the graph."""
    lines = [line.strip() for line in str(error).splitlines()]
    lost = [line for line in lines if line.startswith("/job:")]
    said = [line for line in lines if line and not line.startswith(("[[", _SAYS_NOTHING))]
    return ", ".join(dict.fromkeys(lost)) or (said[-1] if said else type(error).__name__)
