"""What the data pipeline delivers alone: texts, images and recordings, beside what training takes of them.

    python benchmarks/pipeline.py [--rows 110000] [--examples 1024] [--seconds 10] [--steps 3] [--run RUN]

Texts: bucketed pairs and packed documents, in real tokens a second, with their padding. The lengths are log-normal, as
those of the English-German recipe (mean 25 and 29 tokens), at most 128; --run takes a prepared run's pairs instead.
Beside them a step of `small`, or of gpt2-mini, is timed on a batch of them.
Images and recordings: those of four recipes, varied as each of them says, in examples a second. The examples are made
here, pictures of noise and noise of 1 to 4 seconds, for what they show takes no time; the padding of recordings is the
silence behind them. Beside them the recipe's own training step is timed on a batch of them (--steps 0: it is not).

Each case is timed over `Batches.iterate`, thread and all, the first epoch's plan apart. Prints two tables and writes
benchmarks/results/pipeline.json (or --results FILE). On a shared machine times are no results but beside another time
of the same run.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from regard.config import OptimizerConfig, RunConfig, parse_run
from regard.data.batching import ArrayBatch, Batches
from regard.data.objectives.text_to_text import pair_batches
from regard.data.objectives.transcribe import Transcribe
from regard.data.packing import PackedBatches
from regard.data.shards import PreparedData, TokenShards, write_shard
from regard.models.catalog import spec as translator_spec
from regard.models.forms import build_model
from regard.models.presets import PRESETS, Vocabulary, preset_spec
from regard.training.assembly import Rehearsal, batches_of, rehearsal
from regard.training.optimizer import build_optimizer
from regard.training.precision import resolve_dtype
from regard.training.state import versions
from regard.training.step import TrainStep
from regard.training.streams import share_cores, usual_streams

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "pipeline.json"
MOST, PER_SHARD, VOCABULARY = 128, 16_384, 8000
RECIPES = {
    "images of 28 x 28": "classify-image/fashion-mnist",
    "images of 64 x 64": "caption/emoji",
    "recordings, whole windows": "transcribe/espeak",
    "recordings, by length": "transcribe/espeak-ctc",
}
RATE = 16_000  # hz
PIXELS = 64  # a side of the pictures that are made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=110_000, help="of texts")
    parser.add_argument("--examples", type=int, default=1024, help="images, and recordings")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each case")
    parser.add_argument("--steps", type=int, default=3, help="of training that are timed")
    parser.add_argument("--run", type=Path, help="a run directory whose pairs are prepared")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE")
    arguments = parser.parse_args()
    share_cores(usual_streams())  # as `regard train` does
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        pairs = prepared_pairs(arguments.run) or shards_of(directory / "pairs", pair_lengths(arguments.rows))
        documents = shards_of(directory / "documents", document_lengths(arguments.rows // 10))
        texts = [measure(*case, arguments.seconds, arguments.steps) for case in cases(pairs, documents)]
        print_texts(texts)
        listing = write_examples(directory / "examples", arguments.examples)
        sensed = [
            measure_recipe(case, recipe_on(listing, recipe), directory / case, arguments.seconds, arguments.steps)
            for case, recipe in RECIPES.items()
        ]
        print_sensed(sensed)
    arguments.results.parent.mkdir(exist_ok=True)
    found = {"texts": texts, "images_and_recordings": sensed, "versions": versions()}
    arguments.results.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def print_texts(rows: list[dict[str, Any]]) -> None:
    print("| batches | real tokens/s | padding | shapes | plan of an epoch | model | training takes | times as many |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        beside = times_as_many(row["tokens_per_second"], row["training_per_second"])
        print(
            f"| {row['case']} | {row['tokens_per_second']:,.0f} | {row['padding']:.2%} | {row['shapes']} "
            f"| {row['plan_seconds']:.2f} s | {row['model']} | {beside} |"
        )


def print_sensed(rows: list[dict[str, Any]]) -> None:
    print("| batches | recipe | examples/s | padding | training takes | times as many |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        padding = "" if row["padding"] is None else f"{row['padding']:.1%}"
        beside = times_as_many(row["examples_per_second"], row["training_per_second"])
        print(f"| {row['case']} | {row['recipe']} | {row['examples_per_second']:,.0f} | {padding} | {beside} |")


def times_as_many(delivered: float, taken: float | None) -> str:
    return " | " if taken is None else f"{taken:,.0f} | {delivered / taken:,.1f}"


def cases(pairs: TokenShards, documents: TokenShards) -> Iterator[tuple[str, str, Callable[[], Batches]]]:
    """Name, model, and what makes the batches."""

    def bucketed(tokens: int) -> Callable[[], Batches]:
        return lambda: pair_batches(pairs, batch_tokens=tokens, seed=0, pad_id=0, max_tokens=MOST)

    def packed(window: int) -> Callable[[], Batches]:
        return lambda: PackedBatches(documents, window=window, batch_tokens=8192, seed=0, pad_id=0)

    for tokens in (2048, 4096, 8192):
        yield f"pairs by length, {tokens:,} tokens", "small", bucketed(tokens)
    for window in (256, 1024):
        yield f"documents packed to {window}", "gpt2-mini", packed(window)


def measure(case: str, model: str, make: Callable[[], Batches], seconds: float, steps: int) -> dict[str, Any]:
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
    found = {"case": case, "model": model, "tokens_per_second": real / spent, "padding": 1 - real / places}
    taken = tokens_trained(model, batches, steps) if steps else None
    return {**found, "shapes": len(shapes), "plan_seconds": planned, "training_per_second": taken}


def tokens_trained(name: str, batches: Batches, steps: int) -> float:
    """Real tokens that training a preset takes a second."""
    batch = next(batches.epoch())
    if name in PRESETS:
        spec = preset_spec(name, Vocabulary(VOCABULARY, 0, 1), "language")
    else:
        spec = translator_spec(name, vocab_size=VOCABULARY, pad_id=0, eos_id=1)
    model = build_model(spec, resolve_dtype("auto"))
    optimizer = build_optimizer(OptimizerConfig(), model.trainable_variables)
    step = TrainStep(model, optimizer, keys=tuple(batch), label_smoothing=0.1, clip_norm=1.0, streams=usual_streams())
    return batches.tally(batch).real / step_seconds(step, batch, steps)


def step_seconds(step: TrainStep, batch: ArrayBatch, steps: int) -> float:
    """The median of several on one batch."""

    def seconds() -> float:
        began = time.perf_counter()
        step([batch] * step.accumulation, 1e-4).numpy()
        return time.perf_counter() - began

    seconds()  # which traces
    return statistics.median(seconds() for _ in range(steps)) / step.accumulation


class Recipe(NamedTuple):
    name: str
    run: RunConfig


def recipe_on(listing: Path, name: str) -> Recipe:
    """A recipe's run, with the examples of a listing instead of its own."""
    values = tomllib.loads((HERE.parent / "recipes" / f"{name}.toml").read_text("utf-8"))
    data = {key: value for key, value in values["data"].items() if key != "builder"}
    own = {"train": [{"jsonl": str(listing)}], "workers": 1}
    return Recipe(name, parse_run({**values, "data": {**data, **own}}, origin=name))


def measure_recipe(case: str, recipe: Recipe, directory: Path, seconds: float, steps: int) -> dict[str, Any]:
    made = rehearsal(recipe.run, directory, Console(quiet=True))
    batches = batches_of(recipe.run, made.prepared, made.objective, made.step.model, "train", shuffle=True)
    batches.plan(0)
    examples, began = 0, time.perf_counter()
    for batch, _ in batches.iterate():
        examples += len(batch["labels"])
        spent = time.perf_counter() - began
        if spent > seconds:
            break
    return {
        "case": case,
        "recipe": recipe.name,
        "examples_per_second": examples / spent,
        "padding": silence(made),
        "training_per_second": trained_per_second(made, batches, steps) if steps else None,
    }


def silence(made: Rehearsal) -> float | None:
    """The share of the windows of all recordings that is behind them; None of images."""
    if not isinstance(made.objective, Transcribe):
        return None
    lengths = made.prepared.split("train").feature_lengths.tolist()
    return 1 - sum(lengths) / sum(made.objective.sounds.window(samples) for samples in lengths)


def trained_per_second(made: Rehearsal, batches: Batches, steps: int) -> float:
    """Examples that training takes."""
    batch = next(batches.epoch())
    return len(batch["labels"]) / step_seconds(made.step, batch, steps)


def write_examples(directory: Path, count: int) -> Path:
    """Pictures and recordings, each with all that a task may ask of it -> their listing."""
    directory.mkdir()
    listing = directory / "examples.jsonl"
    with listing.open("w", encoding="utf-8") as file:
        for example in examples_in(directory, count):
            print(json.dumps(example), file=file)
    return listing


def examples_in(directory: Path, count: int) -> Iterator[dict[str, str]]:
    rng = np.random.default_rng(2)
    words = ["".join(rng.choice(list("abcdefgh"), rng.integers(2, 7))) for _ in range(300)]
    for number in range(count):
        image, audio = directory / f"{number}.png", directory / f"{number}.wav"
        Image.fromarray(rng.integers(0, 256, (PIXELS, PIXELS, 3), np.uint8)).save(image)
        soundfile.write(audio, rng.integers(-9000, 9000, rng.integers(RATE, 4 * RATE), np.int16), RATE)
        said = " ".join(rng.choice(words, rng.integers(2, 5)))
        labelled = {"image": image.name, "label": str(number % 10), "caption": said, "language": "en"}
        yield {**labelled, "audio": audio.name, "text": said}


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
        tokens = np.random.default_rng(first).integers(1, VOCABULARY, int(totals.sum())).astype(np.int32)
        names.append(f"train-{first // PER_SHARD:05d}")
        write_shard(directory, names[-1], index, tokens, None)
    return TokenShards(directory, names, "")


def prepared_pairs(run: Path | None) -> TokenShards | None:
    return None if run is None else PreparedData.open(run / "data").split("train")


if __name__ == "__main__":
    main()
