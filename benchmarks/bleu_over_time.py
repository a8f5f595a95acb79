"""How good a translator is after so many minutes of training: Regard beside PyTorch, from the same weights on.

    python benchmarks/bleu_over_time.py -o DIR --peers PYTHON [--minutes 10 20 40] [--sides regard torch-eager ...]
        [--recipe recipes/translate/en-de.toml] [--split validation] [--examples N]

The recipe's run, but without an end: a schedule that needs the number of steps becomes inverse_sqrt, with the recipe's
warm-up and peak; steps and epochs are left out. The data are prepared once, before any clock, in DIR; every side begins
with the same weights, and reads the same token ids in batches of the same budget.

Sides: `regard` is what `regard train` trains with, its step, its batches and its rates, without its validation and its
checkpoints; `regard-muon` the same with training.optimizer.name = "muon", `regard-average` with training.ema = 0.995,
whose models are the average of the weights. `torch-MODE` is `nn.Transformer`'s layers,
eager or compiled, with the recipe's dropouts, label smoothing, clipping, fused Adam and rates, on Regard's own batches
(bucketed by length, in the same order); `torch-MODE-padded` on shuffled sentences, as many as give the same tokens a
batch on average, padded to the longest. All compute in training.dtype ("auto": bfloat16, torch by autocast, where the
processor multiplies it).

Each side is a process of its own, one after the other. Its clock starts with the process, so that imports and tracing
count, and stands still while a mark's model, that of the last step, is written. Nothing is scored meanwhile: afterwards
Regard translates the split (or its first N examples) with each model, in float32 and by the recipe's beams.
Before a torch side trains, its loss without dropout must be Regard's to the fourth place; and Regard must find in each
model that torch wrote the loss that torch said.

A side whose marks are in DIR is not trained again, a model that has its scores is not scored again, and sides that are
not asked for keep the rows that DIR has of them. PYTHON of --peers:
an interpreter with torch, safetensors and NumPy. Prints a table, and when each side first reaches torch's last BLEU;
writes DIR/bleu_over_time.json, and benchmarks/results/bleu_over_time.json where it is the real thing: this recipe, and
marks from 10 minutes on (or --results FILE). `cores` are those that a side got: less than another's, and something
else was running. The usual three sides take a little over two hours.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "bleu_over_time.json"
RECIPE = HERE.parent / "recipes" / "translate" / "en-de.toml"
SHORTEST = 10.0  # minutes of a mark that is worth keeping
RATES = 200_000  # steps, more than any side takes
FOURTH_PLACE = 1e-4

# What the torch sides read, in DIR.
INITIAL, FEED, CHECK, SETTINGS, RUN = "initial", "feed.npz", "check.npz", "settings.json", "run.toml"
MARK, SCORE = "mark.json", "score.json"  # in each DIR/SIDE/MINUTES


class Side(NamedTuple):
    step: Callable[[int], int]  # update number n = 1, 2, ... -> the target tokens of its batch
    save: Callable[[Path], None]  # writes the model
    loss: Callable[[], float | None]  # without dropout, of the batch of CHECK; None where Regard's would be its own


class Clock:
    """Seconds since the process was asked for, and the processor's, but for pauses."""

    def __init__(self, began: float) -> None:
        self._began, self._processor = began, 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began  # one clock for all processes of the machine

    @property
    def processor_seconds(self) -> float:
        return time.process_time() - self._processor

    @contextmanager
    def paused(self) -> Iterator[None]:
        stopped, processor = time.monotonic(), time.process_time()
        yield
        self._began += time.monotonic() - stopped
        self._processor += time.process_time() - processor


def train_side(name: str, place: Path, minutes: Sequence[float], began: float) -> None:
    """One side to its last mark, in this process. began: when the process was asked for."""
    clock, side = Clock(began), SIDES[name](place)
    with clock.paused():
        first = json.loads((place / SETTINGS).read_text("utf-8"))["loss"]
        require_equal(first, side.loss(), f"the first weights for regard and for {name}")
    steps = tokens = 0
    for mark in minutes:
        while clock.seconds < 60 * mark:
            steps += 1
            tokens += side.step(steps)
        facts = {"minutes": mark, "seconds": clock.seconds, "steps": steps, "tokens": tokens}
        facts["cores"] = clock.processor_seconds / clock.seconds
        with clock.paused():
            directory = mark_of(place, name, mark)
            side.save(directory)
            facts["loss"] = side.loss()
            (directory / MARK).write_text(json.dumps(facts, indent=1), "utf-8")
            print(f"  {name}: {mark:g} minutes, {steps:,} steps, {tokens:,} target tokens", file=sys.stderr, flush=True)


def mark_of(place: Path, side: str, minutes: float) -> Path:
    return place / side / f"{minutes:g}"


def regard_side(*overrides: str) -> Callable[[Path], Side]:
    def load(place: Path) -> Side:
        import keras

        import regard
        from regard.config import load_run
        from regard.data.objectives.catalog import objective_of
        from regard.data.shards import PreparedData
        from regard.training.assembly import batches_of, streams_of, train_step
        from regard.training.ema import averaged
        from regard.training.precision import resolve_dtype
        from regard.training.schedule import learning_rate
        from regard.training.step import APPLIED
        from regard.training.streams import share_cores

        run, prepared = load_run(place / RUN, overrides), PreparedData.open(place / "data")
        objective = objective_of(run).of(prepared)
        share_cores(streams_of(run))  # as `regard train` does
        keras.utils.set_random_seed(run.seed)
        model = regard.load_model(place / INITIAL, dtype=resolve_dtype(run.training.dtype))
        step = train_step(run, model, objective)
        batches = batches_of(run, prepared, objective, model, "train", shuffle=True)
        feed, width = batches.iterate(), model.spec.text.width

        def one(number: int) -> int:
            micro_batches = [next(feed)[0] for _ in range(run.training.accumulation)]
            outcome = int(step(micro_batches, learning_rate(number, run.training.schedule, width=width)))
            if outcome != APPLIED:
                print(f"  step {number} was skipped: its loss or gradient is not finite", file=sys.stderr, flush=True)
            return sum(batches.tally(batch).targets for batch in micro_batches)

        def save(directory: Path) -> None:
            with averaged(step.optimizer) if run.training.ema else nullcontext():
                regard.save_model(model, directory, tokenizer=prepared)

        return Side(one, save, lambda: None)

    return load


def torch_side(*, compiled: bool, padded: bool = False) -> Callable[[Path], Side]:
    def load(place: Path) -> Side:
        from bleu_over_time_torch import torch_side  # beside this script

        return Side(*torch_side(place, compiled, padded))

    return load


SIDES: dict[str, Callable[[Path], Side]] = {
    "regard": regard_side(),
    "regard-muon": regard_side("training.optimizer.name=muon"),
    "regard-average": regard_side("training.ema=0.995"),
    "torch-eager": torch_side(compiled=False),
    "torch-compiled": torch_side(compiled=True),
    "torch-eager-padded": torch_side(compiled=False, padded=True),
    "torch-compiled-padded": torch_side(compiled=True, padded=True),
}
USUAL = ["regard", "torch-eager", "torch-compiled"]


def without_an_end(recipe: Path) -> Any:
    """The recipe's run, whose rates do not depend on when it ends."""
    from regard.config import parse_run

    values = tomllib.loads(recipe.read_text("utf-8"))
    training = values.setdefault("training", {})
    for key in ("steps", "epochs", "patience"):
        training.pop(key, None)
    training["minutes"] = 60.0  # a run needs a budget; here the marks are what ends a side
    schedule = training.get("schedule", {})
    if schedule.get("name") in ("cosine", "linear", "wsd"):
        kept = {key: value for key, value in schedule.items() if key in ("warmup_steps", "peak", "scale")}
        training["schedule"] = {"name": "inverse_sqrt", **kept}
    return parse_run(values, origin=str(recipe))


def refuse_what_torch_lacks(run: Any) -> None:
    """The torch sides train as the recipe says, or not at all."""
    training, data = run.training, run.data
    plain = {
        "task": run.task == "translate",
        "data.curriculum": data.curriculum is None,
        "data.temperature": data.temperature is None,
        "training.ema": training.ema is None,
        "training.freeze": not training.freeze,
        "training.spike_deviations": training.spike_deviations is None,
        "training.optimizer.name": training.optimizer.name in ("adam", "adamw"),
        "training.optimizer.groups": not training.optimizer.groups,
        "training.optimizer.layer_decay": training.optimizer.layer_decay == 1,
    }
    for key in (key for key, fits in plain.items() if not fits):
        raise SystemExit(f"{key} of the recipe is nothing that the torch sides do: take another recipe")


def prepare(run: Any, place: Path) -> None:
    """The data, the first weights, and what the torch sides read, once: SETTINGS comes last."""
    from rich.console import Console

    import regard
    from regard.config import to_toml
    from regard.training.assembly import batches_of, rehearsal
    from regard.training.precision import resolve_dtype
    from regard.training.schedule import learning_rate

    written = place / RUN
    if written.exists() and written.read_text("utf-8") != to_toml(run):
        raise SystemExit(f"{written} is another run: give another directory, or remove it")
    if (place / SETTINGS).exists():
        return
    place.mkdir(parents=True, exist_ok=True)
    written.write_text(to_toml(run), "utf-8")
    prepared, objective, step = rehearsal(run, place, Console(stderr=True))
    regard.save_model(step.model, place / INITIAL, tokenizer=prepared)
    shards, width, training = prepared.split("train"), step.model.spec.text.width, run.training
    sources, targets = (shards.gather(np.arange(len(shards)), column) for column in (0, 1))
    rates = [learning_rate(number, training.schedule, width=width) for number in range(1, RATES + 1)]
    np.savez(place / FEED, lengths=shards.lengths, sources=sources, targets=targets, rates=rates)
    first, _ = next(batches_of(run, prepared, objective, step.model, "train", shuffle=True).iterate())
    np.savez(place / CHECK, **first)
    settings = {
        "loss": loss_of(regard.load_model(place / INITIAL), place, training.label_smoothing),
        "optimizer": training.optimizer.model_dump(),
        "seed": run.seed,
        "batch_tokens": training.batch_tokens,
        "accumulation": training.accumulation,
        "max_tokens": run.data.max_tokens,
        "clip_norm": training.clip_norm,
        "label_smoothing": training.label_smoothing,
        "dtype": resolve_dtype(training.dtype),
    }
    (place / SETTINGS).write_text(json.dumps(settings, indent=1), "utf-8")


def loss_of(model: Any, place: Path, label_smoothing: float) -> float:
    """Of the batch of CHECK, without dropout: what is trained on, a target token."""
    from regard.nn.losses import head_losses

    with np.load(place / CHECK) as arrays:
        batch = dict(arrays)
    total, count = head_losses(model(batch, training=False), batch, model.spec, label_smoothing)
    return float(total) / float(count)


def measure(name: str, place: Path, minutes: Sequence[float], python: str) -> None:
    """Train a side in a process of its own, unless its marks are there."""
    if all((mark_of(place, name, mark) / MARK).exists() for mark in minutes):
        return
    shutil.rmtree(place / name, ignore_errors=True)
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TOKENIZERS_PARALLELISM": "false"}
    environment = {**os.environ, **quiet, "PYTHONPATH": str(HERE.parent / "src")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a checkout starts as an installed package does, compiled
    marks = [f"{mark:g}" for mark in minutes]
    command = [python, __file__, "-o", str(place), "--side", name, str(time.monotonic()), "--minutes", *marks]
    if subprocess.run(command, env=environment).returncode:
        raise SystemExit(f"{name} failed")


def score(run: Any, directory: Path, place: Path, split: str, most: int | None) -> dict[str, Any]:
    """What a mark's model is worth, with the 95 % intervals of the bootstrap."""
    import regard
    from regard.data.shards import PreparedData
    from regard.tasks.evaluate import evaluate
    from regard.tasks.judging.judgement import HeldOut

    asked = {"split": split, "examples": most}
    file, mark = directory / SCORE, json.loads((directory / MARK).read_text("utf-8"))
    known = json.loads(file.read_text("utf-8")) if file.exists() else {}
    if known.get("asked") == asked:
        return {**mark, **known}
    translator = regard.load(directory, task="translate")
    found = loss_of(translator.engine, place, run.training.label_smoothing)
    require_equal(found, mark["loss"], f"{directory} for Regard and for the side that wrote it")
    examples = HeldOut(run, PreparedData.open(place / "data"), split).examples()[:most]
    directions = evaluate(translator, examples)
    if len(directions) > 1:
        raise SystemExit(f"the {split} split has {len(directions)} directions, whose BLEU is not one number")
    known = {"asked": asked, **directions[0].record()}
    file.write_text(json.dumps(known, indent=1), "utf-8")
    print(f"  {directory}: BLEU {known['bleu']:.1f}", file=sys.stderr, flush=True)
    return {**mark, **known}


def require_equal(one: float, other: float | None, what: str) -> None:
    """Raise SystemExit where two losses differ in the fourth place; None: nothing is said of the other."""
    if other is not None and not abs(one - other) < FOURTH_PLACE:
        raise SystemExit(f"the sides differ: the loss of {what} is {one:.6f} and {other:.6f}")


Rows = dict[str, list[dict[str, Any]]]  # by side, one a mark


def print_table(sides: Rows) -> None:
    print("| side | minutes | steps | target tokens | cores | BLEU (95 %) | chrF |")
    print("|---|---|---|---|---|---|---|")
    for name, marks in sides.items():
        for row in marks:
            low, high = row["bleu_interval"]
            print(
                f"| {name} | {row['minutes']:g} | {row['steps']:,} | {row['tokens']:,} | {row['cores']:.2f} "
                f"| {row['bleu']:.1f} ({low:.1f} to {high:.1f}) | {row['chrf']:.1f} |"
            )


def verdict(sides: Rows) -> Iterator[str]:
    """When each side of Regard first reaches the best BLEU that torch ends with."""
    last = {name: marks[-1] for name, marks in sides.items() if name.startswith("torch")}
    if not last:
        return
    best = max(last, key=lambda name: last[name]["bleu"])
    aim, minutes = last[best]["bleu"], last[best]["minutes"]
    for name, marks in sides.items():
        if name.startswith("regard"):
            at = next((f"{row['minutes']:g} minutes" for row in marks if row["bleu"] >= aim), None)
            when = f"after {at}" if at else f"not within {marks[-1]['minutes']:g} minutes"
            yield f"{name} reaches {best}'s BLEU after {minutes:g} minutes ({aim:.1f}) {when}"


def merged(file: Path, about: dict[str, Any], sides: Rows) -> Rows:
    """With the sides of a record of the same work that were not asked for this time, which come first."""
    kept = json.loads(file.read_text("utf-8")) if file.exists() else {}
    if any(kept.get(key) != value for key, value in about.items()):
        return sides
    return {**{name: rows for name, rows in kept["sides"].items() if name not in sides}, **sides}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="data, models and scores")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="a run file of the task translate")
    parser.add_argument("--minutes", nargs="+", type=float, default=[10.0, 20.0, 40.0], help="when a model is kept")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=USUAL)
    parser.add_argument("--peers", default=sys.executable, help="an interpreter with torch, safetensors and NumPy")
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--examples", type=int, metavar="N", help="score the first N of the split alone")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write the results here, too")
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    place, minutes = arguments.output, sorted(arguments.minutes)
    if arguments.side:
        name, began = arguments.side
        train_side(name, place, minutes, float(began))
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    run = without_an_end(arguments.recipe)
    if any(name.startswith("torch") for name in arguments.sides):
        refuse_what_torch_lacks(run)
    prepare(run, place)
    pythons = {"regard": sys.executable, "torch": arguments.peers}
    for name in arguments.sides:
        measure(name, place, minutes, pythons[name.split("-")[0]])
    sides = {
        name: [score(run, mark_of(place, name, mark), place, arguments.split, arguments.examples) for mark in minutes]
        for name in arguments.sides
    }
    dtype = json.loads((place / SETTINGS).read_text("utf-8"))["dtype"]
    about = {"recipe": arguments.recipe.name, "dtype": dtype}
    sides = merged(place / RESULTS.name, about, sides)
    print_table(sides)
    reached = list(verdict(sides))
    print(*reached, sep="\n")
    real = arguments.recipe.resolve() == RECIPE and minutes[0] >= SHORTEST
    for file in (place / RESULTS.name, arguments.results or (RESULTS if real else None)):
        if file is not None:
            file.write_text(json.dumps({**about, "sides": sides, "verdict": reached}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
