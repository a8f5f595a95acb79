"""How fast a training step is here: Regard beside PyTorch and KerasHub, on the same weights and the same batch.

    python benchmarks/train.py [--peers PYTHON] [--kerashub PYTHON] [--sizes small base gpt2] [--sides ...] [--rounds 5]

Three sizes: `small` (width 256, 3 + 3 layers, vocabulary 8,000, 64 rows of up to 32 tokens a side), `base` (Vaswani et
al. 2017, table 3: width 512, 6 + 6 layers, vocabulary 16,000, 32 rows of up to 64) and `gpt2` (124 M parameters, 8 rows
of 256). A step is forward, backward, clipping to norm 1 and AdamW, with dropout 0.1 (residual, attention, activation),
label smoothing 0.1 and padding masks. Rows of the translators are 60 to 100 % full, and only real target tokens count.

Sides, each in float32 and in bfloat16 (-DTYPE): `regard`; `torch-eager` and `torch-compiled`, `nn.Transformer` for the
translators and Transformers' GPT-2 for the language model, with autocast and fused AdamW, network and loss compiled as
one; `kerashub-tensorflow`, -xla with XLA, which Keras leaves out by itself on this processor's TensorFlow,
`kerashub-torch` and `kerashub-jax`: KerasHub's layers (benchmarks/train_kerashub.py), by Keras's dtype policy, the last
two for comparison alone. PYTHON of --peers: an interpreter with torch and transformers; of --kerashub: one with
keras-hub and the backends. Usually all sides are measured whose libraries are there; --sides takes names, or how names
begin.

Each side is a process of its own, on the same cores, one after the other in every round (A B A B). A side loads the
weights, gives its loss without dropout, which must be the first side's, warms up, times its steps, and then a 2048 x
2048 x 2048 product of its library in its dtype, of Regard as many at a time as it has streams. Beside the medians of
tokens a second stand the median of the ratios to the first side round by round, that product ("peak"), the share of the
fastest side's peak in the same dtype and round, peak memory, and the time from the process's start to the end of its
first step.

Prints a table, and writes benchmarks/results/train.json (or --results FILE) with each side's settings, versions and
processor after each size; sizes and sides that are not measured keep what was. A figure on a shared machine is a ratio
within one run.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from train_sizes import SIZES, Size, flops_of_step, make_model, real_tokens  # beside this script

RESULTS = Path(__file__).parent / "results" / "train.json"


WARM_UP = 3
WANTED = {"small": 2.5, "base": 1.8, "gpt2": 1.3}  # times as fast as the best peer
TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-3}  # nats, of a loss without dropout; toys in bfloat16 were 3e-4 apart
LIBRARIES = ("regard", "tensorflow", "keras", "keras_hub", "torch", "transformers", "jax")
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")  # of a processor, which products use
OPTIONS = {"regard": "the interpreter of this script", "torch": "--peers", "kerashub": "--kerashub"}

Step = Callable[[], float]  # one training step; its loss


class Side(NamedTuple):
    exact_loss: float  # of the first weights, without dropout
    step: Step
    settings: dict[str, Any]  # dtype, threads, and by what it is compiled


def on_regard(dtype: str) -> Callable[[Path, Size], Side]:
    def load(directory: Path, size: Size) -> Side:
        from train_regard import regard_side  # beside this script

        return Side(*regard_side(dtype)(directory, size))

    return load


def on_torch(dtype: str, *, compiled: bool) -> Callable[[Path, Size], Side]:
    def load(directory: Path, size: Size) -> Side:
        from train_torch import torch_side

        return Side(*torch_side(compiled, dtype)(directory, size))

    return load


def on_kerashub(backend: str, dtype: str, *, xla: bool) -> Callable[[Path, Size], Side]:
    def load(directory: Path, size: Size) -> Side:
        from train_kerashub import kerashub_side

        return Side(*kerashub_side(backend, dtype, xla or "auto")(directory, size))

    return load


class Entrant(NamedTuple):
    """A side by its name."""

    load: Callable[[Path, Size], Side]
    needs: tuple[str, ...]  # modules of its interpreter
    library: str  # that multiplies
    rival: bool = False  # Regard's speed is held against its


def _entrants() -> Iterator[tuple[str, Entrant]]:
    for dtype in ("float32", "bfloat16"):
        yield f"regard-{dtype}", Entrant(on_regard(dtype), ("regard", "keras", "tensorflow"), "tensorflow")
        for mode in ("eager", "compiled"):
            load = on_torch(dtype, compiled=mode == "compiled")
            yield f"torch-{mode}-{dtype}", Entrant(load, ("torch", "transformers", "safetensors"), "torch", rival=True)
        for kind in ("tensorflow", "tensorflow-xla", "torch", "jax"):
            backend, _, xla = kind.partition("-")
            load = on_kerashub(backend, dtype, xla=bool(xla))
            needs = ("keras_hub", "safetensors", backend)
            yield f"kerashub-{kind}-{dtype}", Entrant(load, needs, backend, rival=backend == "tensorflow")


SIDES = dict(_entrants())


def family_of(side: str) -> str:
    return side.partition("-")[0]


def dtype_of(side: str) -> str:
    return side.rpartition("-")[2]


def chosen(asked: Sequence[str] | None, faster: str) -> list[str]:
    """The sides that names, or beginnings of names, mean, in their order; None: all, Regard in the faster dtype first.

    Raises ValueError for one that means none.
    """
    found: list[str] = []
    for name in asked or (f"regard-{faster}", ""):
        meant = [name] if name in SIDES else [side for side in SIDES if side.startswith(name)]
        if not meant:
            raise ValueError(f"{name!r} is no side and no beginning of one: {', '.join(SIDES)}")
        found += [side for side in meant if side not in found]
    return found


@cache
def lacking(python: str, modules: tuple[str, ...]) -> tuple[str, ...]:
    """The modules that an interpreter does not have. Raises SystemExit where it does not run."""
    code = "import importlib.util as i, sys; print(*(m for m in sys.argv[1:] if i.find_spec(m) is None))"
    try:
        done = subprocess.run([python, "-c", code, *modules], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{python} does not run: {error}") from error
    return tuple(done.stdout.split())


def those_there(sides: Sequence[str], pythons: dict[str, str]) -> tuple[list[str], list[str]]:
    """The sides whose libraries are there, and a line for each reason why others are not."""
    there: list[str] = []
    reasons: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for side in sides:
        family = family_of(side)
        lacks = lacking(pythons[family], SIDES[side].needs)
        if lacks:
            reasons.setdefault((family, lacks), []).append(side)
        else:
            there.append(side)
    return there, [
        f"left out: {', '.join(left)}: {pythons[family]} has no {', no '.join(lacks)} ({OPTIONS[family]} names another)"
        for (family, lacks), left in reasons.items()
    ]


def product(library: str, dtype: str, size: int) -> Callable[[], Any] | None:
    """A large matrix product, as a library that says how fast one is computes it; None of the others."""
    if library == "torch":
        from train_torch import torch_product

        return torch_product(dtype, size)
    if library != "tensorflow":
        return None
    import tensorflow as tf

    matrix = tf.cast(tf.random.normal((size, size)), dtype)
    multiplied = tf.function(lambda a: tf.reduce_max(tf.matmul(a, a)[:1]))
    return lambda: multiplied(matrix).numpy()


def peak(library: str, dtype: str, at_once: int = 1, rounds: int = 7) -> float | None:
    """FLOP/s of large matrix products, so many at the same time: the median of several."""
    size = 2048
    work = product(library, dtype, size)
    if work is None:
        return None
    work()
    with ThreadPoolExecutor(at_once) as threads:

        def together() -> None:
            for done in [threads.submit(work) for _ in range(at_once)]:
                done.result()

        return at_once * 2 * size**3 / statistics.median(_seconds(together) for _ in range(rounds))


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def cores() -> int:
    """That this process may use, and its libraries do."""
    return len(os.sched_getaffinity(0))


def processor(cpu_info: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """Its name, the cores that there are to use, and what it multiplies with."""
    lines = [line.partition(":") for line in cpu_info.read_text("utf-8").splitlines()] if cpu_info.exists() else []
    said = {key.strip(): value.strip() for key, _, value in reversed(lines)}
    flags = set(said.get("flags", "").split())
    name = said.get("model name") or platform.processor() or platform.machine()
    return {"name": name, "cores": cores(), "features": [each for each in FEATURES if each in flags]}


def versions() -> dict[str, str]:
    """Of what this process has imported."""
    loaded = {name: sys.modules[name].__version__ for name in LIBRARIES if name in sys.modules}
    return {"python": platform.python_version(), **loaded}


def run_side(name: str, size: Size, model: Path, began: float) -> dict[str, Any]:
    """What a side measures, in this process. began: when the command was started."""
    side = SIDES[name].load(model, size)
    first_loss = side.step()
    first_step = time.time() - began
    for _ in range(WARM_UP - 1):
        side.step()
    seconds = [_seconds(side.step) for _ in range(size.steps)]
    last_loss = side.step()
    memory = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {
        "exact_loss": side.exact_loss,
        "first_loss": first_loss,
        "last_loss": last_loss,
        "seconds": statistics.median(seconds),
        "first_step_seconds": first_step,
        "peak_memory_mib": int(memory.split()[1]) // 1024,
        "peak_flops": peak(SIDES[name].library, dtype_of(name), side.settings.get("streams", 1)),
        "settings": side.settings,
        "versions": versions(),
        "processor": processor(),
    }


def measure(name: str, size_name: str, steps: int, model: Path, python: str) -> dict[str, Any]:
    command = [python, __file__, "--side", name, size_name, str(steps), str(model), str(time.time())]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TOKENIZERS_PARALLELISM": "false"}
    best = {"TF_ENABLE_ONEDNN_OPTS": "1"}  # what Regard sets by itself, for the others on TensorFlow
    environment = {**best, **os.environ, **quiet}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a checkout starts as an installed package does, compiled
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{name} on {size_name} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


Rounds = dict[str, list[dict[str, Any]]]  # by side, what it measured in each round


def compare(size_name: str, sides: list[str], rounds: int, steps: int | None, pythons: dict[str, str]) -> Rounds:
    """Raises SystemExit where a side fails, or computes another loss than the first."""
    size = SIZES[size_name]
    found: Rounds = {name: [] for name in sides}
    with tempfile.TemporaryDirectory() as place:
        model = Path(place) / size_name
        make_model(size, model)
        for number in range(rounds):
            for name in sides:
                row = measure(name, size_name, steps or size.steps, model, pythons[family_of(name)])
                found[name].append(row)
                require_equal(sides[0], found[sides[0]][0]["exact_loss"], name, row["exact_loss"])
                seconds = f"{1000 * row['seconds']:.0f} ms"
                print(f"  {size_name}, round {number + 1}: {name} {seconds}", file=sys.stderr, flush=True)
    return found


def require_equal(first: str, loss: float, other: str, its_loss: float) -> None:
    """Raise SystemExit where two losses without dropout are further apart than the coarser dtype explains."""
    bound = max(TOLERANCE[dtype_of(side)] for side in (first, other))
    if not abs(loss - its_loss) < bound:
        raise SystemExit(
            f"the sides differ: without dropout the loss of {first} is {loss:.6f} and that of {other} {its_loss:.6f}, "
            f"but {bound:g} is the most that their dtypes explain"
        )


def summaries(size: Size, found: Rounds) -> dict[str, dict[str, Any]]:
    """By side, what its rounds came to."""
    first, flops, tokens, middle = next(iter(found)), flops_of_step(size), real_tokens(size), statistics.median
    made = {}
    for name, rows in found.items():
        seconds = middle(row["seconds"] for row in rows)
        peaks = machine_peaks(found, dtype_of(name))
        ratios = [base["seconds"] / row["seconds"] for row, base in zip(rows, found[first], strict=True)]
        shares = [flops / row["seconds"] / most for row, most in zip(rows, peaks, strict=True) if most]
        own = [row["peak_flops"] for row in rows if row["peak_flops"]]
        made[name] = {
            "tokens_per_second": tokens / seconds,
            "gflops": flops / seconds / 1e9,
            "first_side": first,
            "ratio_to_first_side": middle(ratios),
            "ratios": ratios,
            "peak_gflops": middle(own) / 1e9 if own else None,
            "machine_peak_gflops": middle(peaks) / 1e9 if shares else None,
            "share_of_peak": middle(shares) if shares else None,
            "peak_memory_mib": max(row["peak_memory_mib"] for row in rows),
            "first_step_seconds": middle(row["first_step_seconds"] for row in rows),
            **{key: rows[0][key] for key in ("exact_loss", "last_loss", "settings", "versions", "processor")},
        }
    return made


def machine_peaks(found: Rounds, dtype: str) -> list[float]:
    """By round, the fastest product that any side measured in this dtype; 0 where none did."""
    rounds = zip(*(rows for name, rows in found.items() if dtype_of(name) == dtype), strict=True)
    return [max(row["peak_flops"] or 0.0 for row in rows) for rows in rounds]


Table = dict[str, dict[str, Any]]  # by side


def print_table(results: dict[str, Table]) -> None:
    print("| size | side | tokens/s | of the first side | GFLOP/s | peak | of the best | memory | first step | loss |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for size, sides in results.items():
        for name, row in sides.items():
            own = "" if row["peak_gflops"] is None else f"{row['peak_gflops']:.0f}"
            share = "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}"
            print(
                f"| {size} | {name} | {row['tokens_per_second']:,.0f} | {row['ratio_to_first_side']:.2f} "
                f"| {row['gflops']:.0f} | {own} | {share} | {row['peak_memory_mib']:,} MiB "
                f"| {row['first_step_seconds']:.1f} s | {row['exact_loss']:.4f} |"
            )


def verdict(size: str, sides: Table) -> str | None:
    """How much faster Regard is than the best rival; None where one of the two was not measured."""

    def fastest(names: list[str]) -> str | None:
        return max(names, key=lambda name: sides[name]["tokens_per_second"], default=None)

    ours = fastest([name for name in sides if family_of(name) == "regard"])
    rival = fastest([name for name in sides if SIDES[name].rival])
    if ours is None or rival is None:
        return None
    pairs = zip(sides[ours]["ratios"], sides[rival]["ratios"], strict=True)
    times = statistics.median(one / other for one, other in pairs)
    return f"{size}: {ours} is {times:.2f} times as fast as {rival}, the best of its rivals; {WANTED[size]} are wanted"


def merged(kept: dict[str, Table], found: dict[str, Table]) -> dict[str, Table]:
    """Sizes and sides that were not measured keep what was."""
    return {size: kept.get(size, {}) | found.get(size, {}) for size in kept | found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--sides", nargs="+", metavar="SIDE", help="names, or how names begin: torch-eager, kerashub")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="that are timed; usually as many as suit the size")
    parser.add_argument("--peers", default=sys.executable, help="an interpreter with torch and transformers")
    parser.add_argument("--kerashub", default=sys.executable, help="an interpreter with keras-hub and the backends")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE")
    parser.add_argument("--side", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        name, size_name, steps, model, began = arguments.side
        size = SIZES[size_name]._replace(steps=int(steps))
        print(json.dumps(run_side(name, size, Path(model), float(began))))
        return
    from regard.training.precision import resolve_dtype

    pythons = {"regard": sys.executable, "torch": arguments.peers, "kerashub": arguments.kerashub}
    try:
        asked = chosen(arguments.sides, resolve_dtype("auto").removeprefix("mixed_"))
    except ValueError as error:
        parser.error(str(error))
    sides, left_out = those_there(asked, pythons)
    print(*left_out, sep="\n", end="\n" if left_out else "", file=sys.stderr, flush=True)
    if not sides or (left_out and arguments.sides):
        raise SystemExit("not every side that was asked for can be measured")
    results: dict[str, Table] = {}
    for size in arguments.sizes:
        found = compare(size, sides, arguments.rounds, arguments.steps, pythons)
        results[size] = summaries(SIZES[size], found)
        kept = json.loads(arguments.results.read_text("utf-8")) if arguments.results.exists() else {}
        arguments.results.parent.mkdir(exist_ok=True)
        arguments.results.write_text(json.dumps(merged(kept, results), indent=1) + "\n", "utf-8")
    print_table(results)
    print(*filter(None, (verdict(size, rows) for size, rows in results.items())), sep="\n")


if __name__ == "__main__":
    main()
