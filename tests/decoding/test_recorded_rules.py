"""All rules together, in Transformers' order: what its logits processors made of random scores (record_rules.py)."""

import json
from pathlib import Path

import numpy as np
import pytest

from regard.decoding import numpy_ops as ops
from regard.decoding.histories import aligned
from regard.decoding.options import GenerationOptions
from regard.decoding.processors import Processors, margin
from regard.decoding.rows import Rows
from regard.decoding.trie import TokenTrie

CASES = json.loads((Path(__file__).parent / "rules.json").read_text())


def processed(case, options):
    beams, step = options.num_beams, len(case["generated"][0])
    scores = np.random.default_rng(case["seed"]).standard_normal((1, beams, 13)).astype("float32") * 2
    prompt, source = (aligned(np.array([case[name]]), None, margin(options), ops) for name in ("prompt", "source"))
    rows = Rows(prompt, source, trie=TokenTrie.of(case["allowed"]) if case["allowed"] else ())
    sequences = np.full((1, beams, options.max_new_tokens), -1, "int32")
    sequences[0, :, :step] = case["generated"]
    states = rows.start(1, beams, ops)
    for t in range(step):
        states, _ = rows.follow(states, sequences[:, :, t], ops)
    return Processors(options, rows, ops)(scores, sequences, np.int32(step), states)[0]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_the_rules_do_what_transformers_does(case):
    options = GenerationOptions(**({"top_k": 0} | case["options"]))
    found, expected = processed(case, options), np.array(case["expected"], "float64")
    expected = np.where(np.isnan(expected), -np.inf, expected)
    if options.num_beams == 1:  # only differences count: ours are shifted, and not normalised
        found, expected = (row - row.max(axis=-1, keepdims=True) for row in (found, expected))
    np.testing.assert_array_equal(np.isneginf(found), np.isneginf(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_recorded_cases_use_every_rule_often():
    used = [name for case in CASES for name in case["options"]]
    names = {
        "sequence_bias",
        "encoder_repetition_penalty",
        "repetition_penalty",
        "no_repeat_ngram_size",
        "bad_words_ids",
    }
    names |= {"encoder_no_repeat_ngram_size", "min_new_tokens", "forced_bos_token_id", "forced_eos_token_id", "top_h"}
    names |= {"exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens", "renormalize_logits"}
    names |= {"temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"}
    assert {name for name in names if used.count(name) < 15} == set()
    assert sum(bool(case["allowed"]) for case in CASES) > 15
