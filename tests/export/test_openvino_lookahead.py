"""Prompt lookup changes how often the network runs, and nothing else."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openvino")
from regard.decoding.options import GenerationOptions
from regard.errors import ConfigError

sys.path.append(str(Path(__file__).parent))

from looking_ahead import WAYS, engine

IDS = np.array([[9, 4, 7, 5, 9, 4], [8, 6, 8, 6, 0, 0], [5, 5, 5, 0, 0, 0]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS > 0).astype(int)}


def runs_of(model, monkeypatch):
    """How often the decoder runs from now on."""
    count, request = [], model._decoder

    class Counted:
        def __getattr__(self, name):
            return getattr(request, name)

        def run(self, feed):
            count.append(1)
            request.run(feed)

    monkeypatch.setattr(model, "_decoder", Counted())
    return count


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["llama-language-model", "gpt2-language-model", "marian-seq2seq", "t5-seq2seq"])
def test_the_same_is_found_with_fewer_runs(monkeypatch, name, way):
    model, options = engine(name), {"eos_token_id": (), "max_new_tokens": 18, **WAYS[way]}
    plain = model.generate(BATCH, **options)
    count = runs_of(model, monkeypatch)
    for guesses in (1, 4):
        count.clear()
        found = model.generate(BATCH, prompt_lookup_num_tokens=guesses, **options)
        np.testing.assert_array_equal(found.sequences, plain.sequences)
        assert len(count) <= plain.lengths.max()
        if plain.scores is not None:
            np.testing.assert_allclose(found.scores, plain.scores, atol=1e-5)


def test_a_text_that_repeats_itself_is_written_in_a_fraction_of_the_runs(monkeypatch):
    model = engine("llama-language-model")
    others = [token for token in range(model.spec.text.vocab_size) if token not in (5, 6)]
    options = {"eos_token_id": (), "max_new_tokens": 40, "suppress_tokens": others}
    alone = {key: value[:1] for key, value in BATCH.items()}
    count = runs_of(model, monkeypatch)
    plain = model.generate(alone, **options)
    assert len(count) == 40
    count.clear()
    *_, last = model.generate_stream(alone, prompt_lookup_num_tokens=5, **options)
    np.testing.assert_array_equal(last.sequences, plain.sequences)
    assert len(count) < 30


def test_what_cannot_be_looked_up_is_refused():
    with pytest.raises(ConfigError, match="prompt_lookup_num_tokens is for one hypothesis a text"):
        GenerationOptions(num_beams=2, prompt_lookup_num_tokens=3)
    with pytest.raises(ConfigError, match="prompt_lookup_num_tokens must be at most 64, but is 65"):
        GenerationOptions(prompt_lookup_num_tokens=65)
    said = GenerationOptions.from_generation_config(json.loads('{"prompt_lookup_num_tokens": 10}'))
    assert said.prompt_lookup_num_tokens == 10
