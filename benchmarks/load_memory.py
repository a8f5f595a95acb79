"""How much memory loading takes: the peak above the process before it, against the weights and the largest tensor.

    python benchmarks/load_memory.py [--cases NAME ...]

Makes a random checkpoint for each case (about 500 MB in float32), loads it in a process of its own that has loaded a
tiny one before, and watches RssAnon, the memory that is the process's own: resident pages of the mapped file do not
count. The bound is the weights in the target dtype plus twice the largest tensor, as it is held. Prints a table and
writes benchmarks/results/load_memory.json. Linux only: it reads /proc/self/status.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

RESULTS = Path(__file__).parent / "results" / "load_memory.json"
GPT2 = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}  # its defaults are its sizes
LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 32000,
    "hidden_size": 768,
    "intermediate_size": 2304,
    "num_hidden_layers": 10,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
}
T5 = {
    "model_type": "t5",
    "architectures": ["T5ForConditionalGeneration"],
    "vocab_size": 32128,
    "d_model": 768,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 8,
    "num_heads": 12,
}
TINY = {
    "gpt2": {"n_embd": 8, "n_head": 2, "n_layer": 1, "vocab_size": 16, "n_positions": 8},
    "llama": {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    | {"num_key_value_heads": 2, "vocab_size": 16},
    "t5": {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "vocab_size": 16},
}


class Case(NamedTuple):
    config: dict[str, Any]
    stored: str
    target: str
    shards: int = 1


CASES = {
    "tied, fused as stored": Case(GPT2, "float32", "float32"),
    "queries, keys, values joined": Case(LLAMA, "float32", "float32"),
    "widened": Case(LLAMA, "bfloat16", "float32"),
    "narrowed": Case(LLAMA, "float32", "bfloat16"),
    "as stored": Case(LLAMA, "bfloat16", "auto"),
    "half to bfloat16": Case(GPT2, "float16", "bfloat16"),
    "four files": Case(LLAMA, "float32", "float32", shards=4),
    "encoder-decoder": Case(T5, "float32", "float32"),
}


def write(directory: Path, config: dict[str, Any], stored: str, shards: int = 1) -> None:
    """A checkpoint of random weights under the family's names."""
    import ml_dtypes
    from safetensors.numpy import save_file

    from regard.models.catalog import family
    from regard.models.family import Config

    known = family(config["model_type"])
    rules = known.rules(known.from_config(Config(config)))
    shapes = {name: shape for rule in rules for name, shape in rule.stored_shapes().items()}
    dtype = np.dtype(ml_dtypes.bfloat16 if stored == "bfloat16" else stored)
    (directory / "config.json").write_text(json.dumps(config))
    rng, where = np.random.default_rng(0), {}
    for shard in range(shards):
        file = "model.safetensors" if shards == 1 else f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        names = list(shapes)[shard::shards]
        save_file({n: rng.standard_normal(shapes[n], np.float32).astype(dtype) for n in names}, directory / file)
        where |= dict.fromkeys(names, file)
    if shards > 1:
        (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))


def own_memory() -> int:
    """Bytes that are the process's own, and no file's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not tell RssAnon")


class Watch(threading.Thread):
    """The highest of own_memory, looked at every millisecond."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.highest, self.ended = 0, threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            self.highest = max(self.highest, own_memory())
            time.sleep(0.001)


def measure(directory: Path, warm_up: Path, target: str) -> dict[str, Any]:
    """In a process of its own: the memory before, at most, and after, in bytes."""
    import regard

    regard.load_model(warm_up, dtype=target)  # what TensorFlow sets up once is no matter of the weights
    before, watch = own_memory(), Watch()
    watch.start()
    began = time.perf_counter()
    model = regard.load_model(directory, dtype=target)
    seconds = time.perf_counter() - began
    watch.ended.set()
    watch.join()
    sizes = [prod(v.shape) * np.dtype(v.numpy().dtype).itemsize for v in model.weights if "seed" not in v.path]
    return {
        "weights": sum(sizes),
        "largest": max(sizes),
        "peak": watch.highest - before,
        "kept": own_memory() - before,
        "seconds": round(seconds, 2),
    }


def run(case: Case) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        large, small = Path(scratch) / "large", Path(scratch) / "small"
        for directory, config, shards in ((large, case.config, case.shards), (small, tiny(case.config), 1)):
            directory.mkdir()
            write(directory, config, case.stored, shards)
        arguments = ["--measure", str(large), str(small), case.target]
        finished = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
        return json.loads(finished.stdout.splitlines()[-1])


def tiny(config: dict[str, Any]) -> dict[str, Any]:
    return config | TINY[config["model_type"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        large, small, target = options.measure
        print(json.dumps(measure(Path(large), Path(small), target)))
        return
    print("| case | stored | loaded as | weights | largest | peak | bound | peak above weights, in largest |")
    print("|---|---|---|---|---|---|---|---|")
    results = {}
    for name in options.cases:
        case = CASES[name]
        found = run(case)
        results[name] = {"stored": case.stored, "target": case.target, **found}
        weights, largest, peak = (found[key] / 2**20 for key in ("weights", "largest", "peak"))
        sizes = f"{weights:,.0f} MiB | {largest:,.0f} MiB | {peak:,.0f} MiB | {weights + 2 * largest:,.0f} MiB"
        print(f"| {name} | {case.stored} | {case.target} | {sizes} | {(peak - weights) / largest:.2f} |", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
