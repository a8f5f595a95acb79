"""How fast a training step is here: Regard beside PyTorch, on the same weights and the same batch.

    python benchmarks/train.py [--sizes small base gpt2] [--sides ...] [--rounds 5] [--peers PYTHON] [--kerashub PYTHON]

Three sizes: `small` (width 256, 3 + 3 layers, vocabulary 8,000, 64 rows of up to 32 tokens a side), `base` (Vaswani et
al. 2017, table 3: width 512, 6 + 6 layers, vocabulary 16,000, 32 rows of up to 64) and `gpt2` (124 M parameters, 8 rows
of 256). A step is forward, backward, clipping to norm 1 and AdamW, with dropout 0.1 (residual, attention, activation),
label smoothing 0.1 and padding masks. Rows of the translators are 60 to 100 % full, and only real target tokens count.

Sides: `regard-DTYPE`; `torch-MODE-DTYPE`, which is `nn.Transformer` for the translators and Transformers' GPT-2 for the
language model, eager or compiled, with fused AdamW. Each side is a process of its own, on the same cores, one after
the other in every round (A B A B). A side loads the weights, gives its loss without dropout (which must be the same
for all), warms up and times its steps. `kerashub-BACKEND-DTYPE` is KerasHub's layers (benchmarks/train_kerashub.py),
-xla with XLA, which Keras leaves out by itself on this processor's TensorFlow.
Beside the medians of tokens a second stand the median of the ratios to the first side round by round, the share of the
peak of a 2048 x 2048 x 2048 product that TensorFlow reaches in the same dtype in the same round, peak memory, and the
time from the process's start to the end of its first step.

PYTHON of --peers: an interpreter with torch and transformers; of --kerashub: one with keras-hub and the backends.
Prints a table and writes benchmarks/results/train.json, where sizes that are not measured keep what was.
A figure on a shared machine is a ratio within one run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

RESULTS = Path(__file__).parent / "results" / "train.json"
RATE, SMOOTHING, CLIP, DROPOUT = 1e-4, 0.1, 1.0, 0.1


class Size(NamedTuple):
    config: dict[str, Any]
    rows: int
    length: int
    steps: int  # that are timed


def _translator(width: int, heads: int, depth: int, vocab_size: int) -> dict[str, Any]:
    sizes = {"d_model": width, "encoder_layers": depth, "decoder_layers": depth}
    heads_of = {"encoder_attention_heads": heads, "decoder_attention_heads": heads}
    wide = {"encoder_ffn_dim": 4 * width, "decoder_ffn_dim": 4 * width, "max_position_embeddings": 512}
    dropouts = {"dropout": DROPOUT, "attention_dropout": DROPOUT, "activation_dropout": DROPOUT}
    ids = {"pad_token_id": vocab_size - 1, "eos_token_id": 0, "decoder_start_token_id": vocab_size - 1}
    said = {"model_type": "marian", "architectures": ["MarianMTModel"], "activation_function": "relu"}
    return {**said, **sizes, **heads_of, **wide, **dropouts, **ids, "vocab_size": vocab_size, "scale_embedding": True}


_GPT2 = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 50257, "n_positions": 1024}
SIZES = {
    "small": Size(_translator(256, 4, 3, 8000), 64, 32, 12),
    "base": Size(_translator(512, 8, 6, 16000), 32, 64, 4),
    "gpt2": Size({**_GPT2, "n_embd": 768, "n_layer": 12, "n_head": 12}, 8, 256, 3),
}
WARM_UP = 3

Step = Callable[[], float]  # one training step; its loss


class Side(NamedTuple):
    exact_loss: float  # of the first weights, without dropout
    step: Step


def make_model(size: Size, directory: Path) -> None:
    """A checkpoint with random weights."""
    from safetensors.numpy import save_file

    from regard.models.catalog import family
    from regard.models.family import Config

    known = family(size.config["model_type"])
    spec = known.from_config(Config(dict(size.config)))
    random, tensors = np.random.default_rng(0), {}
    for rule in known.rules(spec):
        spread = 0.0 if rule.path.endswith("bias") else 0.02
        value = random.normal(0, spread, rule.shape).astype(np.float32)
        tensors |= rule.split(np.ones_like(value) if rule.path.endswith("scale") else value)
    tensors |= {name: made().astype(np.float32) for name, made in known.constants(spec).items()}
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(size.config))
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def batch_of(size: Size) -> dict[str, np.ndarray]:
    """`input_ids`, `attention_mask`, `labels`, the same for every side; labels of -100 are padding."""
    random, shape = np.random.default_rng(2), (size.rows, size.length)
    top = size.config["vocab_size"] - 2
    if size.config["model_type"] == "gpt2":
        ids = random.integers(1, top, shape).astype(np.int32)
        return {"input_ids": ids, "attention_mask": np.ones(shape, np.int32), "labels": ids}

    def side() -> tuple[np.ndarray, np.ndarray]:
        lengths = random.integers(int(0.6 * size.length), size.length + 1, size.rows)
        lengths[0] = size.length
        real = np.arange(size.length) < lengths[:, None]
        return random.integers(1, top, shape).astype(np.int32), real

    (source, read), (target, written) = side(), side()
    return {
        "input_ids": np.where(read, source, top + 1).astype(np.int32),
        "attention_mask": read.astype(np.int32),
        "labels": np.where(written, target, -100).astype(np.int32),
    }


def real_tokens(size: Size) -> int:
    """Predicted tokens of a step: a language model's first token has none before it."""
    labels = batch_of(size)["labels"]
    shown = labels[:, 1:] if size.config["model_type"] == "gpt2" else labels
    return int(np.count_nonzero(shown != -100))


def flops_of_step(size: Size) -> float:
    """Of the matrix products of one step, padding included: forward once, backward twice."""
    config, tokens = size.config, size.rows * size.length
    if config["model_type"] == "gpt2":
        width, layers = config["n_embd"], config["n_layer"]
        layer = tokens * (24 * width**2 + 4 * size.length * width)
        return 3 * (layers * layer + tokens * 2 * width * config["vocab_size"])
    width, layers = config["d_model"], config["encoder_layers"]
    layer = tokens * (24 * width**2 + 4 * size.length * width)
    crossed = tokens * (8 * width**2 + 4 * size.length * width)
    return 3 * (layers * (2 * layer + crossed) + tokens * 2 * width * config["vocab_size"])


def regard_side(dtype: str) -> Callable[[Path, Size], Side]:
    def load(directory: Path, size: Size) -> Side:
        import regard
        from regard.config import OptimizerConfig
        from regard.training.optimizer import build_optimizer
        from regard.training.step import TrainStep

        model = regard.load_model(directory, dtype={"bfloat16": "mixed_bfloat16"}.get(dtype, dtype))
        batch: dict[str, Any] = batch_of(size)
        exact = float(model(batch).loss)
        if model.spec.form == "decoder":  # as packing gives them
            places = np.broadcast_to(np.arange(size.length, dtype=np.int32), batch["labels"].shape).copy()
            batch |= {"segment_ids": np.ones_like(places), "position_ids": places}
        step = TrainStep(
            model,
            build_optimizer(OptimizerConfig(name="adamw", weight_decay=0.01), model.trainable_variables),
            keys=tuple(batch),
            label_smoothing=SMOOTHING,
            clip_norm=CLIP,
        )

        def one() -> float:
            step([batch], RATE).numpy()
            return step.read().loss or float("nan")

        return Side(exact, one)

    return load


def torch(mode: str, dtype: str) -> Callable[[Path, Size], Side]:
    def load(directory: Path, size: Size) -> Side:
        from train_torch import torch_side  # beside this script

        return Side(*torch_side(mode == "compiled", dtype)(directory, size))

    return load


def kerashub(backend: str, *, xla: bool = False) -> Callable[[Path, Size], Side]:
    def load(directory: Path, size: Size) -> Side:
        from train_kerashub import kerashub_side

        return Side(*kerashub_side(backend, xla or "auto")(directory, size))

    return load


SIDES: dict[str, Callable[[Path, Size], Side]] = {
    "regard-float32": regard_side("float32"),
    "regard-bfloat16": regard_side("bfloat16"),
    "torch-eager-float32": torch("eager", "float32"),
    "torch-compiled-float32": torch("compiled", "float32"),
    "torch-eager-bfloat16": torch("eager", "bfloat16"),
    "torch-compiled-bfloat16": torch("compiled", "bfloat16"),
    "kerashub-tensorflow-float32": kerashub("tensorflow"),
    "kerashub-tensorflow-xla-float32": kerashub("tensorflow", xla=True),
    "kerashub-torch-float32": kerashub("torch"),
    "kerashub-jax-float32": kerashub("jax"),
}


def usual_sides() -> list[str]:
    """In what the processor is fastest in."""
    from regard.training.precision import resolve_dtype

    dtype = resolve_dtype("auto").removeprefix("mixed_")
    return [f"{side}-{dtype}" for side in ("regard", "torch-eager", "torch-compiled")]


def peak(dtype: str, rounds: int = 7) -> float:
    """FLOP/s of a large matrix product in TensorFlow: the median of several."""
    import tensorflow as tf

    size = 2048
    matrix = tf.cast(tf.random.normal((size, size)), dtype)
    product = tf.function(lambda a: tf.reduce_max(tf.matmul(a, a)[:1]))
    product(matrix).numpy()
    return 2 * size**3 / statistics.median(_seconds(lambda: product(matrix).numpy()) for _ in range(rounds))


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def run_side(name: str, size_name: str, model: Path, began: float) -> dict[str, Any]:
    """What a side measures, in this process. began: when the command was started."""
    size = SIZES[size_name]
    side = SIDES[name](model, size)
    first_loss = side.step()
    first_step = time.time() - began
    for _ in range(WARM_UP - 1):
        side.step()
    seconds = [_seconds(side.step) for _ in range(size.steps)]
    reached = peak(name.rsplit("-", 1)[1]) if name.startswith("regard") else None
    memory = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {
        "exact_loss": side.exact_loss,
        "first_loss": first_loss,
        "last_loss": side.step(),
        "seconds": statistics.median(seconds),
        "first_step_seconds": first_step,
        "peak_memory_mib": int(memory.split()[1]) // 1024,
        "peak_flops": reached,
    }


def measure(name: str, size: str, model: Path, python: str) -> dict[str, Any]:
    command = [python, __file__, "--side", name, size, str(model), str(time.time())]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TOKENIZERS_PARALLELISM": "false"}
    best = {"TF_ENABLE_ONEDNN_OPTS": "1"}  # what Regard sets by itself, for the others on TensorFlow
    environment = {**best, **os.environ, **quiet}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a checkout starts as an installed package does, compiled
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{name} on {size} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(size: str, sides: list[str], rounds: int, pythons: dict[str, str]) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory() as place:
        model = Path(place) / size
        make_model(SIZES[size], model)
        for number in range(rounds):
            for name in sides:
                found[name].append(measure(name, size, model, pythons[name.split("-")[0]]))
                seconds = found[name][-1]["seconds"]
                print(f"  {size}, round {number + 1}: {name} {1000 * seconds:.0f} ms", file=sys.stderr, flush=True)
    return {name: summary(name, size, rows, found[sides[0]]) for name, rows in found.items()}


def summary(name: str, size: str, rows: list[dict[str, Any]], first: list[dict[str, Any]]) -> dict[str, Any]:
    flops, tokens = flops_of_step(SIZES[size]), real_tokens(SIZES[size])
    ratios = [base["seconds"] / row["seconds"] for row, base in zip(rows, first, strict=True)]
    shares = [flops / row["seconds"] / row["peak_flops"] for row in rows if row["peak_flops"]]
    middle = statistics.median
    return {
        "tokens_per_second": tokens / middle(row["seconds"] for row in rows),
        "gflops": flops / middle(row["seconds"] for row in rows) / 1e9,
        "ratio_to_first_side": middle(ratios),
        "ratios": ratios,
        "share_of_peak": middle(shares) if shares else None,
        "peak_memory_mib": max(row["peak_memory_mib"] for row in rows),
        "first_step_seconds": middle(row["first_step_seconds"] for row in rows),
        "exact_loss": rows[0]["exact_loss"],
        "last_loss": rows[0]["last_loss"],
    }


def print_table(results: dict[str, dict[str, Any]]) -> None:
    print("| size | side | tokens/s | of the first side | GFLOP/s | of the peak | memory | first step | loss |")
    print("|---|---|---|---|---|---|---|---|---|")
    for size, sides in results.items():
        for name, row in sides.items():
            share = "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}"
            print(
                f"| {size} | {name} | {row['tokens_per_second']:,.0f} | {row['ratio_to_first_side']:.2f} "
                f"| {row['gflops']:.0f} | {share} | {row['peak_memory_mib']:,} MiB "
                f"| {row['first_step_seconds']:.1f} s | {row['exact_loss']:.4f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--sides", nargs="+", choices=SIDES, help="usually those without KerasHub, in the faster dtype")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default=sys.executable, help="an interpreter with torch and transformers")
    parser.add_argument("--kerashub", default=sys.executable, help="an interpreter with keras-hub and the backends")
    parser.add_argument("--side", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        name, size, model, began = arguments.side
        print(json.dumps(run_side(name, size, Path(model), float(began))))
        return
    pythons = {"regard": sys.executable, "torch": arguments.peers, "kerashub": arguments.kerashub}
    sides = arguments.sides or usual_sides()
    results = {size: compare(size, sides, arguments.rounds, pythons) for size in arguments.sizes}
    print_table(results)
    kept = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(kept | results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
