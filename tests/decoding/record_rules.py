"""Record what Transformers' logits processors make of random scores, for test_recorded_rules.py.

Needs torch and transformers: python tests/decoding/record_rules.py. Written with Transformers 5.23.0 and torch 2.13.
"""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

V, T, CASES = 13, 8, 160
HERE = Path(__file__).parent


def options_of(draw: random.Random) -> dict[str, Any]:
    """Each rule in one case of five; all of sampling's only where the case samples."""

    def word() -> list[int]:
        return [draw.randrange(V) for _ in range(draw.choice([1, 1, 2, 3]))]

    rules = {
        "sequence_bias": [[list(w), round(draw.uniform(-4, 4), 2)] for w in {tuple(word()) for _ in range(8)}],
        "encoder_repetition_penalty": draw.choice([0.5, 1.7]),
        "repetition_penalty": draw.choice([0.7, 1.4]),
        "no_repeat_ngram_size": draw.choice([1, 2, 3]),
        "encoder_no_repeat_ngram_size": draw.choice([1, 2, 3]),
        "bad_words_ids": [word() for _ in range(4)],
        "min_new_tokens": draw.choice([1, 3, 5]),
        "forced_bos_token_id": 11,
        "forced_eos_token_id": 0,
        "exponential_decay_length_penalty": [draw.choice([0, 1, 2]), draw.choice([1.5, 1.01, 0.6])],
        "suppress_tokens": [draw.randrange(1, 11) for _ in range(3)],
        "begin_suppress_tokens": [draw.randrange(1, 11) for _ in range(3)],
        "renormalize_logits": True,
    }
    sampling = {
        "temperature": draw.choice([0.6, 1.7]),
        "top_h": draw.choice([0.3, 0.6, 0.9]),
        "top_k": draw.choice([3, 6]),
        "top_p": draw.choice([0.3, 0.9]),
        "min_p": draw.choice([0.05, 0.4]),
        "typical_p": draw.choice([0.2, 0.5, 0.9]),
        "epsilon_cutoff": draw.choice([0.02, 0.2]),
        "eta_cutoff": draw.choice([0.02, 0.3, 0.8]),
    }
    beams, samples = draw.choice([1, 2]), draw.random() < 0.6
    chosen = {name: value for name, value in rules.items() if draw.random() < 0.2}
    if samples:
        chosen |= {"top_k": 0} | {name: value for name, value in sampling.items() if draw.random() < 0.3}
    return {
        "max_new_tokens": T,
        "num_beams": beams,
        "do_sample": samples,
        "eos_token_id": draw.choice([0, [0, 5]]),
    } | chosen


def case_of(draw: random.Random) -> dict[str, Any]:
    options, seed, step = options_of(draw), draw.randrange(2**31), draw.randrange(T)

    def ids(count: int) -> list[int]:
        return [draw.randrange(V) for _ in range(count)]

    prompt, source = ids(draw.choice([1, 1, 4])), ids(draw.randint(1, 6))
    generated = [ids(step) for _ in range(options["num_beams"])]
    allowed = [ids(draw.randint(1, T + 1)) for _ in range(20)] + [
        [*row, *ids(3)] for row in generated for _ in range(4)
    ]
    return {
        "options": options, "seed": seed, "prompt": prompt, "source": source, "generated": generated,
        "allowed": allowed if draw.random() < 0.2 else None,
    }  # fmt: skip


def recorded(model: GPT2LMHeadModel, case: dict[str, Any]) -> list[list[float | None]]:
    options, prompt = case["options"], case["prompt"]
    config = GenerationConfig(**({"top_k": 0} | options), max_length=len(prompt) + T)
    config._eos_token_tensor = torch.tensor(options["eos_token_id"]).reshape(-1)

    def may_follow(_: int, ids: torch.Tensor) -> list[int]:
        before = ids.tolist()[len(prompt) :]
        return sorted({q[len(before)] for q in case["allowed"] if len(q) > len(before) and q[: len(before)] == before})

    processors = model._get_logits_processor(
        config, input_ids_seq_length=len(prompt), encoder_input_ids=torch.tensor([case["source"]]),
        prefix_allowed_tokens_fn=may_follow if case["allowed"] else None, device="cpu", model_kwargs={},
    )  # fmt: skip
    scores = np.random.default_rng(case["seed"]).standard_normal((options["num_beams"], V)).astype("float32") * 2
    history = torch.tensor([[*prompt, *row] for row in case["generated"]])
    found = processors(history, torch.tensor(scores))
    return [[None if np.isneginf(x) else round(x, 5) for x in row] for row in found.tolist()]


def main() -> None:
    """Write rules.json beside this file."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=V, n_embd=8, n_layer=1, n_head=1, n_positions=32)).eval()
    draw, lines = random.Random(0), []
    while len(lines) < CASES:
        case = case_of(draw)
        expected = recorded(model, case)
        if all(any(x is not None for x in row) for row in expected):  # else Transformers has NaN
            lines.append(json.dumps(case | {"expected": expected}))
    (HERE / "rules.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
