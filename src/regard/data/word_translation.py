"""Which target tokens a source token translates to, counted in pairs of texts: Model 1 of Brown et al. 1993.

The model: each token of a target is the translation of one token of its source, or of none, and all of these are as
likely. Expectation-maximisation then finds t(target | source), from any start the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from regard.data.shards import ranges
from regard.errors import DataError

ITERATIONS = 5  # as fast_align has it; more sharpens what is clear already
CELLS = 1 << 21  # pairs of tokens at once
_MOST_ENTRIES = 1 << 28  # of the table: 3 GB


class Texts(NamedTuple):
    """Texts of tokens, end to end."""

    ids: NDArray[np.int32]  # (total,)
    lengths: NDArray[np.int64]  # (n,)


class WordTranslations(NamedTuple):
    """t(target | source) of all tokens that stand in one pair of texts, by source, then target."""

    sources: NDArray[np.int64]  # (E,)
    targets: NDArray[np.int64]  # (E,)
    probabilities: NDArray[np.float32]  # (E,): of one source, they sum to 1


@dataclass(frozen=True)
class _Block:
    """Some pairs: each token of a target beside all tokens of its source."""

    entries: NDArray[np.int64]  # of the whole table: those of this block
    cells: NDArray[np.int32]  # which of `entries` each cell is
    begins: NDArray[np.int64]  # where the cells of each token of a target begin
    widths: NDArray[np.int64]  # how many there are
    targets: NDArray[np.int32]


def word_translations(
    sources: Texts, targets: Texts, vocab_size: int, iterations: int = ITERATIONS
) -> WordTranslations:
    """Count in pairs of texts whose ids are below `vocab_size`. It holds 4 bytes for each pair of tokens in a pair of
    texts. Raises DataError where no pair has two texts, or the table would be too large."""
    keys, blocks = _numbered([*_blocks(sources, targets, vocab_size)])
    of, into = np.divmod(keys, vocab_size)
    table, unsaid = np.ones(len(keys), np.float32), np.ones(vocab_size, np.float32)
    for _ in range(iterations):
        counts, of_nothing = np.zeros(len(keys)), np.zeros(vocab_size)
        for block in blocks:
            chances = table[block.entries][block.cells]
            alone = unsaid[block.targets]
            totals = np.add.reduceat(chances, block.begins) + alone
            shares = chances / np.repeat(totals, block.widths)
            counts[block.entries] += np.bincount(block.cells, shares, len(block.entries))
            of_nothing += np.bincount(block.targets, alone / totals, vocab_size)
        sums = np.bincount(of, counts, vocab_size)
        table = (counts / np.maximum(sums, np.finfo(np.float64).tiny)[of]).astype(np.float32)
        unsaid = (of_nothing / of_nothing.sum()).astype(np.float32)
    return WordTranslations(of, into, table)


def _blocks(sources: Texts, targets: Texts, vocab_size: int) -> Iterator[tuple[NDArray[np.int64], _Block]]:
    """The pairs, some at a time, and the keys of what stands in them: source * V + target."""
    source_starts, target_starts = (np.cumsum(text.lengths) - text.lengths for text in (sources, targets))
    pairs = np.flatnonzero((sources.lengths > 0) & (targets.lengths > 0))
    if not len(pairs):
        raise DataError("words are counted in pairs of texts, but there is none with tokens on both sides")
    sizes = np.cumsum(sources.lengths[pairs] * targets.lengths[pairs])
    for part in np.split(pairs, np.flatnonzero(np.diff(sizes // CELLS)) + 1):
        into = targets.ids[ranges(target_starts[part], targets.lengths[part])]
        starts, widths = (np.repeat(of[part], targets.lengths[part]) for of in (source_starts, sources.lengths))
        of = sources.ids[ranges(starts, widths)]
        found, cells = np.unique(of.astype(np.int64) * vocab_size + np.repeat(into, widths), return_inverse=True)
        yield found, _Block(found, cells.reshape(-1).astype(np.int32), np.cumsum(widths) - widths, widths, into)


def _numbered(found: list[tuple[NDArray[np.int64], _Block]]) -> tuple[NDArray[np.int64], list[_Block]]:
    """The keys of all blocks, rising, and the blocks by their numbers in these."""
    keys = np.unique(np.concatenate([of_block for of_block, _ in found]))
    if len(keys) > _MOST_ENTRIES:
        raise DataError(
            f"{len(keys):,} pairs of tokens are too many to count ({_MOST_ENTRIES:,}): count in fewer texts"
        )
    return keys, [
        _Block(np.searchsorted(keys, of_block), block.cells, block.begins, block.widths, block.targets)
        for of_block, block in found
    ]


def likeliest(table: WordTranslations, vocab_size: int, best: int) -> NDArray[np.int32]:
    """The `best` targets of each source, likeliest first, of equal ones the lower id: (V, best), -1 for no more."""
    order = np.lexsort((table.targets, -table.probabilities, table.sources))
    sources, targets, probabilities = (part[order] for part in table)
    begins = np.searchsorted(sources, np.arange(vocab_size))
    rank = np.arange(len(sources)) - begins[sources]
    kept = (rank < best) & (probabilities > 0)
    found = np.full((vocab_size, best), -1, np.int32)
    found[sources[kept], rank[kept]] = targets[kept]
    return found


def most_frequent(texts: Texts, vocab_size: int, count: int) -> NDArray[np.int32]:
    """The `count` most frequent tokens, the most frequent first, of equal ones the lower id; fewer if there are."""
    occurrences = np.bincount(texts.ids, minlength=vocab_size)
    order = np.argsort(-occurrences, kind="stable")[:count]
    return order[occurrences[order] > 0].astype(np.int32)
