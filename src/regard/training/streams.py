"""Pieces of a step side by side, each by a thread and on a core of its own.

An operation that is spread over all cores waits for the slowest of them, and many are too small to be spread at all, so
cores stand idle. Where the pieces of a step (its micro-batches, or shares of their rows) are computed at the same time,
each by a thread of its own and on one core, these are busy throughout. OpenVINO calls such pieces streams. What they
come to is added as that of replicas is (`Cluster`); unlike replicas they share one copy of the weights.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import keras
import tensorflow as tf

from regard.batch import Batch
from regard.data.processes import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")
Sums = list[tf.Tensor]  # the gradient of each weight, then the sum of losses and the count of labels

SEEDS_APART = 0x9E3779B1  # 2**32 over the golden ratio: between what replicas or streams draw their noise from
_THREADS = "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"


def usual_streams() -> int:
    """What `training.streams = "auto"` means here, for one replica: 2 where TensorFlow may use two cores of a
    processor, 1 elsewhere, for neither GPUs nor more cores have been measured."""
    said = os.environ.get(_THREADS[0], "")
    cores = int(said) if said.isdecimal() and int(said) else available_cores()
    return 2 if cores == 2 and not tf.config.list_physical_devices("GPU") else 1


def share_cores(streams: int) -> None:
    """Let each operation of this process have one core, where there are as many streams as cores. More cores stay one
    pool that operations of all streams are spread over, and so does what TF_NUM_INTRAOP_THREADS or
    TF_NUM_INTEROP_THREADS says.

    To be called before TensorFlow makes its first tensor: later nothing changes, and the streams share its pool.
    """
    if streams == 1 or available_cores() > streams or any(os.environ.get(name) for name in _THREADS):
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(streams)
    except RuntimeError:  # TensorFlow is at work
        return


def pieces_of(batches: Sequence[Batch], streams: int) -> list[list[Batch]]:
    """What is computed at the same time, group by group: `streams` whole micro-batches where that comes out even, else
    the rows of one, of which some pieces have one more than others, or none."""
    if len(batches) % streams == 0:
        return [list(batches[first : first + streams]) for first in range(0, len(batches), streams)]
    return [[_rows(batch, piece, streams) for piece in range(streams)] for batch in batches]


def _rows(batch: Batch, piece: int, pieces: int) -> Batch:
    count = len(next(iter(batch.values())))
    first, last = count * piece // pieces, count * (piece + 1) // pieces
    return {key: value[first:last] for key, value in batch.items()}


def side_by_side(
    function: Callable[[Item], Result], items: Iterable[Item], streams: int
) -> Generator[tuple[Item, Result], None, None]:
    """Each item with what the function makes of it, in order; so many are at work at the same time."""
    if streams == 1:
        yield from ((item, function(item)) for item in items)
        return
    with ThreadPoolExecutor(streams, "stream") as threads:
        begun: deque[tuple[Item, Future[Result]]] = deque()
        for item in items:
            begun.append((item, threads.submit(function, item)))
            if len(begun) == streams:
                first, made = begun.popleft()
                yield first, made.result()
        yield from ((item, made.result()) for item, made in begun)


class Streams:
    """So many threads that compute gradients from one graph, each with noise of its own, the same in every run."""

    def __init__(
        self, count: int, model: Any, gradients: Callable[[Batch], Sums], signature: dict[str, tf.TensorSpec]
    ) -> None:
        """gradients: of one piece, as of `Sums`. signature: of a batch."""
        self.count = count
        self._gradients = gradients
        self._seeds = [seed for seed in model.non_trainable_variables if "seed_generator_state" in seed.path]
        noise = [tf.TensorSpec(seed.shape, seed.value.dtype) for seed in self._seeds]
        self._piece = tf.function(self._of_piece, input_signature=[signature, noise], autograph=False)
        self._noises = tf.function(self._noise_of_each, input_signature=[], autograph=False)
        self._threads, self._traced = ThreadPoolExecutor(count, "stream"), False

    def run(self, pieces: Sequence[Batch]) -> tuple[list[Sums], list[tf.Tensor]]:
        """The sums of each piece, and where the noise has come to, for `go_on`. As many pieces as there are streams."""
        if not self._traced:  # here, not in a thread: Keras and TensorFlow keep settings a thread
            self._piece.get_concrete_function()
            self._traced = True
        begun = [self._threads.submit(self._piece, *each) for each in zip(pieces, self._noises(), strict=True)]
        try:
            done = [each.result() for each in begun]
        finally:  # no thread is at work when an error, or a signal, leads on to something else
            wait(begun)
        return [sums for sums, _ in done], done[0][1]

    def go_on(self, noise: Sequence[tf.Tensor]) -> None:
        """Let the next pieces draw other noise than those did."""
        for seed, state in zip(self._seeds, noise, strict=True):
            seed.assign(state)

    def _of_piece(self, batch: Batch, noise: list[tf.Tensor]) -> tuple[Sums, list[tf.Tensor]]:
        # Inside, what a layer writes to a seed stays here: threads that wrote to the variable would do so in any order.
        with keras.StatelessScope(state_mapping=zip(self._seeds, noise, strict=True)) as scope:
            sums = self._gradients(batch)
            return sums, [tf.convert_to_tensor(scope.get_current_value(seed)) for seed in self._seeds]

    def _noise_of_each(self) -> list[list[tf.Tensor]]:
        apart = [tf.constant([piece * SEEDS_APART, 0], tf.int64) for piece in range(self.count)]
        return [[seed.value + each for seed in self._seeds] for each in apart]
