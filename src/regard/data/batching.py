"""Rows -> batches: token budget, few static shapes, an order that depends on (seed, epoch) alone.

Each row falls into one of a few shapes, (S, T) for pairs and (S,) for what has one side, chosen from the lengths so
that little is padding. An epoch's plan is a permutation cut into batches; a position in it is two integers.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.batch import IGNORED_LABEL
from regard.errors import DataError

MULTIPLE = 4  # sizes are multiples of it, but for one that stops at max_tokens
MAX_SHAPES = 16
LEAST_GAIN = 0.005  # one shape more must save this share of all cells, and a batch of cells
PREFETCH = 4  # batches made ahead, in a thread

Rows = NDArray[np.int64]
ArrayBatch = dict[str, NDArray[Any]]


class Position(NamedTuple):
    """The next batch to come: all that is needed to go on exactly."""

    epoch: int = 0
    batch: int = 0


START = Position(0, 0)


class Tally(NamedTuple):
    """What a batch holds."""

    targets: int  # tokens that the model learns to write, or reads where it writes none
    real: int  # tokens, of both sides where there are two
    places: int  # tokens and padding


class Batches(ABC):
    """Batches, epoch after epoch: each a pure function of the data, the seed, the epoch and its number."""

    two_sided = False  # labels are a text of their own, and not of the places of `input_ids`

    def __init__(self) -> None:
        self._cached_plan = lru_cache(maxsize=2)(self._make_plan)

    @abstractmethod
    def _make_plan(self, epoch: int) -> Sequence[Any]:
        """What `_assemble` needs of each batch of an epoch."""

    @abstractmethod
    def _assemble(self, planned: Any, epoch: int) -> ArrayBatch:
        """The arrays of one batch."""

    def plan(self, epoch: int = 0) -> Any:
        """The batches of an epoch: a pure function of the data, the budget, the seed and the epoch."""
        return self._cached_plan(epoch)

    def epoch_length(self, epoch: int = 0) -> int:
        """Batches in an epoch."""
        return len(self.plan(epoch))

    def iterate(self, position: Position = START) -> Iterator[tuple[ArrayBatch, Position]]:
        """The batches from `position` on, each with the position after it; epochs follow without end."""
        with ThreadPoolExecutor(1, "batches") as thread:
            ahead: deque[tuple[Future[ArrayBatch], Position]] = deque()
            while True:
                while len(ahead) < PREFETCH:
                    epoch = position.epoch
                    made = thread.submit(self._assemble, self.plan(epoch)[position.batch], epoch)
                    position = self._after(position)
                    ahead.append((made, position))
                made, following = ahead.popleft()
                yield made.result(), following

    def epoch(self, epoch: int = 0) -> Iterator[ArrayBatch]:
        """The batches of one epoch."""
        plan = self.plan(epoch)
        return (self._assemble(plan[batch], epoch) for batch in range(len(plan)))

    def rows(self, epoch: int = 0) -> Iterator[list[int]]:
        """Which rows of the data each batch of an epoch is made of; none where a batch is made of parts of them."""
        return iter([[]] * self.epoch_length(epoch))

    def tally(self, batch: ArrayBatch) -> Tally:
        """What a batch of these holds."""
        real, places = int(np.count_nonzero(batch["attention_mask"])), batch["input_ids"].size
        if not self.two_sided:
            return Tally(real, real, places)
        targets = int(np.count_nonzero(batch["labels"] != IGNORED_LABEL))
        return Tally(targets, targets + real, places + batch["labels"].size)

    def _after(self, position: Position) -> Position:
        epoch, batch = position
        if batch + 1 < self.epoch_length(epoch):
            return Position(epoch, batch + 1)
        return Position(epoch + 1, 0)


class PlannedBatch(NamedTuple):
    """Which rows, ascending, and the padded length of each side."""

    rows: Rows
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class EpochPlan(Sequence[PlannedBatch]):
    """The batches of an epoch: batch b is the rows order[begins[b]:ends[b]], in shape shapes[b]."""

    order: Rows  # (rows,)
    begins: Rows  # (batches,)
    ends: Rows  # (batches,)
    shapes: Rows  # (batches, sides): S, or S and T

    def __len__(self) -> int:
        return len(self.begins)

    def __getitem__(self, batch: Any) -> Any:
        if not 0 <= batch < len(self):
            raise IndexError(f"batch must be below {len(self)}, but is {batch}")
        rows = np.sort(self.order[self.begins[batch] : self.ends[batch]])
        return PlannedBatch(rows, tuple(map(int, self.shapes[batch])))


Arrange = Callable[[PlannedBatch, int], ArrayBatch]  # the rows of a batch, and the epoch -> its arrays


class BucketedBatches(Batches):
    """The batches of rows of one or two sides.

    Args:
        lengths: (rows, sides), in tokens.
        arrange: makes the arrays of a batch; a pure function.
        batch_tokens: a batch has batch_tokens // max(S, T) rows, and at least one.
        seed: with the epoch's number, what the order depends on.
        shuffle: False keeps the order within each shape, and the shapes in order.
        max_tokens: DataError if a side is longer, and no batch is padded beyond it; absent: any length.
    """

    def __init__(
        self,
        lengths: NDArray[np.int32],
        arrange: Arrange,
        *,
        batch_tokens: int,
        seed: int,
        shuffle: bool = True,
        max_tokens: int | None = None,
    ) -> None:
        super().__init__()
        self._lengths, self._arrange, self._seed, self._shuffle = lengths, arrange, seed, shuffle
        self.two_sided = lengths.shape[1] == 2
        longest = int(lengths.max())
        if max_tokens is not None and longest > max_tokens:
            raise DataError(
                f"the data holds a side of {longest} tokens, above max_tokens = {max_tokens}: prepare it with "
                f"data.max_tokens = {max_tokens}"
            )
        self.shapes = choose_shapes(lengths, batch_tokens, max_tokens)
        self._bucket = assign_shapes(lengths, self.shapes)
        self._rows = np.maximum(1, batch_tokens // self.shapes.max(1))

    def _make_plan(self, epoch: int) -> EpochPlan:
        count = len(self._bucket)
        bits = order_bits(self._seed, epoch)
        keys = bits.random_raw(count) if self._shuffle else np.arange(count)
        order = np.lexsort((keys, self._bucket))
        counts = np.bincount(self._bucket, minlength=len(self.shapes))
        bucket_ends = np.cumsum(counts)
        cuts = [np.arange(e - n, e, rows) for e, n, rows in zip(bucket_ends, counts, self._rows, strict=True)]
        begins = np.concatenate(cuts)
        buckets = np.repeat(np.arange(len(cuts)), [len(cut) for cut in cuts])
        ends = np.minimum(begins + self._rows[buckets], bucket_ends[buckets])
        turn = np.argsort(bits.random_raw(len(begins)), kind="stable") if self._shuffle else np.arange(len(begins))
        return EpochPlan(order, begins[turn], ends[turn], self.shapes[buckets[turn]])

    def rows(self, epoch: int = 0) -> Iterator[list[int]]:
        return (planned.rows.tolist() for planned in self.plan(epoch))

    def padding_share(self, epoch: int = 0) -> float:
        """The share of the cells of all sides that holds no token."""
        plan = self.plan(epoch)
        cells = int(((plan.ends - plan.begins) * plan.shapes.sum(1)).sum())
        return 1 - int(self._lengths.sum(dtype=np.int64)) / cells

    def _assemble(self, planned: PlannedBatch, epoch: int) -> ArrayBatch:
        return self._arrange(planned, epoch)


def order_bits(seed: int, epoch: int) -> np.random.Philox:
    """What an epoch's order is drawn from."""
    # Bits and not a Generator's permutation: NumPy promises that the bits stay the same in every version.
    return np.random.Philox(np.random.SeedSequence([seed, epoch]))


def padded(ids: NDArray[Any], lengths: NDArray[Any], size: int, fill: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Rows end to end (total,) with their lengths (R,) -> (R, size), each behind `fill`, and where the rows are."""
    real = np.arange(size) < lengths[:, None]
    rows = np.full(real.shape, fill, np.int32)
    rows[real] = ids
    return rows, real


def choose_shapes(lengths: NDArray[np.int32], batch_tokens: int, max_tokens: int | None = None) -> Rows:
    """A few (S, T) or (S,), smallest first, that hold all `lengths` (n, sides) with little padding. -> (shapes, sides).

    max_tokens: no size goes beyond it, for the model may have no more positions.

    Greedy: from the shape that holds every row, add the one that saves most cells, as long as it saves enough.
    """
    sizes = _sizes(int(lengths.max()))
    largest = -(-lengths.max(0).astype(np.int64) // MULTIPLE) * MULTIPLE
    if max_tokens is not None:
        largest = np.minimum(largest, max_tokens)
    sides = lengths.shape[1]
    grid = np.meshgrid(*[sizes] * sides, indexing="ij")
    candidates = np.minimum(np.stack(grid, -1).reshape(-1, sides), largest)
    nearest = np.searchsorted(sizes, lengths) @ (len(sizes) ** np.arange(sides)[::-1])
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
    """The padded size of each kind of row once `shape` may be used too."""
    return np.where((cells <= shape).all(1), np.minimum(cost, shape.sum()), cost)


def assign_shapes(lengths: NDArray[np.int32], shapes: Rows) -> NDArray[np.int8]:
    """The index of the smallest shape that holds each row: `lengths` (n, sides), `shapes` smallest first -> (n,)."""
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
