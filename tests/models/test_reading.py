"""Tokens that are read several at once, over what was read and taken back, against the full forward pass."""

from pathlib import Path

import numpy as np
import pytest

from regard.interop.checkpoints import load_model
from regard.models.reading import before_all

CASES = Path(__file__).parents[1] / "parity" / "cases"


@pytest.mark.parametrize("name", ["qwen2-language-model-window", "t5-seq2seq"])
def test_what_is_read_in_pieces_is_as_the_whole_and_what_was_wrong_is_written_over(name):
    """Rows of which one is a slot behind, in more slots than there was room for at first."""
    model, rng = load_model(CASES / name), np.random.default_rng(0)
    texts = rng.integers(4, 30, (2, 21)).astype("int32")
    batch = {"input_ids": texts} if model.spec.form == "decoder" else {"input_ids": texts[:, :4]}
    side = "" if model.spec.form == "decoder" else "decoder_"
    whole = np.asarray(model({**batch, side + "input_ids": texts}).logits)
    inputs = {**batch, "attention_mask": np.ones_like(batch["input_ids"])}
    reading = model.generator._reader(inputs, before_all).begun(inputs)
    real = np.zeros((2, 0), "int32")

    def read(first, last, tokens=texts):
        """The tokens of row 0 from `first` to `last`, those of row 1 one place before."""
        nonlocal real
        spans = [(first, last), (max(first - 1, 0), last - 1)]
        ids = np.stack([np.resize(tokens[row, slice(*span)], last - first) for row, span in enumerate(spans)])
        places = np.stack([np.arange(first, last), np.arange(first, last) - (first > 0)])
        new = np.ones_like(ids)
        new[1, -1] = first > 0  # of row 1 the first piece ends with padding
        real = np.concatenate([real, new], axis=1)
        return spans, reading(ids, places, real, None, last - first)

    for first, last in ((0, 3), (3, 4), (4, 9), (9, 21)):
        kept = real
        read(first, last, tokens=(texts + 1) % 30)  # guesses, all of them wrong
        real = kept
        spans, logits = read(first, last)
        for row, (start, end) in enumerate(spans):
            np.testing.assert_allclose(logits[row, : end - start], whole[row, start:end], atol=2e-4)
    alone = reading(texts[1:, 20:], np.array([[20]]), np.pad(real[1:], ((0, 0), (0, 1)), constant_values=1), [1], 1)
    np.testing.assert_allclose(alone[0, 0], whole[1, 20], atol=2e-4)
