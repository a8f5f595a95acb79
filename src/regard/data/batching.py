"""Rows -> batches: token budget, few static shapes, an order that depends on (seed, epoch) alone.

Each row falls into one of a few sizes by its last side, chosen from the lengths so that little is padding: the targets'
of pairs, whose every size costs a compilation of the loss. Rows of one size lie in the order of their other side, which
each batch pads no further than its own longest. An epoch's plan is an order cut into batches; a position in it is two
integers.
"""

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.batch import IGNORED_LABEL
from regard.data.curriculum import Curriculum
from regard.data.mixture import Mixture
from regard.data.processes import available_cores
from regard.errors import DataError

MULTIPLE = 2  # sizes are multiples of it, but for one that stops at max_tokens
WIDE_MULTIPLE = 8  # of a source longer than the targets, as far as it decides how many rows there are
MAX_SHAPES = 32
LEAST_GAIN = 0.001  # one shape more must save this share of all cells, and a batch of cells
_OF_BATCHES = 1  # keeps what the batches' turn is drawn from apart from the rows'
PREFETCH = 4  # batches made ahead, in one thread or in several

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

    mixture: Mixture | None = None  # what an epoch is made of, where that is not each row once
    threads = 1  # that make batches ahead
    learns_all = True  # that it reads; else the labelled places alone
    two_sided = False  # labels are a text of their own, and not of the places of `input_ids`

    def __init__(self) -> None:
        self._cached_plan = lru_cache(maxsize=2)(self._make_plan)

    @abstractmethod
    def _make_plan(self, epoch: int) -> Sequence[Any]:
        """What `_assemble` needs of each batch of an epoch."""

    @abstractmethod
    def _assemble(self, planned: Any, epoch: int) -> ArrayBatch:
        """The arrays of one batch. Threads call it at the same time: it changes nothing."""

    def plan(self, epoch: int = 0) -> Any:
        """The batches of an epoch: a pure function of the data, the budget, the seed and the epoch."""
        return self._cached_plan(epoch)

    def epoch_length(self, epoch: int = 0) -> int:
        """Batches in an epoch."""
        return len(self.plan(epoch))

    def iterate(self, position: Position = START) -> Generator[tuple[ArrayBatch, Position]]:
        """The batches from `position` on, each with the position after it; epochs follow without end."""
        threads, ahead = ThreadPoolExecutor(self.threads, "batches"), deque[tuple[Future[ArrayBatch], Position]]()
        try:
            while True:
                while len(ahead) < PREFETCH:
                    epoch = position.epoch
                    made = threads.submit(self._assemble, self.plan(epoch)[position.batch], epoch)
                    position = self._after(position)
                    ahead.append((made, position))
                made, following = ahead.popleft()
                yield made.result(), following
        finally:
            threads.shutdown(cancel_futures=True)

    def epoch(self, epoch: int = 0) -> Iterator[ArrayBatch]:
        """The batches of one epoch."""
        plan = self.plan(epoch)
        return (self._assemble(plan[batch], epoch) for batch in range(len(plan)))

    def rows(self, epoch: int = 0) -> Iterator[list[int]]:
        """Which rows of the data each batch of an epoch is made of; none where a batch is made of parts of them."""
        return iter([[]] * self.epoch_length(epoch))

    def tally(self, batch: ArrayBatch) -> Tally:
        """What a batch of these holds."""
        if "input_ids" not in batch:  # of images or sounds: what is learned counts
            labels = int(np.count_nonzero(batch["labels"] != IGNORED_LABEL))
            return Tally(labels, labels, batch["labels"].size)
        real, places = int(np.count_nonzero(batch["attention_mask"])), batch["input_ids"].size
        if not self.two_sided and self.learns_all:
            return Tally(real, real, places)
        targets = int(np.count_nonzero(batch["labels"] != IGNORED_LABEL))
        if not self.two_sided:
            return Tally(targets, real, places)
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
        shuffle: False keeps the order of rows of like lengths, and the shapes in order.
        max_tokens: DataError if a side is longer, and no batch is padded beyond it; absent: any length.
        mixture: which rows an epoch is made of; absent: each once.
        curriculum: in which the first batches are short ones.
        kinds: (rows,), from 0: a batch's rows are all of one kind. For rows of one length, which these part as lengths
            part others.
        threads: that make batches ahead.
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
        mixture: Mixture | None = None,
        curriculum: Curriculum | None = None,
        kinds: NDArray[np.integer[Any]] | None = None,
        threads: int = 1,
    ) -> None:
        super().__init__()
        self.threads = threads
        self._lengths, self._arrange, self._seed, self._shuffle = lengths, arrange, seed, shuffle
        self.mixture, self._curriculum = mixture, curriculum
        self.two_sided = lengths.shape[1] == 2
        longest = int(lengths.max())
        if max_tokens is not None and longest > max_tokens:
            raise DataError(
                f"the data holds a side of {longest} tokens, above max_tokens = {max_tokens}: prepare it with "
                f"data.max_tokens = {max_tokens}"
            )
        self._batch_tokens, self._most = batch_tokens, max_tokens
        if kinds is None:
            self.shapes = choose_shapes(lengths[:, -1:], batch_tokens, max_tokens)
            kinds = assign_shapes(lengths[:, -1:], self.shapes)
        else:
            self.shapes = np.full((int(kinds.max()) + 1, 1), longest, np.int64)
        self._bucket = kinds
        self._cached_cuts = lru_cache(maxsize=2)(self._cut)

    def _make_plan(self, epoch: int) -> EpochPlan:
        order, begins, ends, shapes = self._cached_cuts(epoch)
        bits = np.random.Philox(np.random.SeedSequence([self._seed, epoch, _OF_BATCHES]))
        turn = np.argsort(bits.random_raw(len(begins)), kind="stable") if self._shuffle else np.arange(len(begins))
        if self._curriculum is not None:
            before = self._batches_before(epoch, self._curriculum.batches)
            turn = self._curriculum.turns(shapes.sum(1), turn, before, bits.random_raw(len(turn)))
        return EpochPlan(order, begins[turn], ends[turn], shapes[turn])

    def _cut(self, epoch: int) -> tuple[Rows, Rows, Rows, Rows]:
        """The rows of an epoch by their shapes, and where its batches begin and end, with the shape of each."""
        chosen = np.arange(len(self._bucket)) if self.mixture is None else self.mixture.rows(epoch)
        keys = order_bits(self._seed, epoch).random_raw(len(chosen)) if self._shuffle else np.arange(len(chosen))
        others = self._lengths[chosen, :-1].astype(np.int64)  # (rows, 1), or (rows, 0)
        order = np.lexsort((keys, *others.T, self._bucket[chosen]))
        bucket, others = self._bucket[chosen][order], others[order]
        bounds = np.searchsorted(bucket, np.arange(len(self.shapes) + 1))
        begins = [
            first + cut
            for (size,), first, last in zip(self.shapes, bounds[:-1], bounds[1:], strict=True)
            for cut in self._cuts(others[first:last].max(1, initial=0), int(size))
        ]
        ends = np.array([*begins[1:], len(order)], np.int64)
        longest = _up(others[ends - 1], MULTIPLE, self._most)
        return chosen[order], np.array(begins, np.int64), ends, np.hstack([longest, self.shapes[bucket[ends - 1]]])

    def _cuts(self, others: Rows, size: int) -> Iterator[int]:
        """Where batches of rows of one size begin, given their other side, ascending: as many rows as the budget holds
        of the longer side."""
        widths = np.maximum(size, _up(others, WIDE_MULTIPLE, self._most))
        most = max(1, self._batch_tokens // size)
        first = 0
        while first < len(widths):
            yield first
            cells = np.arange(1, most + 1)[: len(widths) - first] * widths[first : first + most]
            first += max(1, int(np.searchsorted(cells, self._batch_tokens, side="right")))

    def _batches_before(self, epoch: int, most: int) -> int:
        """How many batches all earlier epochs have, as far as it matters whether they are `most`."""
        before = 0
        for earlier in range(epoch):
            if before >= most:
                break
            before += len(self._cached_cuts(earlier)[1])
        return before

    def rows(self, epoch: int = 0) -> Iterator[list[int]]:
        return (planned.rows.tolist() for planned in self.plan(epoch))

    def padding_share(self, epoch: int = 0) -> float:
        """The share of the cells of all sides that holds no token."""
        plan = self.plan(epoch)
        cells = int(((plan.ends - plan.begins) * plan.shapes.sum(1)).sum())
        before = np.concatenate([[0], np.cumsum(self._lengths[plan.order].sum(1, dtype=np.int64))])
        return 1 - int((before[plan.ends] - before[plan.begins]).sum()) / cells

    def _assemble(self, planned: PlannedBatch, epoch: int) -> ArrayBatch:
        return self._arrange(planned, epoch)


def threads_to_feed() -> int:
    """As many as a training's pictures or sounds are worth: a thread a core, of this process's share where
    OMP_NUM_THREADS says one."""
    share = os.environ.get("OMP_NUM_THREADS", "")
    return min(PREFETCH, available_cores(), max(1, int(share)) if share.isdecimal() else PREFETCH)


def _up(lengths: Rows, multiple: int, most: int | None) -> Rows:
    """Rounded up to multiples, but not beyond `most`."""
    rounded = -(-lengths // multiple) * multiple
    return rounded if most is None else np.minimum(rounded, most)


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


def assign_shapes(lengths: NDArray[np.int32], shapes: Rows) -> NDArray[np.integer[Any]]:
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
