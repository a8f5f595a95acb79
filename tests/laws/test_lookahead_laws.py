"""Guesses that are read ahead change how often the network runs, and nothing else."""

import keras
import numpy as np
import pytest

from regard.errors import ConfigError, InputError
from regard.models.forms import build_model
from regard.models.reading import AheadStepper, Reading

FORMS = ["decoder", "encoder-decoder"]
WAYS = {
    "greedy": {"eos_token_id": (8, 11, 18), "min_new_tokens": 2, "return_scores": True},
    "ruled": {
        "do_sample": True,
        "temperature": 0.5,
        "seed": (4, 5, 6, 7),
        "repetition_penalty": 1.2,
        "no_repeat_ngram_size": 3,
        "bad_words_ids": [[5, 6], [7]],
        "stop_sequences": [[9, 4], [11]],
        "eos_token_id": 3,
        "min_new_tokens": 4,
        "forced_eos_token_id": 3,
        "return_scores": True,
    },
}


def batch_of():
    """Texts that repeat themselves, padded on the left, on both sides, on the right and not at all."""
    ids = np.array([[22, 22, 9, 4, 9, 4], [22, 8, 6, 8, 6, 22], [5, 5, 22, 22, 22, 22], [1, 2, 3, 1, 2, 3]])
    return {"input_ids": ids, "attention_mask": (ids != 22).astype(int)}


@pytest.fixture(scope="module")
def plain(network):
    """`plain(form, way)`: what is found without guesses."""
    found = {}

    def get(form, way):
        if (form, way) not in found:
            found[form, way] = network(form).generate(batch_of(), max_new_tokens=14, **WAYS[way])
        return found[form, way]

    return get


@pytest.fixture(scope="module")
def assistant(tiny):
    """`assistant(form)`: an unrelated network of another depth and width."""

    def get(form):
        keras.utils.set_random_seed(3)
        return tiny.shake(build_model(tiny.spec(form, width=6, heads=2)), seed=5)

    kept = {form: get(form) for form in FORMS}
    return kept.__getitem__


@pytest.fixture
def rounds(monkeypatch):
    """How often a network reads on, and how many tokens a row at once; a draft does not count."""
    count, read = [], AheadStepper._read

    def counted(self, past):
        after = read(self, past)
        count.append(max(len(one.found) for one in after.ahead))
        return after

    monkeypatch.setattr(AheadStepper, "_read", counted)
    return count


def equal(found, expected):
    np.testing.assert_array_equal(found.sequences, expected.sequences)
    np.testing.assert_array_equal(found.lengths, expected.lengths)
    for name in ("scores", "token_scores"):
        mine, theirs = getattr(found, name), getattr(expected, name)
        assert (mine is None) == (theirs is None)
        if mine is not None:
            np.testing.assert_allclose(mine, theirs, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", FORMS)
def test_the_same_is_found_whoever_guesses(network, plain, assistant, rounds, form, way):
    model, expected = network(form), plain(form, way)
    asked = {"max_new_tokens": 14, **WAYS[way]}
    for guesses in (1, 5):
        rounds.clear()
        equal(model.generate(batch_of(), prompt_lookup_num_tokens=guesses, **asked), expected)
        assert max(rounds) > 1, "some guess was read"
    for helper in (model, assistant(form)):
        found = model.generate(batch_of(), assistant_model=helper, assistant_confidence_threshold=0, **asked)
        equal(found, expected)


def test_rows_that_end_early_leave_the_batch(network, plain, monkeypatch):
    lengths = plain("decoder", "greedy").lengths
    assert lengths.min() < lengths.max()
    rows, read = [], Reading.__call__

    def watched(self, ids, *others):
        rows.append(len(ids))
        return read(self, ids, *others)

    monkeypatch.setattr(Reading, "__call__", watched)
    asked = {"max_new_tokens": 14, "prompt_lookup_num_tokens": 3, **WAYS["greedy"]}
    equal(network("decoder").generate(batch_of(), **asked), plain("decoder", "greedy"))
    assert rows[-1] < rows[0] == 4


@pytest.mark.parametrize("form", FORMS)
def test_a_model_that_guesses_for_itself_is_always_right(network, assistant, rounds, form):
    model = network(form)
    one = {key: value[:1] for key, value in batch_of().items()}
    asked = {"eos_token_id": (), "max_new_tokens": 16, "assistant_confidence_threshold": 0, "num_assistant_tokens": 4}
    *_, last = model.generate_stream(one, assistant_model=model, every=3, **asked)
    assert rounds == [5, 5, 5, 1], "a token with four guesses thrice, and the last"
    rounds.clear()
    other = model.generate(one, assistant_model=assistant(form), **asked)
    assert len(rounds) > 4
    equal(other, last)


@pytest.mark.parametrize("form", FORMS)
def test_a_second_request_uses_the_same_graphs(network, assistant, form):
    model, helper = network(form), assistant(form)
    for size in (1, 4, 2):
        batch = {key: value[:size] for key, value in batch_of().items()}
        model.generate(batch, max_new_tokens=5, prompt_lookup_num_tokens=size)
        model.generate(batch, max_new_tokens=9, assistant_model=helper, repetition_penalty=1.5)
    searches = [*model.generator.searches.items(), *helper.generator.searches.items()]
    graphs = [graph for (kind, *_), reader in searches if kind == "reader" for graph in reader]
    assert [graph.experimental_get_tracing_count() for graph in graphs] == [1] * len(graphs)
    assert len(graphs) >= 4, "of the model and of its assistant, to begin and to go on"


def test_a_decoder_goes_on_from_its_prompt(network, plain):
    """Each row from another number of its own tokens, padded on the left."""
    model, batch = network("encoder-decoder"), batch_of()
    free = {"eos_token_id": (), "bad_words_ids": [[22]]}
    whole = model.generate(batch, max_new_tokens=14, prompt_lookup_num_tokens=2, **free).sequences[:, 0]
    prompts = [[model.spec.tokens.decoder_start, *whole[row, :known]] for row, known in enumerate((0, 3, 5, 8))]
    width = max(map(len, prompts))
    ids = np.array([[22] * (width - len(prompt)) + prompt for prompt in prompts])
    real = np.array([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    prompted = {**batch, "decoder_input_ids": ids, "decoder_attention_mask": real}
    for guessing in ({"prompt_lookup_num_tokens": 3}, {"assistant_model": model}):
        rest = model.generate(prompted, max_new_tokens=6, **guessing, **free).sequences[:, 0]
        for row, prompt in enumerate(prompts):
            np.testing.assert_array_equal(rest[row], whole[row, len(prompt) - 1 : len(prompt) + 5])


def test_what_cannot_guess_is_refused(network, tiny):
    model, other = network("decoder"), network("encoder-decoder")
    with pytest.raises(ConfigError, match="assistant_model is for one hypothesis a text: num_beams and"):
        model.generate(batch_of(), num_beams=2, assistant_model=model)
    with pytest.raises(ConfigError, match="prompt_lookup_num_tokens is for one hypothesis a text: num_beams and"):
        model.generate(batch_of(), num_beams=2, prompt_lookup_num_tokens=2)
    with pytest.raises(ConfigError, match="assistant_model and prompt_lookup_num_tokens both guess: give one of them"):
        model.generate(batch_of(), prompt_lookup_num_tokens=3, assistant_model=model)
    with pytest.raises(ConfigError, match="assistant_model must be of the model's form and source"):
        model.take_assistant(other)
    wide = build_model(tiny.spec("decoder", vocab_size=24))
    with pytest.raises(ConfigError, match=r"assistant_model must have the model's vocabulary \(23\), but has 24"):
        model.take_assistant(wide)
    with pytest.raises(InputError, match="assistant_model reads input_ids itself, but the batch has none"):
        other.draft({"encoder_last_hidden_state": np.zeros((1, 3, 12))}, other.generation_options)


def test_an_assistant_is_no_part_of_the_model(tiny):
    model, helper = (build_model(tiny.spec("decoder")) for _ in range(2))
    before = len(model.weights)
    model.take_assistant(helper)
    assert len(model.weights) == before
    with pytest.raises(ConfigError, match="assistant_model is for one hypothesis a text: num_beams and"):
        model.generate(batch_of(), num_beams=2)
