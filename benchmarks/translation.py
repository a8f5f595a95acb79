"""What a trained translator keeps in 8 bits, and how fast it is: Regard beside CTranslate2 on a run's test split.

    python benchmarks/translation.py runs/en-de --torch PYTHON

PYTHON has torch, transformers and ctranslate2; without it Regard's engines are measured alone. Every side translates
the same token ids, sorted by length into the same batches, by 4 beams whose scores are divided by their lengths, and
its ids become text by the run's tokenizer. Each is a process of its own, one after the other in every round (A B A B),
on the same cores. Printed: BLEU and chrF with the 95 % bootstrap interval of BLEU; how far BLEU lies above the first
side's, and above that of the side that --beside names, with the interval of the paired bootstrap (Koehn 2004); texts
that equal the first side's; medians of real target tokens a second, of their ratio to --beside, and of peak memory
(VmHWM). Writes benchmarks/results/translation.json. A speed on a shared machine is a ratio within one run.
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
from typing import Any

import numpy as np
from decode import machine
from decode_models import ctranslate2_model
from decode_sides import ISA, THREADS

RESULTS = Path(__file__).parent / "results" / "translation.json"
BEAMS = 4
MOST_TOKENS = 128  # of a translation

Ids = list[list[int]]
Translate = Callable[[Ids], Ids]  # sources -> targets without eos


def regard_side(engine: str, dtype: str) -> Callable[[Path], Translate]:
    def load(model: Path) -> Translate:
        import regard

        found: Any = regard.load(model, engine=engine, dtype=dtype).engine
        options: dict[str, Any] = {"num_beams": BEAMS, "early_stopping": True, "max_new_tokens": MOST_TOKENS}
        options |= {"length_penalty": 1.0, "length_penalty_form": "transformers"}
        eos = json.loads((model / "config.json").read_text())["eos_token_id"]

        def translate(sources: Ids) -> Ids:
            lengths = np.array([len(source) for source in sources])
            mask = (np.arange(lengths.max()) < lengths[:, None]).astype(int)
            ids = np.zeros_like(mask)
            ids[mask == 1] = np.concatenate(sources)
            written = found.generate({"input_ids": ids, "attention_mask": mask}, **options)
            rows = zip(written.sequences[:, 0], written.lengths[:, 0], strict=True)
            return [[token for token in row[:length].tolist() if token != eos] for row, length in rows]

        return translate

    return load


def ctranslate2_side(compute_type: str) -> Callable[[Path], Translate]:
    def load(model: Path) -> Translate:
        import ctranslate2

        path = str(ctranslate2_model(model))
        translator = ctranslate2.Translator(path, compute_type=compute_type, intra_threads=THREADS, inter_threads=1)
        asked: dict[str, Any] = {"beam_size": BEAMS, "length_penalty": 1, "max_decoding_length": MOST_TOKENS}
        asked["suppress_sequences"] = [["<pad>"]]

        def translate(sources: Ids) -> Ids:
            found = translator.translate_batch([[f"t{token}" for token in source] for source in sources], **asked)
            return [[int(token[1:]) for token in one.hypotheses[0]] for one in found]

        return translate

    return load


SIDES: dict[str, tuple[Callable[[Path], Translate], str]] = {  # and the interpreter
    "regard tensorflow float32": (regard_side("tensorflow", "float32"), "regard"),
    "regard openvino float32": (regard_side("openvino", "float32"), "regard"),
    "regard openvino int8": (regard_side("openvino", "int8"), "regard"),
    "ctranslate2 float32": (ctranslate2_side("float32"), "torch"),
    "ctranslate2 int8": (ctranslate2_side("int8"), "torch"),
}


def measure(name: str, model: Path, batches: list[Ids]) -> dict[str, Any]:
    """One process's share: load, warm up, translate all."""
    translate = SIDES[name][0](model)
    for batch in batches[:: max(1, len(batches) // 4)]:
        translate([source[::-1] for source in batch])  # other texts of the same lengths
    start = time.perf_counter()
    rows = [row for batch in batches for row in translate(batch)]
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return {"rows": rows, "seconds": seconds, "tokens": sum(len(row) + 1 for row in rows), "peak_mb": peak / 1024}


def run_side(name: str, model: Path, batches: Path, python: str) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [python, __file__, str(model), "--side", name, "--batches", str(batches)]
    environment = {**os.environ, **dict([ISA]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if finished.returncode:
        sys.exit(f"{name}: {(finished.stderr.strip() or 'no word').splitlines()[-1]}")
    found: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return found


def compare(
    run: Path, torch: str | None, rounds: int, rows: int, beside: str, limit: int | None
) -> list[dict[str, Any]]:
    """A line a side."""
    import regard
    from regard.data.shards import PreparedData

    data = PreparedData.open(run / "data")
    split = data.split("test")
    chosen = range(0, len(split), max(1, len(split) // (limit or len(split))))
    order = sorted(chosen, key=lambda place: len(split.row(place)[0]))
    sources = [split.row(place)[0].tolist() for place in order]
    references = [split.text(place)[1] for place in order]
    target_lang = split.text(0)[3]
    pythons = {"regard": sys.executable, "torch": torch}
    names = [name for name, (_, python) in SIDES.items() if pythons[python]]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as scratch:
        model, batches = Path(scratch) / "model", Path(scratch) / "batches.json"
        regard.save_model(regard.load(run, dtype="float32").engine, model)
        batches.write_text(json.dumps([sources[at : at + rows] for at in range(0, len(sources), rows)]))
        for number in range(rounds):
            for name in names:
                found[name].append(run_side(name, model, batches, str(pythons[SIDES[name][1]])))
                print(f"round {number + 1}: {name}: {found[name][-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
    texts = {name: [data.tokenizer.decode(row) for row in found[name][0]["rows"]] for name in names}
    beside = beside if beside in names else names[0]
    return [_line(name, found, texts, references, target_lang, beside) for name in names]


def _line(
    name: str,
    found: dict[str, list[dict[str, Any]]],
    texts: dict[str, list[str]],
    references: list[str],
    target_lang: str | None,
    beside: str,
) -> dict[str, Any]:
    from regard.metrics.resampling import paired_bootstrap
    from regard.metrics.translation import bleu_of, bleu_statistics, score

    scored = score(texts[name], references, target_lang, resamples=1000)
    line: dict[str, Any] = {"side": name, "bleu": scored.bleu, "bleu_interval": scored.bleu_interval}
    line |= {"chrf": scored.chrf, "chrf_interval": scored.chrf_interval, "sentences": len(references)}
    own = bleu_statistics(texts[name], references, target_lang)
    for key, other in (("above_first", next(iter(found))), ("above_beside", beside)):
        if other != name:
            theirs = bleu_statistics(texts[other], references, target_lang)
            found_above = paired_bootstrap(bleu_of, theirs, own)
            line[key] = {"side": other, "difference": found_above.difference, "interval": found_above.interval}
    speeds = {side: [one["tokens"] / one["seconds"] for one in found[side]] for side in (name, beside)}
    ratios = [own / other for own, other in zip(speeds[name], speeds[beside], strict=True)]
    same = sum(ours == theirs for ours, theirs in zip(texts[name], next(iter(texts.values())), strict=True))
    return {
        **line,
        "same_texts": same / len(references),
        "tokens_per_second": statistics.median(speeds[name]),
        "ratio": {"to": beside, "median": statistics.median(ratios), "rounds": ratios},
        "peak_mb": statistics.median(one["peak_mb"] for one in found[name]),
    }


def table(lines: list[dict[str, Any]]) -> str:
    text = [
        f"{'side':27} {'BLEU':>20} {'chrF':>6} {'above the first':>22} {'above --beside':>22}"
        "  same tokens/s ratio peak MB"
    ]
    for line in lines:
        low, high = line["bleu_interval"]
        gains = [_signed(line.get(key)) for key in ("above_first", "above_beside")]
        text.append(
            f"{line['side']:27} {line['bleu']:6.2f} ({low:.1f} to {high:.1f}) {line['chrf']:6.2f} {gains[0]:>22} "
            f"{gains[1]:>22} {line['same_texts']:5.0%} {line['tokens_per_second']:8.0f} "
            f"{line['ratio']['median']:5.2f} {line['peak_mb']:7.0f}"
        )
    return "\n".join(text)


def _signed(gain: dict[str, Any] | None) -> str:
    if gain is None:
        return ""
    low, high = gain["interval"]
    return f"{gain['difference']:+.2f} ({low:+.2f} to {high:+.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the directory of a translation run")
    parser.add_argument("--torch", metavar="PYTHON", help="the interpreter with torch, transformers and ctranslate2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="sentences, at equal distances through the split, for trying it")
    parser.add_argument("--rows", type=int, default=32, help="sentences of a batch")
    parser.add_argument("--beside", default="ctranslate2 int8", choices=SIDES, metavar="SIDE")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    for name, kind in (("--side", str), ("--batches", Path)):  # of a child
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        print(json.dumps(measure(asked.side, asked.run, json.loads(asked.batches.read_text()))))
        return
    print(f"machine: {machine()}", flush=True)
    lines = compare(asked.run, asked.torch, asked.rounds, asked.rows, asked.beside, asked.limit)
    print(table(lines))
    record = {"machine": machine(), "run": asked.run.name, "rows": asked.rows, "beams": BEAMS, "sides": lines}
    asked.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
