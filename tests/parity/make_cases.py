"""Make the parity cases anew: `python tests/parity/make_cases.py [--into DIRECTORY] [NAME ...]`.

Needs the extra `oracle` (torch, transformers). README.md beside this file says what the cases are.
"""

import argparse
import fnmatch
import sys
import warnings
from pathlib import Path

import torch
import transformers
from oracle import audio, decoders, embeddings, encoders, images, legacy, seq2seq
from oracle.case import Case
from oracle.directory import make

HERE = Path(__file__).resolve().parent
PARTS = (encoders, embeddings, decoders, seq2seq, audio, images, legacy)
CASES: dict[str, Case] = {case.name: case for part in PARTS for case in part.CASES}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the parity cases anew.")
    parser.add_argument("names", nargs="*", metavar="NAME", help='cases, or patterns such as "bert-*"; none: all')
    parser.add_argument("--into", type=Path, default=HERE / "cases")
    options = parser.parse_args()
    chosen = [name for name in CASES if any(fnmatch.fnmatch(name, given) for given in options.names or ["*"])]
    if not chosen:
        sys.exit(f"no case is called {' or '.join(options.names)}; there are {', '.join(CASES)}")
    quieten()
    for name in chosen:
        attempts = make(CASES[name], options.into / name)
        size = sum(file.stat().st_size for file in (options.into / name).rglob("*") if file.is_file())
        print(f"{name:60} {size / 1024:6.1f} KiB, attempt {attempts}", flush=True)


def quieten() -> None:
    torch.set_num_threads(1)  # sums in one order
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


if __name__ == "__main__":
    main()
