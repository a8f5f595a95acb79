"""How fast text is generated here: Regard's engines beside their peers, on the same weights and the same token ids.

    python benchmarks/decode.py [--works gpt2-1 gpt2-32 base-32 base-1] [--sides ...] [--rounds 5] [--peers PYTHON]

Each side is a process of its own, on the same cores, one after the other in every round (A B A B); a side loads, warms
up, and is timed once. Printed are the medians of real target tokens a second, the median of the ratios to the first
side round by round, and load time, time to the first token and peak memory apart. Outputs are compared: the share of
rows whose ids equal the first side's. Weights are random, so no text ends by itself: GPT-2 writes 128 tokens after 32;
the translator (Transformer base, the shape of OPUS-MT) writes 32 for sources of 8 to 48 tokens, by 4 beams.

PYTHON: an interpreter with torch, transformers and ctranslate2, for the peers. Writes benchmarks/results/decode.json.
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

RESULTS = Path(__file__).parent / "results" / "decode.json"


class Work(NamedTuple):
    model: str
    rows: int
    beams: int
    new_tokens: int


WORKS = {
    "gpt2-1": Work("gpt2", 1, 1, 128),
    "gpt2-32": Work("gpt2", 32, 1, 128),
    "base-1": Work("base", 1, 4, 32),
    "base-32": Work("base", 32, 4, 32),
}
GPT2 = {"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12}
BASE = {
    "model_type": "marian",
    "vocab_size": 58101,
    "d_model": 512,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
    "decoder_ffn_dim": 2048,
    "max_position_embeddings": 512,
    "activation_function": "swish",
    "scale_embedding": True,
    "pad_token_id": 58100,
    "eos_token_id": 0,
    "decoder_start_token_id": 58100,
    "forced_eos_token_id": 0,
}
CONFIGS = {"gpt2": ("GPT2LMHeadModel", GPT2), "base": ("MarianMTModel", BASE)}


def make_model(name: str, directory: Path) -> None:
    """A checkpoint with random weights."""
    from safetensors.numpy import save_file

    from regard.models.catalog import family
    from regard.models.family import Config

    architecture, values = CONFIGS[name]
    config = {**values, "architectures": [architecture]}
    known = family(config["model_type"])
    spec = known.from_config(Config(dict(config)))
    random, tensors = np.random.default_rng(0), {}
    for rule in known.rules(spec):
        spread = 0.0 if rule.path.endswith("bias") else 0.08
        value = random.normal(0, spread, rule.shape).astype(np.float32)
        tensors |= rule.split(np.ones_like(value) if rule.path.endswith("scale") else value)
    tensors |= {name: made().astype(np.float32) for name, made in known.constants(spec).items()}
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config))
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def batch_of(work: Work) -> dict[str, np.ndarray]:
    """The same ids for every side."""
    random = np.random.default_rng(2)
    if work.model == "gpt2":
        return {
            "input_ids": random.integers(1, 50000, (work.rows, 32)),
            "attention_mask": np.ones((work.rows, 32), int),
        }
    lengths = random.integers(8, 49, work.rows)
    ids = random.integers(1, 58000, (work.rows, lengths.max()))
    mask = (np.arange(lengths.max()) < lengths[:, None]).astype(int)
    return {"input_ids": np.where(mask == 1, ids, 58100), "attention_mask": mask}


def regard_side(engine: str, dtype: str) -> Callable[[Path, Work], Callable[[int], np.ndarray]]:
    def load(model: Path, work: Work) -> Callable[[int], np.ndarray]:
        if engine == "openvino":
            from regard.export.openvino_model import load_openvino

            found: Any = load_openvino(model, weights=dtype)  # type: ignore[arg-type]
        else:
            import regard

            found = regard.load_model(model, dtype=dtype)
        batch = batch_of(work)
        options = {"num_beams": work.beams, "early_stopping": True, "eos_token_id": None, "forced_eos_token_id": None}
        return lambda new: found.generate(batch, max_new_tokens=new, **options).sequences[:, 0]

    return load


def transformers_side(dtype: str) -> Callable[[Path, Work], Callable[[int], np.ndarray]]:
    def load(model: Path, work: Work) -> Callable[[int], np.ndarray]:
        import torch
        from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

        kind = AutoModelForCausalLM if work.model == "gpt2" else AutoModelForSeq2SeqLM
        found = kind.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
        batch = {name: torch.tensor(value) for name, value in batch_of(work).items()}
        prompt = batch["input_ids"].shape[1] if work.model == "gpt2" else 1
        found.generation_config.eos_token_id = found.generation_config.forced_eos_token_id = None
        found.generation_config.pad_token_id = 50256 if work.model == "gpt2" else 58100

        def generate(new: int) -> np.ndarray:
            with torch.inference_mode():
                ids = found.generate(
                    **batch, num_beams=work.beams, max_new_tokens=new, min_new_tokens=new, do_sample=False
                )
            return ids[:, prompt:].numpy()

        return generate

    return load


def ctranslate2_side(compute_type: str) -> Callable[[Path, Work], Callable[[int], np.ndarray]]:
    def load(model: Path, work: Work) -> Callable[[int], np.ndarray]:
        import ctranslate2

        converted = model.parent / f"{model.name}-ct2"
        if not converted.exists():
            convert_for_ctranslate2(model, converted)
        threads, size = {"intra_threads": os.cpu_count(), "inter_threads": 1}, batch_of(work)
        rows = [ids[mask == 1].tolist() for ids, mask in zip(size["input_ids"], size["attention_mask"], strict=True)]
        tokens = [[f"t{token}" for token in row] for row in rows]
        if work.model == "gpt2":
            generator = ctranslate2.Generator(str(converted), compute_type=compute_type, **threads)

            def write(new: int) -> np.ndarray:
                found = generator.generate_batch(
                    tokens, max_length=new, min_length=new, sampling_topk=1, include_prompt_in_result=False
                )
                return np.array([entry.sequences_ids[0] for entry in found])

            return write
        translator = ctranslate2.Translator(str(converted), compute_type=compute_type, **threads)

        def translate(new: int) -> np.ndarray:
            found = translator.translate_batch(
                tokens, beam_size=work.beams, max_decoding_length=new, min_decoding_length=new, length_penalty=1
            )
            texts = [entry.hypotheses[0] for entry in found]
            return np.array([[int(token[1:]) for token in text] for text in texts])

        return translate

    return load


def convert_for_ctranslate2(model: Path, target: Path) -> None:
    """By CTranslate2's own loaders, with the tokens t0, t1, ... for a vocabulary."""
    import ctranslate2
    from ctranslate2.converters import transformers as convert

    class Plain(convert.TransformersConverter):  # random weights have no tokenizer
        def load_tokenizer(self, tokenizer_class: Any, *_: Any, **__: Any) -> Any:
            size = json.loads((model / "config.json").read_text())["vocab_size"]
            vocabulary = {f"t{i}": i for i in range(size)}
            return type(
                "Plain",
                (),
                {
                    "get_vocab": lambda self: vocabulary,
                    "bos_token": "t50256",
                    "eos_token": "t0" if "marian" in model_type else "t50256",
                    "unk_token": "t1",
                    "added_tokens_encoder": {},
                    "encoder": vocabulary,
                },
            )()

    model_type = json.loads((model / "config.json").read_text())["model_type"]
    Plain(str(model)).convert(str(target))
    assert ctranslate2.contains_model(str(target))


SIDES = {
    "regard openvino float32": regard_side("openvino", "float32"),
    "regard openvino bfloat16": regard_side("openvino", "bfloat16"),
    "regard openvino int8": regard_side("openvino", "int8"),
    "regard tensorflow float32": regard_side("tensorflow", "float32"),
    "regard tensorflow bfloat16": regard_side("tensorflow", "bfloat16"),
    "transformers float32": transformers_side("float32"),
    "transformers bfloat16": transformers_side("bfloat16"),
    "ctranslate2 float32": ctranslate2_side("float32"),
    "ctranslate2 int8": ctranslate2_side("int8"),
}


def measure(side: str, work: Work, model: Path) -> dict[str, Any]:
    """One process's share: load, first token, warm-up, the timed run."""
    began = time.perf_counter()
    generate = SIDES[side](model, work)
    loaded = time.perf_counter()
    generate(1)
    first = time.perf_counter()
    generate(work.new_tokens)
    timed = time.perf_counter()
    ids = np.asarray(generate(work.new_tokens))
    seconds = time.perf_counter() - timed
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return {
        "tokens_per_second": ids.size / seconds,
        "load_seconds": loaded - began,
        "first_token_seconds": first - began,
        "peak_mb": peak / 1024,
        "ids": ids.tolist(),
    }


def run_side(side: str, work: str, model: Path, python: str) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [python, __file__, "--side", side, "--works", work, "--model", str(model)]
    environment = {**os.environ, "CT2_FORCE_CPU_ISA": "AVX512", "TF_CPP_MIN_LOG_LEVEL": "3"}
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if finished.returncode:
        raise SystemExit(f"{side}, {work}: {finished.stderr.strip().splitlines()[-1]}")
    return json.loads(finished.stdout.splitlines()[-1])


def summary(rounds: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row a side; ratios are to the first."""
    first, rows = next(iter(rounds.values())), []
    for side, found in rounds.items():
        ratios = [
            one["tokens_per_second"] / other["tokens_per_second"] for one, other in zip(found, first, strict=True)
        ]
        equal = [one == other for one, other in zip(found[-1]["ids"], first[-1]["ids"], strict=True)]
        rows.append(
            {
                "side": side,
                **{
                    name: statistics.median(entry[name] for entry in found)
                    for name in ("tokens_per_second", "load_seconds", "first_token_seconds", "peak_mb")
                },
                "ratio": statistics.median(ratios),
                "ratios": ratios,
                "equal_rows": sum(equal) / len(equal),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default=sys.executable, help="the interpreter of the peers")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments.side, WORKS[arguments.works[0]], arguments.model)))
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.works:
            model = Path(scratch) / WORKS[name].model
            if not model.exists():
                make_model(WORKS[name].model, model)
            rounds: dict[str, list[dict[str, Any]]] = {side: [] for side in arguments.sides}
            for _ in range(arguments.rounds):
                for side in arguments.sides:
                    python = sys.executable if side.startswith("regard") else arguments.peers
                    rounds[side].append(run_side(side, name, model, python))
            results[name] = summary(rounds)
            print(f"\n{name}\n{'side':28} tokens/s  ratio  equal rows  load s  first token s  peak MB")
            for row in results[name]:
                print(
                    f"{row['side']:28} {row['tokens_per_second']:8.1f} {row['ratio']:6.2f} {row['equal_rows']:11.0%}"
                    f" {row['load_seconds']:7.2f} {row['first_token_seconds']:14.2f} {row['peak_mb']:8.0f}",
                    flush=True,
                )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
