"""What `generate` goes on from, as Transformers completes it, on both engines."""

from pathlib import Path

import numpy as np
import pytest

import regard
from regard.decoding.options import GenerationOptions
from regard.decoding.stops import stop_strings_table
from regard.export.openvino_model import load_openvino
from regard.models.prompts import completed, prompt_length

CASES = Path(__file__).parents[1] / "parity" / "cases"
LOADERS = {"tensorflow": regard.load_model, "openvino": load_openvino}


@pytest.fixture(scope="module", params=LOADERS)
def load(request):
    kept = {}

    def loaded(name):
        if name not in kept:
            kept[name] = LOADERS[request.param](CASES / name)
        return kept[name]

    return loaded


def test_max_length_counts_the_longest_prompt(load):
    model = load("llama-language-model")
    ids, mask = np.array([[9, 4, 7, 5], [0, 0, 8, 6]]), np.array([[1, 1, 1, 1], [0, 0, 1, 1]])
    asked = {"max_length": 9, "eos_token_id": None}
    found = model.generate({"input_ids": ids, "attention_mask": mask}, **asked)
    assert found.lengths.tolist() == [[5], [5]]
    wide = [np.pad(array, ((0, 0), (3, 0))) for array in (ids, mask)]
    again = model.generate({"input_ids": wide[0], "attention_mask": wide[1]}, **asked)
    np.testing.assert_array_equal(found.sequences, again.sequences)


def test_padding_is_told_by_its_id_where_there_is_no_mask(load):
    model = load("llama-language-model")
    pad = model.spec.tokens.pad
    assert pad is not None
    ids = np.array([[9, 4, 7, 5], [pad, pad, 8, 6]])
    implied = model.generate({"input_ids": ids}, max_new_tokens=4)
    said = model.generate({"input_ids": ids, "attention_mask": (ids != pad).astype(int)}, max_new_tokens=4)
    np.testing.assert_array_equal(implied.sequences, said.sequences)
    all_real = model.generate({"input_ids": ids, "attention_mask": np.ones_like(ids)}, max_new_tokens=4)
    assert not np.array_equal(all_real.sequences, said.sequences)


def test_a_prompt_without_the_start_token_is_given_it(load):
    model = load("marian-seq2seq")
    start, source = model.spec.tokens.decoder_start, np.array([[9, 4, 7], [8, 6, 5]])
    prompt = np.array([[5, 6], [7, 8]])
    with_it = np.concatenate([np.full((2, 1), start), prompt], axis=1)
    one, other = (
        model.generate({"input_ids": source, "decoder_input_ids": ids}, max_new_tokens=4) for ids in (prompt, with_it)
    )
    np.testing.assert_array_equal(one.sequences, other.sequences)


def test_a_forced_first_token_is_for_the_rows_whose_prompt_is_one_token(load):
    model = load("llama-language-model")
    ids, mask = np.array([[4, 5, 6], [0, 0, 9]]), np.array([[1, 1, 1], [0, 0, 1]])
    options = {"forced_bos_token_id": 8, "max_new_tokens": 3, "eos_token_id": None}
    together = model.generate({"input_ids": ids, "attention_mask": mask}, **options)
    assert together.sequences[1, 0, 0] == 8
    for row, length in ((0, 3), (1, 1)):
        alone = model.generate({"input_ids": ids[row : row + 1, -length:]}, **options)
        np.testing.assert_array_equal(alone.sequences[0], together.sequences[row])


def test_a_mask_stays_what_it_is_where_a_text_may_end_in_the_padding():
    spec = load_openvino(CASES / "llama-language-model").spec
    ids = np.array([[5, 2, 2]])
    kept = completed({"input_ids": ids}, spec, GenerationOptions(pad_token_id=2, eos_token_id=2))
    assert kept["attention_mask"].tolist() == [[1, 1, 1]]
    told = completed({"input_ids": ids}, spec, GenerationOptions(pad_token_id=2, eos_token_id=3))
    assert told["attention_mask"].tolist() == [[1, 0, 0]]
    assert prompt_length(told, spec) == 1
    assert prompt_length({"input_ids": ids}, spec) == 3


def test_a_prompt_under_a_rule_takes_sources_of_any_length(load):
    model = load("marian-seq2seq")
    source, prompt = np.array([[9, 4, 7, 8, 6, 0]]), np.array([[model.spec.tokens.decoder_start, 5, 6]])
    options = {"max_new_tokens": 4, "repetition_penalty": 1.4, "encoder_no_repeat_ngram_size": 2}
    for length in (6, 4):
        batch = {"input_ids": source[:, :length], "decoder_input_ids": prompt}
        found = model.generate(batch, **options)
        wide = {"input_ids": np.pad(source[:, :length], ((0, 0), (3, 0))), "attention_mask": np.ones((1, length), int)}
        wide["attention_mask"] = np.pad(wide["attention_mask"], ((0, 0), (3, 0)))
        again = model.generate({**wide, "decoder_input_ids": prompt}, **options)
        np.testing.assert_array_equal(found.sequences, again.sequences)


def test_stops_of_any_size_end_a_text_under_a_rule_on_its_prompt(load):
    model = load("llama-language-model")
    batch = {"input_ids": np.array([[9, 4, 7]])}
    options = {"max_new_tokens": 5, "repetition_penalty": 1.4, "eos_token_id": None}
    text = [str(token) for token in range(model.spec.text.vocab_size)]
    free = model.generate(batch, **options).sequences[0, 0]
    for words in ([text[free[2]]], [text[free[1]] + text[free[2]], text[free[3]], "no such text"]):
        found = model.generate(batch, stops=stop_strings_table(words, text), **options)
        assert found.lengths.tolist() == [[3]]
