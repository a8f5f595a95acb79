"""How fast a run trains here: real tokens a second, padding, and the share of the machine's own matrix-product peak.

    python benchmarks/throughput.py runs/first [--presets tiny small base] [--steps 12]

Takes the batches of a prepared run and, for each preset and dtype, the time of whole training steps (forward, backward,
update; dropout and label smoothing on). The peak is that of a 2048 x 2048 x 2048 product in the same dtype, measured
between the presets in the same process. Prints a table and writes benchmarks/results/throughput.json. A figure on a
shared machine is a ratio within one run.
"""

import argparse
import json
import statistics
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from regard.batch import IGNORED_LABEL
from regard.config import OptimizerConfig
from regard.data.objectives.text_to_text import pair_batches
from regard.data.shards import PreparedData
from regard.models.catalog import spec
from regard.models.forms import build_model
from regard.specs import ModelSpec
from regard.training.optimizer import build_optimizer
from regard.training.step import TrainStep
from regard.training.streams import share_cores, usual_streams

RESULTS = Path(__file__).parent / "results" / "throughput.json"
DTYPES = {"float32": "float32", "mixed_bfloat16": "bfloat16"}
WARM_UP = 3  # steps that trace, and meet their first shapes


def peak(dtype: str, rounds: int = 9) -> float:
    """FLOP/s of a large matrix product: the median of several."""
    import tensorflow as tf

    size = 2048
    matrix = tf.cast(tf.random.normal((size, size)), dtype)
    product = tf.function(lambda a: tf.reduce_max(tf.matmul(a, a)[:1]))
    product(matrix).numpy()
    return 2 * size**3 / statistics.median(seconds_of(lambda: product(matrix).numpy()) for _ in range(rounds))


def seconds_of(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def flops_of_step(model: ModelSpec, rows: int, source: int, target: int) -> float:
    """Of the matrix products of one step over padded shapes: forward once, backward twice."""
    encoder, decoder, width = model.encoder, model.decoder, model.embedding.width
    assert encoder is not None
    assert decoder is not None
    square, fed = 2 * width**2, 4 * width * encoder.layer.ffn_width
    read = encoder.depth * source * (4 * square + fed + 4 * source * width)
    written = decoder.depth * (
        target * (6 * square + fed + 4 * target * width + 4 * source * width) + source * 2 * square
    )
    return 3 * rows * (read + written + target * 2 * width * model.embedding.vocab_size)


def measure(preset: str, dtype: str, data: PreparedData, batch_tokens: int, steps: int) -> dict[str, Any]:
    tokenizer = data.tokenizer
    model = build_model(
        spec(preset, vocab_size=tokenizer.vocab_size, pad_id=tokenizer.pad_id, eos_id=tokenizer.eos_id), dtype
    )
    step = TrainStep(
        model,
        build_optimizer(OptimizerConfig(), model.trainable_variables),
        keys=("input_ids", "attention_mask", "labels"),
        label_smoothing=0.1,
        clip_norm=1.0,
        streams=usual_streams(),
    )
    stream = pair_batches(data.split("train"), batch_tokens=batch_tokens, seed=0, pad_id=tokenizer.pad_id)
    batches = [batch for batch, _ in islice(stream.iterate(), WARM_UP + steps)]
    seconds = [seconds_of(lambda batch=batch: step([batch], 1e-4).numpy()) for batch in batches]
    timed = batches[WARM_UP:]
    spent = sum(seconds[WARM_UP:])
    targets = sum(int(np.count_nonzero(batch["labels"] != IGNORED_LABEL)) for batch in timed)
    flops = sum(
        flops_of_step(model.spec, len(batch["labels"]), batch["input_ids"].shape[1], batch["labels"].shape[1])
        for batch in timed
    )
    reached = peak(DTYPES[dtype])
    return {
        "preset": preset,
        "dtype": dtype,
        "target_tokens_per_second": targets / spent,
        "padding": stream.padding_share(0),
        "gflops": flops / spent / 1e9,
        "peak_gflops": reached / 1e9,
        "share_of_peak": flops / spent / reached,
        "first_step_seconds": seconds[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run directory whose data is prepared")
    parser.add_argument("--presets", nargs="+", default=["tiny", "small", "base"])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    share_cores(usual_streams())  # as `regard train` does
    data = PreparedData.open(arguments.run / "data")
    rows = []
    print("| preset | dtype | target tokens/s | padding | GFLOP/s | peak | share | first step |")
    print("|---|---|---|---|---|---|---|---|")
    for preset in arguments.presets:
        for dtype in arguments.dtypes:
            row = measure(preset, dtype, data, arguments.batch_tokens, arguments.steps)
            rows.append(row)
            print(
                f"| {preset} | {dtype} | {row['target_tokens_per_second']:,.0f} | {row['padding']:.1%} "
                f"| {row['gflops']:.0f} | {row['peak_gflops']:.0f} | {row['share_of_peak']:.0%} "
                f"| {row['first_step_seconds']:.1f} s |",
                flush=True,
            )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
