"""Cached decoding against the full forward pass, through `model.generate`."""

import itertools

import numpy as np
import pytest
from keras import ops

from regard.errors import ConfigError, InputError
from regard.models import generation

ORDERS = ["post", "pre"]
EOS, PAD = 0, 22


def source(rows=3, length=6, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.arange(length)[None] < rng.integers(2, length + 1, (rows, 1))
    return {"input_ids": np.where(mask, rng.integers(1, 22, (rows, length)), PAD), "attention_mask": mask.astype(int)}


def until_eos(row):
    ends = np.flatnonzero(row == EOS)
    return row[: ends[0] + 1] if len(ends) else row


def row_of(batch, i):
    return {key: value[[i]] for key, value in batch.items()}


@pytest.fixture(scope="module")
def log_probabilities(run):
    return lambda model, batch, sequence: _log_probabilities(run, model, batch, sequence)


def _log_probabilities(run, model, batch, sequence):
    """Of each token of `sequence`, by one full forward pass without a cache."""
    if model.spec.form == "decoder":
        prompt = batch["input_ids"][0][batch["attention_mask"][0] == 1]
        text = np.concatenate([prompt, sequence])[None]
        scores = np.asarray(run(model, input_ids=text).logits)[0, len(prompt) - 1 : -1]
    else:
        scores = np.asarray(run(model, **batch, labels=sequence[None]).logits)[0]
    scores = scores.astype("float64") - scores.max(-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("form", ["decoder", "encoder-decoder"])
def test_each_cached_step_equals_the_full_forward_pass(network, log_probabilities, form, order):
    model, batch = network(form, order), source()
    beams, rng = 2, np.random.default_rng(3)
    ids, state = model.decoding_state({k: ops.convert_to_tensor(v, "int32") for k, v in batch.items()}, beams, 5)
    histories = np.zeros((3, beams, 0), "int32")
    parents = np.zeros((3, beams), "int32")
    for _ in range(4):
        logits, state = model.decoding_step(ids, parents, state)
        for b in range(3):
            for w in range(beams):
                full = log_probabilities(model, row_of(batch, b), np.append(histories[b, w], 1))[-1]
                step = np.asarray(logits)[b, w].astype("float64")
                np.testing.assert_allclose(step - np.log(np.exp(step).sum()), full, atol=1e-5)
        ids = rng.integers(1, 22, (3, beams)).astype("int32")
        parents = rng.integers(0, beams, (3, beams)).astype("int32")
        inherited = np.take_along_axis(histories, parents[:, :, None], axis=1)
        histories = np.concatenate([inherited, ids[:, :, None]], axis=2)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("form", ["decoder", "encoder-decoder"])
def test_greedy_takes_the_likeliest_token_at_each_step(network, log_probabilities, form, order):
    model, batch = network(form, order), source()
    found = model.generate(batch, max_new_tokens=7).sequences
    for b in range(3):
        row = until_eos(found[b, 0])
        scores = log_probabilities(model, row_of(batch, b), row)
        scores[:, PAD] = -np.inf  # never generated
        np.testing.assert_array_equal(row, scores.argmax(-1))


@pytest.mark.parametrize("form", ["decoder", "encoder-decoder"])
@pytest.mark.parametrize("penalty", [("transformers", 1.0), ("transformers", 0.0), ("gnmt", 0.6)])
def test_a_beams_score_is_the_penalised_sum_of_its_log_probabilities(network, log_probabilities, form, penalty):
    model, batch, (shape, exponent) = network(form), source(), penalty
    found = model.generate(
        batch, max_new_tokens=6, num_beams=3, num_return_sequences=3, length_penalty=exponent, length_penalty_form=shape
    )
    for b in range(3):
        assert (np.diff(found.scores[b]) <= 0).all()
        assert len({tuple(row) for row in found.sequences[b]}) == 3
        for row, score in zip(found.sequences[b], found.scores[b], strict=True):
            row = until_eos(row)
            scores = log_probabilities(model, row_of(batch, b), row)
            length = len(row) if shape == "transformers" else (5 + len(row)) / 6
            total = sum(scores[t, token] for t, token in enumerate(row))
            np.testing.assert_allclose(score, total / length**exponent, atol=1e-4)


@pytest.mark.parametrize("form", ["decoder", "encoder-decoder"])
def test_batch_mates_and_padding_change_nothing_in_what_is_generated(network, form):
    model, batch = network(form), source()
    ruled = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2}
    for options in ({}, {"num_beams": 3, **ruled}, {"do_sample": True, "seed": (5, 6, 7)}):
        together = model.generate(batch, max_new_tokens=6, **options).sequences
        for b in range(3):
            real = batch["attention_mask"][b] == 1
            alone = {"input_ids": batch["input_ids"][[b]][:, real]}
            mine = {**options, "seed": (5 + b,)} if "seed" in options else options
            np.testing.assert_array_equal(model.generate(alone, max_new_tokens=6, **mine).sequences[0], together[b])


def test_prompts_padded_left_and_right_continue_alike(network):
    model, text = network("decoder"), np.array([[3, 4, 5]])
    plain = model.generate({"input_ids": text}, max_new_tokens=6, num_beams=2).sequences
    for sides in ((2, 0), (0, 3)):
        padded = {
            "input_ids": np.pad(text, ((0, 0), sides), constant_values=PAD),
            "attention_mask": np.pad(np.ones_like(text), ((0, 0), sides)),
        }
        np.testing.assert_array_equal(model.generate(padded, max_new_tokens=6, num_beams=2).sequences, plain)


def test_a_prompt_goes_on_in_the_segment_of_its_last_token(network):
    model = network("decoder")
    packed = {"input_ids": np.array([[9, 8, 3, 4, 5]]), "segment_ids": np.array([[1, 1, 2, 2, 2]])}
    alone = model.generate({"input_ids": np.array([[3, 4, 5]])}, max_new_tokens=6).sequences
    np.testing.assert_array_equal(model.generate(packed, max_new_tokens=6).sequences, alone)


def test_padding_does_not_count_towards_the_bound(network):
    text = {"input_ids": np.full((1, 60), 3), "attention_mask": (np.arange(60) > 56).astype(int)[None]}
    assert network("decoder").generate(text, max_new_tokens=10).sequences.shape == (1, 1, 10)


def traces(model):
    """How often each graph of the model's searches was traced."""
    graphs = model._generator.searches.values()
    parts = [graph for search in graphs for graph in (search[1:] if isinstance(search, tuple) else (search,))]
    return [graph.experimental_get_tracing_count() for graph in parts]


@pytest.mark.parametrize("options", [{"max_new_tokens": 7}, {"max_new_tokens": 21, "num_beams": 2}], ids=str)
@pytest.mark.parametrize("form", ["decoder", "encoder-decoder"])
def test_a_second_request_of_any_size_uses_the_same_graph(network, form, options):
    model = network(form)
    model.generator.searches.clear()
    model.generate(source(), **options)
    first = traces(model)
    assert first
    model.generate(source(rows=5, length=9), **options)
    model.generate(source(rows=1, length=3), **options)
    assert traces(model) == first == [1] * len(first)


@pytest.mark.parametrize("options", [{}, {"num_beams": 2, "early_stopping": "never", "length_penalty": 1.5}], ids=str)
@pytest.mark.parametrize("length", [14, 30])
def test_a_bound_that_counts_the_prompt_needs_no_graph_for_each_length(network, options, length):
    """And each is kept to: the last token is the one that is forced there."""
    model = network("decoder")
    model.generator.searches.clear()
    for prompt in (3, 5, 9):
        batch = {"input_ids": np.arange(2 * prompt).reshape(2, prompt) % 20 + 1}
        found = model.generate(batch, max_length=length, forced_eos_token_id=EOS, **options)
        assert found.sequences.shape[-1] == length - prompt
        for row, size in zip(found.sequences[:, 0], found.lengths[:, 0], strict=True):
            assert row[size - 1] == EOS
    assert traces(model) == [1] * (1 if length < 16 else 2)


@pytest.mark.parametrize("num_beams", [1, 2])
@pytest.mark.parametrize("most", [14, 30])
def test_a_least_length_that_counts_the_prompt_needs_no_graph_for_each_either(network, most, num_beams):
    """And each is kept to: an end that is as likely as can be comes as soon as it may."""
    model = network("decoder")
    model.generator.searches.clear()
    for prompt in (3, 5, 9):
        batch = {"input_ids": np.arange(2 * prompt).reshape(2, prompt) % 20 + 1}
        bias = [[[EOS], 1000.0]]
        found = model.generate(
            batch, min_length=12, max_new_tokens=most, num_beams=num_beams, sequence_bias=bias, length_penalty=0.0
        )
        assert (found.lengths[:, 0] == 12 - prompt + 1).all()
    assert traces(model) == [1] * (1 if most <= 16 else 2)


@pytest.mark.parametrize("form", ["decoder", "encoder-decoder"])
def test_a_search_by_segments_finds_what_the_whole_one_finds(network, monkeypatch, form):
    """The cache grows, and rows that are done leave the batch."""
    model, batch = network(form), source(rows=6)
    ends = {"eos_token_id": tuple(range(0, 22, 2)), "max_new_tokens": 14, "return_scores": True}
    ways = ({}, {"num_beams": 3, "no_repeat_ngram_size": 2}, {"do_sample": True, "seed": tuple(range(6))})
    whole = [model.generate(batch, **ends, **way) for way in ways]
    monkeypatch.setattr(generation, "SEGMENT", 3)
    for way, expected in zip(ways, whole, strict=True):
        found = model.generate(batch, **ends, **way)
        np.testing.assert_array_equal(found.sequences, expected.sequences)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    assert any(len(set(found.lengths[:, 0].tolist())) > 1 for found in whole), "some end before others"


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_decoder_goes_on_from_its_prompt_as_from_its_own_tokens(network, side):
    """Each row goes on from another number of its own tokens, padded on either side."""
    model = network("encoder-decoder")
    batch = source()
    whole = model.generate(batch, max_new_tokens=12, bad_words_ids=[[0], [22]])
    start = model.spec.tokens.decoder_start
    prompts = [[start, *whole.sequences[row, 0, : 2 * row]] for row in range(len(whole.sequences))]
    width = max(map(len, prompts))
    ids, real = np.full((len(prompts), width), 22), np.zeros((len(prompts), width), int)
    for row, prompt in enumerate(prompts):
        place = slice(width - len(prompt), None) if side == "left" else slice(0, len(prompt))
        ids[row, place], real[row, place] = prompt, 1
    prompted = {**batch, "decoder_input_ids": ids, "decoder_attention_mask": real}
    rest = model.generate(prompted, max_new_tokens=6, bad_words_ids=[[0], [22]])
    for row, prompt in enumerate(prompts):
        known = len(prompt) - 1
        np.testing.assert_array_equal(rest.sequences[row, 0], whole.sequences[row, 0, known : known + 6])


def test_a_stream_ends_with_what_generate_finds_and_only_ever_adds(network):
    model = network("decoder")
    batch = source()
    whole = model.generate(batch, max_new_tokens=9)
    pieces = list(model.generate_stream(batch, max_new_tokens=9, every=2))
    np.testing.assert_array_equal(pieces[-1].sequences, whole.sequences)
    for earlier, later in itertools.pairwise(pieces):
        for row, length in enumerate(earlier.lengths[:, 0]):
            np.testing.assert_array_equal(earlier.sequences[row, 0, :length], later.sequences[row, 0, :length])
    with pytest.raises(ConfigError, match="num_beams"):
        next(model.generate_stream(batch, num_beams=2))


def test_what_cannot_be_generated_is_refused_by_name(network):
    model = network("encoder-decoder")
    with pytest.raises(InputError, match=r"max_positions \(64\), but is 65"):
        model.generate(source(), max_new_tokens=65)
    with pytest.raises(InputError, match=r"vocab_size \(23\), but hold 23"):
        model.generate({"input_ids": np.array([[23]])})
    with pytest.raises(InputError, match="but hold -1"):
        model.generate({"input_ids": np.array([[-1, 5]])})
    with pytest.raises(InputError, match=r"decoder_input_ids must have a row for each of input_ids \(3\), but has 2"):
        model.generate({**source(), "decoder_input_ids": np.ones((2, 1), int)})
    with pytest.raises(InputError, match="attention_mask must have the shape of input_ids"):
        model.generate({"input_ids": np.ones((3, 4), int), "attention_mask": np.ones((1, 4), int)})
    with pytest.raises(InputError, match="at least one row"):
        model.generate({"input_ids": np.zeros((0, 3))})
    with pytest.raises(ConfigError, match="did you mean num_beams"):
        model.generate(source(), num_beam=3)
    with pytest.raises(InputError, match="needs a decoder"):
        network("encoder").generate(source())
