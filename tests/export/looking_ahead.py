"""What the tests of guesses that are read ahead have in common."""

from functools import cache
from pathlib import Path

from regard.export.openvino_model import load_openvino

CASES = Path(__file__).parents[1] / "parity" / "cases"
WAYS = {
    "greedy": {},
    "scored": {"return_scores": True},
    "ruled": {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3},
    "sampled": {"do_sample": True, "temperature": 0.3, "seed": (4, 5, 6)},
    "ended": {"eos_token_id": tuple(range(20, 40)), "min_new_tokens": 4, "forced_eos_token_id": 3},
}


@cache
def engine(name: str):
    return load_openvino(CASES / name)
