"""Pairs -> batches: token budget, few static shapes, an order that depends on (seed, epoch) alone.

Each pair falls into one of a few shapes (S, T), chosen from the lengths so that little is padding. An epoch's plan
is a permutation cut into batches; a position in it is two integers.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.batch import IGNORED_LABEL
from regard.data.shards import PairShards
from regard.errors import DataError

MULTIPLE = 4  # sizes are multiples of it, but for one that stops at max_tokens
MAX_SHAPES = 16
LEAST_GAIN = 0.005  # one shape more must save this share of all cells, and a batch of cells
PREFETCH = 4  # batches made ahead, in a thread

Rows = NDArray[np.int64]
ArrayBatch = dict[str, NDArray[np.int32]]


class Position(NamedTuple):
    """The next batch to come: all that is needed to go on exactly."""

    epoch: int = 0
    batch: int = 0


START = Position(0, 0)


class PlannedBatch(NamedTuple):
    """Which pairs, ascending, and the padded lengths of source and target."""

    rows: Rows
    source_size: int
    target_size: int


@dataclass(frozen=True)
class EpochPlan:
    """The batches of an epoch: batch b is the pairs order[begins[b]:ends[b]], in shape shapes[b]."""

    order: Rows  # (pairs,)
    begins: Rows  # (batches,)
    ends: Rows  # (batches,)
    shapes: Rows  # (batches, 2): S, T

    def __len__(self) -> int:
        return len(self.begins)

    def __getitem__(self, batch: int) -> PlannedBatch:
        if not 0 <= batch < len(self):
            raise IndexError(f"batch must be below {len(self)}, but is {batch}")
        rows = np.sort(self.order[self.begins[batch] : self.ends[batch]])
        source_size, target_size = map(int, self.shapes[batch])
        return PlannedBatch(rows, source_size, target_size)


class BucketedBatches:
    """The batches of prepared pairs, epoch after epoch.

    Args:
        shards: the pairs.
        batch_tokens: a batch has batch_tokens // max(S, T) rows, and at least one.
        seed: with the epoch's number, what the order depends on.
        pad_id: fills `input_ids` after the end of a source.
        shuffle: False keeps the order within each shape, and the shapes in order.
        max_tokens: DataError if a side is longer, and no batch is padded beyond it; absent: any length.
    """

    def __init__(
        self,
        shards: PairShards,
        *,
        batch_tokens: int,
        seed: int,
        pad_id: int,
        shuffle: bool = True,
        max_tokens: int | None = None,
    ) -> None:
        self._shards, self._seed, self._pad_id, self._shuffle = shards, seed, pad_id, shuffle
        longest = int(shards.lengths.max())
        if max_tokens is not None and longest > max_tokens:
            raise DataError(
                f"the data holds a side of {longest} tokens, above max_tokens = {max_tokens}: prepare it with "
                f"data.max_tokens = {max_tokens}"
            )
        self.shapes = choose_shapes(shards.lengths, batch_tokens, max_tokens)
        self._bucket = assign_shapes(shards.lengths, self.shapes)
        self._rows = np.maximum(1, batch_tokens // self.shapes.max(1))
        self._cached_plan = lru_cache(maxsize=2)(self._make_plan)

    def plan(self, epoch: int = 0) -> EpochPlan:
        """The batches of an epoch: a pure function of the data, the budget, the seed and the epoch."""
        return self._cached_plan(epoch)

    def _make_plan(self, epoch: int) -> EpochPlan:
        pairs = len(self._bucket)
        # Bits and not a Generator's permutation: NumPy promises that the bits stay the same in every version.
        bits = np.random.Philox(np.random.SeedSequence([self._seed, epoch]))
        keys = bits.random_raw(pairs) if self._shuffle else np.arange(pairs)
        order = np.lexsort((keys, self._bucket))
        counts = np.bincount(self._bucket, minlength=len(self.shapes))
        bucket_ends = np.cumsum(counts)
        cuts = [np.arange(e - n, e, rows) for e, n, rows in zip(bucket_ends, counts, self._rows, strict=True)]
        begins = np.concatenate(cuts)
        buckets = np.repeat(np.arange(len(cuts)), [len(cut) for cut in cuts])
        ends = np.minimum(begins + self._rows[buckets], bucket_ends[buckets])
        turn = np.argsort(bits.random_raw(len(begins)), kind="stable") if self._shuffle else np.arange(len(begins))
        return EpochPlan(order, begins[turn], ends[turn], self.shapes[buckets[turn]])

    def epoch_length(self, epoch: int = 0) -> int:
        """Batches in an epoch."""
        return len(self.plan(epoch))

    def padding_share(self, epoch: int = 0) -> float:
        """The share of the cells of `input_ids` and `labels` that holds no token."""
        plan = self.plan(epoch)
        cells = int(((plan.ends - plan.begins) * plan.shapes.sum(1)).sum())
        return 1 - int(self._shards.lengths.sum(dtype=np.int64)) / cells

    def iterate(self, position: Position = START) -> Iterator[tuple[ArrayBatch, Position]]:
        """The batches from `position` on, each with the position after it; epochs follow without end.

        -> input_ids (B,S), attention_mask (B,S), labels (B,T) with -100 in padding; int32.
        """
        with ThreadPoolExecutor(1, "batches") as thread:
            ahead: deque[tuple[Future[ArrayBatch], Position]] = deque()
            while True:
                while len(ahead) < PREFETCH:
                    made = thread.submit(self._assemble, self.plan(position.epoch)[position.batch])
                    position = self._after(position)
                    ahead.append((made, position))
                made, following = ahead.popleft()
                yield made.result(), following

    def epoch(self, epoch: int = 0) -> Iterator[ArrayBatch]:
        """The batches of one epoch."""
        plan = self.plan(epoch)
        return (self._assemble(plan[batch]) for batch in range(len(plan)))

    def _after(self, position: Position) -> Position:
        epoch, batch = position
        if batch + 1 < self.epoch_length(epoch):
            return Position(epoch, batch + 1)
        return Position(epoch + 1, 0)

    def _assemble(self, planned: PlannedBatch) -> ArrayBatch:
        rows, source_size, target_size = planned
        input_ids, real = self._padded(rows, 0, source_size, self._pad_id)
        labels, _ = self._padded(rows, 1, target_size, IGNORED_LABEL)
        return {"input_ids": input_ids, "attention_mask": real.astype(np.int32), "labels": labels}

    def _padded(self, rows: Rows, side: int, size: int, fill: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        real = np.arange(size) < self._shards.lengths[rows, side, None]
        ids = np.full(real.shape, fill, np.int32)
        ids[real] = self._shards.gather(rows, side)
        return ids, real


def choose_shapes(lengths: NDArray[np.int32], batch_tokens: int, max_tokens: int | None = None) -> Rows:
    """A few (S, T), smallest first, that hold all `lengths` (n, 2) with little padding. -> (shapes, 2).

    max_tokens: no size goes beyond it, for the model may have no more positions.

    Greedy: from the shape that holds every pair, add the one that saves most cells, as long as it saves enough.
    """
    sizes = _sizes(int(lengths.max()))
    largest = -(-lengths.max(0).astype(np.int64) // MULTIPLE) * MULTIPLE
    if max_tokens is not None:
        largest = np.minimum(largest, max_tokens)
    candidates = np.minimum(np.stack(np.meshgrid(sizes, sizes, indexing="ij"), -1).reshape(-1, 2), largest)
    nearest = np.searchsorted(sizes, lengths) @ [len(sizes), 1]
    counts = np.bincount(nearest, minlength=len(candidates))
    cells, counts = candidates[counts > 0], counts[counts > 0]
    chosen = [largest]
    cost = np.full(len(cells), chosen[0].sum())
    while len(chosen) < MAX_SHAPES:
        costs = [_cost_with(shape, cells, cost) for shape in candidates]
        totals = [counts @ each for each in costs]
        best = int(np.argmin(totals))
        saved = counts @ cost - totals[best]
        if saved < max(batch_tokens, LEAST_GAIN * (counts @ cost)):
            break
        chosen.append(candidates[best])
        cost = costs[best]
    return np.array(sorted(chosen, key=lambda shape: (shape.sum(), *shape)), np.int64)


def _cost_with(shape: Rows, cells: Rows, cost: Rows) -> Rows:
    """The padded size of each length pair once `shape` may be used too."""
    return np.where((cells <= shape).all(1), np.minimum(cost, shape.sum()), cost)


def assign_shapes(lengths: NDArray[np.int32], shapes: Rows) -> NDArray[np.int8]:
    """The index of the smallest shape that holds each pair. `lengths` (n, 2), `shapes` smallest first -> (n,) int8."""
    bucket = np.full(len(lengths), len(shapes), np.int8)
    for number in reversed(range(len(shapes))):
        bucket[(lengths <= shapes[number]).all(1)] = number
    return bucket


def _sizes(longest: int) -> Rows:
    """Multiples of MULTIPLE up to `longest` rounded up, about an eighth apart where they are large."""
    sizes = [MULTIPLE]
    while sizes[-1] < longest:
        sizes.append(sizes[-1] + MULTIPLE * max(1, sizes[-1] // (8 * MULTIPLE)))
    sizes[-1] = -(-longest // MULTIPLE) * MULTIPLE
    return np.array(sizes, np.int64)


def batches_by_length(lengths: ArrayLike | Sequence[int], batch_tokens: int) -> list[NDArray[Any]]:
    """Indices of `lengths` (n,) in batches of near lengths, longest first: rows * longest <= batch_tokens, or one row.

    `results[indices] = ...` for each batch restores the order.
    """
    values = np.asarray(lengths, np.int64)
    order = np.argsort(-values, kind="stable")
    batches = []
    while len(order):
        rows = max(1, batch_tokens // max(1, int(values[order[0]])))
        batches.append(order[:rows])
        order = order[rows:]
    return batches
