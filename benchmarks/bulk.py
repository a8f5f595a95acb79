"""How many processes translate a file soonest here: one that has all cores, or several that share them.

    python benchmarks/bulk.py MODEL --file LINES [--workers 1 2] [--rounds 5] [-- --engine openvino --num-beams 4]

Runs `regard translate MODEL --workers N --output ...` for each N in turns, A B A B, each time in processes of its own;
what stands after -- goes to each. Loading counts, so LINES should be many. Prints lines a second, the ratio to the
first N (the median of the rounds' ratios), and writes benchmarks/results/bulk.json; ends with code 1 where the texts
are not the same. A figure on a shared machine is a ratio within one run.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "bulk.json"
REGARD = "import sys; from regard.cli import main; sys.exit(main(sys.argv[1:]))"


def seconds(model: str, lines: Path, workers: int, output: Path, more: list[str]) -> float:
    output.unlink(missing_ok=True)
    command = [sys.executable, "-c", REGARD, "translate", model, "--file", str(lines), "--workers", str(workers)]
    began = time.perf_counter()
    done = subprocess.run([*command, "--output", str(output), *more], capture_output=True, text=True)
    spent = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"translating ended with code {done.returncode}:\n{done.stderr}")
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--file", type=Path, required=True, help="texts, one a line")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=RESULTS)
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments, passed_on = parser.parse_args(sys.argv[1:end]), sys.argv[end + 1 :]
    count = len(arguments.file.read_text("utf-8").splitlines())
    spent: dict[int, list[float]] = {workers: [] for workers in arguments.workers}
    texts = {}
    with tempfile.TemporaryDirectory() as place:
        output = Path(place) / "translations"
        for _ in range(arguments.rounds):
            for workers in arguments.workers:
                spent[workers].append(seconds(arguments.model, arguments.file, workers, output, passed_on))
                texts[workers] = output.read_text("utf-8")
    print(f"{count:,} lines, {arguments.rounds} rounds")
    print("| workers | seconds | lines/s | ratio |")
    print("|---|---|---|---|")
    for workers, rounds in spent.items():
        middle = statistics.median(rounds)
        ratio = statistics.median(
            one / other for one, other in zip(spent[arguments.workers[0]], rounds, strict=True)
        )  # of speeds: the first N's time over this one's
        print(f"| {workers} | {middle:.1f} | {count / middle:.1f} | {ratio:.2f} |")
    about = {"model": arguments.model, "lines": count, "passed_on": passed_on, "seconds": spent}
    arguments.results.parent.mkdir(exist_ok=True)
    arguments.results.write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    if len(set(texts.values())) > 1:
        raise SystemExit("the texts are not the same")


if __name__ == "__main__":
    main()
