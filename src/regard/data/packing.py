"""Documents -> windows of one length, many documents in each: no token of one attends to another's, so nothing but the
place is shared.

It happens when batches are made, and not when data is prepared: another window or batch size then needs no new
preparation, and each epoch puts other documents side by side.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from regard.batch import IGNORED_LABEL
from regard.data.batching import ArrayBatch, Batches, Rows, order_bits
from regard.data.mixture import Mixture
from regard.data.shards import TokenShards, ranges

MOST_EMPTY = 0.02  # of the places; where whole documents leave more, some are cut where a window ends


class Pieces(NamedTuple):
    """Stretches of documents, all (pieces,): the document, the first token, how many."""

    rows: Rows
    begins: Rows
    lengths: Rows

    def at(self, places: Any) -> "Pieces":
        """These pieces alone, in this order."""
        return Pieces(*(each[places] for each in self))


def windows(lengths: NDArray[Any], window: int, shared: int = 0) -> Pieces:
    """Each document whole, or where it is longer in windows; neighbours share so many tokens. lengths: (documents,)."""
    lengths = lengths.astype(np.int64)
    counts = np.maximum(1, -(-(lengths - shared) // (window - shared)))
    rows = np.repeat(np.arange(len(lengths)), counts)
    begins = ranges(np.zeros(len(counts), np.int64), counts) * (window - shared)
    return Pieces(rows, begins, np.minimum(window, lengths[rows] - begins))


def best_fit(lengths: Rows, window: int, keys: NDArray[Any]) -> Rows:
    """The bin of each piece, (pieces,), longest first into the fullest bin with room for it (Johnson 1973).

    keys: order pieces of equal length. Equal lengths are placed together: a million documents take under 2 s.
    """
    order = np.lexsort((keys, -lengths))
    sizes, firsts = np.unique(-lengths[order], return_index=True)
    ends = [*firsts[1:], len(order)]
    bins = np.empty(len(order), np.int64)
    room = _Room()
    for size, at, end in zip(-sizes, firsts, ends, strict=True):
        while at < end:
            left, chosen = room.take(int(size), int(end - at), window)
            each = left // int(size)
            count = min(end - at, each * len(chosen))
            bins[order[at : at + count]] = np.repeat(chosen, each)[:count]
            full = count // each
            room.give(left - each * int(size), chosen[:full])
            if full < len(chosen):
                room.give(left - (count - full * each) * int(size), chosen[full:])
            at += count
    return bins


class _Room:
    """The bins by the room that is left in them."""

    def __init__(self) -> None:
        self.bins = 0
        self._sizes: list[int] = []  # rooms that some bin has, ascending
        self._having: dict[int, list[Rows]] = {}

    def take(self, size: int, pieces: int, window: int) -> tuple[int, Rows]:
        """Bins with the least room that does for `size`, as many as `pieces` fill, and that room; else new ones."""
        place = bisect_left(self._sizes, size)
        if place == len(self._sizes):
            count = -(-pieces // (window // size))
            self.bins += count
            return window, np.arange(self.bins - count, self.bins)
        left = self._sizes[place]
        wanted, found = -(-pieces // (left // size)), self._having[left].pop()
        if len(found) > wanted:
            self._having[left].append(found[wanted:])
            found = found[:wanted]
        if not self._having[left]:
            del self._having[left], self._sizes[place]
        return left, found

    def give(self, left: int, bins: Rows) -> None:
        if left and len(bins):
            if left not in self._having:
                insort(self._sizes, left)
                self._having[left] = []
            self._having[left].append(bins)


def cut_to_fit(pieces: Pieces, window: int) -> tuple[Pieces, Rows]:
    """The pieces end to end, cut where a window ends; a token there is in both parts, so that it is read before what
    follows it. -> the parts, and the bin of each."""
    found: list[tuple[int, int, int]] = []
    bins: list[int] = []
    number, room = 0, window
    for row, begin, length in zip(*(each.tolist() for each in pieces), strict=True):
        while length > room:
            if room > 1:
                found.append((row, begin, room))
                bins.append(number)
                begin, length = begin + room - 1, length - room + 1
            number, room = number + 1, window
        found.append((row, begin, length))
        bins.append(number)
        room -= length
    parts = np.array(found, np.int64).T
    return Pieces(*parts), np.array(bins, np.int64)


class PackedPlan(NamedTuple):
    """The windows of an epoch: window w is the pieces from starts[w] to starts[w + 1]."""

    pieces: Pieces
    starts: Rows  # (windows + 1,)

    @property
    def windows(self) -> int:
        return len(self.starts) - 1


class PackedBatches(Batches):
    """The batches of documents for a language model.

    -> input_ids, attention_mask, segment_ids (from 1, 0 in padding), position_ids (from 0 in each piece) and labels:
    (B, window) int32. The first token of a piece is no label, for nothing is read before it; a document longer than the
    window is read in several, which share a token, so each of its tokens but the first is a label once.

    Args:
        shards: one column, the ids of a document.
        window: tokens.
        batch_tokens: a batch has batch_tokens // window windows, and at least one.
        seed: with the epoch's number, what the order depends on.
        shuffle: False keeps the order, and every document that fits whole: for validation, whose loss then is exact.
        mixture: makes what an epoch is made of, given the document of each piece; absent: each piece once.
    """

    def __init__(
        self,
        shards: TokenShards,
        *,
        window: int,
        batch_tokens: int,
        seed: int,
        pad_id: int,
        shuffle: bool = True,
        mixture: Callable[[Rows], Mixture | None] = lambda _: None,
    ) -> None:
        super().__init__()
        self._shards, self._window, self._pad_id = shards, window, pad_id
        self._rows = max(1, batch_tokens // window)
        self._seed, self._shuffle = seed, shuffle
        self._pieces = windows(shards.lengths[:, 0], window, shared=1)
        self.mixture = mixture(self._pieces.rows)
        # Two threads ask for it: one plans ahead, the other makes batches of an epoch that may lie several behind.
        self._cached_packing = lru_cache(maxsize=2)(self._packed)

    def packing(self, epoch: int = 0) -> PackedPlan:
        """The windows of an epoch: a pure function of the data, the window, the seed and the epoch."""
        return self._cached_packing(epoch)

    def _of_epoch(self, epoch: int) -> Pieces:
        return self._pieces if self.mixture is None else self._pieces.at(self.mixture.rows(epoch))

    def _packed(self, epoch: int) -> PackedPlan:
        pieces, bits = self._of_epoch(epoch), order_bits(self._seed, epoch)
        count, real = len(pieces.rows), int(pieces.lengths.sum())
        keys = bits.random_raw(count) if self._shuffle else np.arange(count, dtype=np.uint64)
        bins = best_fit(pieces.lengths, self._window, keys)
        found = int(bins.max()) + 1
        least = -(-real // self._window)
        if self._shuffle and found > least and real < (1 - MOST_EMPTY) * found * self._window:
            pieces = pieces.at(np.argsort(keys, kind="stable"))
            pieces, bins = cut_to_fit(pieces, self._window)
            found = int(bins.max()) + 1
        turn = np.argsort(bits.random_raw(found), kind="stable") if self._shuffle else np.arange(found)
        bins = np.argsort(turn)[bins]
        order = np.argsort(bins, kind="stable")
        return PackedPlan(pieces.at(order), np.searchsorted(bins[order], np.arange(found + 1)))

    def _make_plan(self, epoch: int) -> Sequence[tuple[int, int]]:
        count = self.packing(epoch).windows
        return [(first, min(first + self._rows, count)) for first in range(0, count, self._rows)]

    def empty_share(self, epoch: int = 0) -> float:
        """The share of the places that holds no token."""
        plan = self.packing(epoch)
        return 1 - int(plan.pieces.lengths.sum()) / (plan.windows * self._window)

    def describe(self) -> str:
        """What became of the documents of the first epoch, for people."""
        plan, documents = self.packing(0), len(self._shards)
        cut = len(plan.pieces.rows) - len(self._of_epoch(0).rows)
        split = int((self._shards.lengths[:, 0] > self._window).sum())
        return (
            f"packing: {documents:,} documents in {plan.windows:,} windows of {self._window} tokens, "
            f"{self.empty_share():.2%} empty; {split:,} are longer than a window, and {cut:,} cuts fill others"
        )

    def _assemble(self, planned: tuple[int, int], epoch: int) -> ArrayBatch:
        first, last = planned
        plan = self.packing(epoch)
        starts = plan.starts[first : last + 1]
        pieces = plan.pieces.at(slice(starts[0], starts[-1]))
        inside = np.arange(len(pieces.rows))
        row = np.searchsorted(starts[1:] - starts[0], inside, side="right")  # of the batch
        before = np.cumsum(pieces.lengths) - pieces.lengths
        first_piece = starts[row] - starts[0]
        place = row * self._window + before - before[first_piece]
        segment = inside - first_piece + 1
        order = np.argsort(pieces.rows, kind="stable")  # as the shards want them
        lengths = pieces.lengths[order]
        cells = ranges(place[order], lengths)
        ids = self._shards.slices(pieces.rows[order], 0, pieces.begins[order], lengths)
        batch = self._blank(last - first)
        batch["input_ids"].flat[cells] = batch["labels"].flat[cells] = ids
        batch["labels"].flat[place] = IGNORED_LABEL
        batch["attention_mask"].flat[cells] = 1
        batch["segment_ids"].flat[cells] = np.repeat(segment[order], lengths)
        batch["position_ids"].flat[cells] = ranges(np.zeros_like(lengths), lengths)
        return batch

    def _blank(self, rows: int) -> ArrayBatch:
        fills = {"input_ids": self._pad_id, "labels": IGNORED_LABEL}
        keys = ("input_ids", "attention_mask", "segment_ids", "position_ids", "labels")
        return {key: np.full((rows, self._window), fills.get(key, 0), np.int32) for key in keys}
