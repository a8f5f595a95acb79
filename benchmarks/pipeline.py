"""What the data pipeline delivers alone: real tokens a second, and padding, of bucketed pairs and of packed documents.

    python benchmarks/pipeline.py [--rows 110000] [--seconds 10] [--run RUN]

The lengths are log-normal, as those of the English-German recipe (mean 25 and 29 tokens), at most 128; --run takes a
prepared run's pairs instead. Each case is timed over `Batches.iterate`, thread and all, its first epoch's plan apart.
Prints a table and writes benchmarks/results/pipeline.json. On a shared machine times are no results but beside another
time of the same run: `training` is to be held against `tokens_per_second` in the run's metrics.jsonl.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard.data.batching import Batches
from regard.data.objectives.text_to_text import pair_batches
from regard.data.packing import PackedBatches
from regard.data.shards import PreparedData, TokenShards, write_shard

RESULTS = Path(__file__).parent / "results" / "pipeline.json"
MOST, PER_SHARD = 128, 16_384


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=110_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--run", type=Path, help="a run directory whose pairs are prepared")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        pairs = prepared_pairs(arguments.run) or shards_of(Path(directory) / "pairs", pair_lengths(arguments.rows))
        documents = shards_of(Path(directory) / "documents", document_lengths(arguments.rows // 10))
        rows = [measure(name, make, arguments.seconds) for name, make in cases(pairs, documents).items()]
    print("| batches | real tokens/s | padding | shapes | plan of an epoch |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['case']} | {row['tokens_per_second']:,.0f} | {row['padding']:.2%} | {row['shapes']} "
            f"| {row['plan_seconds']:.2f} s |"
        )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def cases(pairs: TokenShards, documents: TokenShards) -> dict[str, Callable[[], Batches]]:
    def bucketed(tokens: int) -> Callable[[], Batches]:
        return lambda: pair_batches(pairs, batch_tokens=tokens, seed=0, pad_id=0, max_tokens=MOST)

    def packed(window: int) -> Callable[[], Batches]:
        return lambda: PackedBatches(documents, window=window, batch_tokens=8192, seed=0, pad_id=0)

    buckets = {f"pairs by length, {tokens:,} tokens": bucketed(tokens) for tokens in (4096, 8192)}
    return {**buckets, **{f"documents packed to {window}": packed(window) for window in (256, 1024)}}


def measure(case: str, make: Callable[[], Batches], seconds: float) -> dict[str, Any]:
    began = time.perf_counter()
    batches = make()
    batches.plan(0)
    planned, real, places, shapes = time.perf_counter() - began, 0, 0, set()
    began = time.perf_counter()
    for batch, position in batches.iterate():
        tally = batches.tally(batch)
        real, places = real + tally.real, places + tally.places
        shapes.add(tuple(array.shape for array in batch.values()))
        if position.epoch > 0 or time.perf_counter() - began > seconds:
            break
    spent = time.perf_counter() - began
    found = {"case": case, "tokens_per_second": real / spent, "padding": 1 - real / places}
    return {**found, "shapes": len(shapes), "plan_seconds": planned}


def pair_lengths(rows: int) -> NDArray[np.int64]:
    """(rows, 2): two sides of like lengths."""
    rng = np.random.default_rng(0)
    length = rng.lognormal(2.85, 0.85, rows)
    sides = length * rng.lognormal(0, 0.08, rows), 1.15 * length * rng.lognormal(0, 0.2, rows)
    return np.clip(np.column_stack(sides) + 1, 2, MOST).astype(np.int64)


def document_lengths(rows: int) -> NDArray[np.int64]:
    """(rows, 1): mean 500."""
    return np.clip(np.random.default_rng(1).lognormal(5.7, 1.0, (rows, 1)), 2, 20_000).astype(np.int64)


def shards_of(directory: Path, lengths: NDArray[np.int64]) -> TokenShards:
    directory.mkdir()
    names = []
    for first in range(0, len(lengths), PER_SHARD):
        part = lengths[first : first + PER_SHARD]
        totals = part.sum(1)
        index = np.column_stack([np.cumsum(totals) - totals, part])
        tokens = np.random.default_rng(first).integers(1, 8000, int(totals.sum())).astype(np.int32)
        names.append(f"train-{first // PER_SHARD:05d}")
        write_shard(directory, names[-1], index, tokens, None)
    return TokenShards(directory, names, "")


def prepared_pairs(run: Path | None) -> TokenShards | None:
    return None if run is None else PreparedData.open(run / "data").split("train")


if __name__ == "__main__":
    main()
