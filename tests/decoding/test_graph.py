"""The same search in a TensorFlow graph, through keras.ops, as on NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from regard.decoding import numpy_ops
from regard.decoding.loop import Search, search
from regard.decoding.noise import uniform
from regard.decoding.options import GenerationOptions
from regard.decoding.stops import StopTable, stop_strings_table
from regard.decoding.trie import TokenTrie

DRY = {  # four tokens are allowed, each of them once
    "min_new_tokens": 9, "no_repeat_ngram_size": 1, "bad_words_ids": [[token] for token in range(1, 7)],
    "return_scores": True,
}  # fmt: skip
CASES = {
    "greedy": {"return_scores": True},
    "samples": {
        "do_sample": True, "num_return_sequences": 3, "seed": 2**35, "temperature": 1.3, "top_k": 8, "top_p": 0.9,
        "min_p": 0.02, "return_scores": True,
    },
    "beams": {
        "num_beams": 4, "num_return_sequences": 4, "length_penalty": 0.6, "length_penalty_form": "gnmt",
        "early_stopping": "never", "repetition_penalty": 1.2, "no_repeat_ngram_size": 2, "min_new_tokens": 2,
        "bad_words_ids": [[2], [5, 6], [7, 8]], "forced_eos_token_id": 0, "return_scores": True,
    },
    "sampled beams": {
        "do_sample": True, "num_beams": 3, "num_return_sequences": 2, "seed": (4, 5, 6), "temperature": 1.3,
        "renormalize_logits": True,
    },
    "samples with no token left": {"do_sample": True, "num_return_sequences": 2, "top_p": 0.9, "seed": 1} | DRY,
    "beams with no token left": {"num_beams": 3, "num_return_sequences": 2, "renormalize_logits": True} | DRY,
    "samples under every rule": {
        "do_sample": True, "num_return_sequences": 2, "seed": 5, "typical_p": 0.95, "top_h": 0.97, "eta_cutoff": 0.02,
        "epsilon_cutoff": 0.01, "frequency_penalty": 0.3, "presence_penalty": 0.2, "stop_sequences": [[3], [7, 1]],
    },
    "beams under every rule": {
        "num_beams": 3, "num_return_sequences": 3, "encoder_repetition_penalty": 1.3, "encoder_no_repeat_ngram_size": 2,
        "sequence_bias": [[[4], 1.5], [[3, 5], -2.0], [[4, 6], 1.0]], "suppress_tokens": [2],
        "exponential_decay_length_penalty": [2, 1.2], "remove_invalid_values": True, "frequency_penalty": 0.4,
        "stop_sequences": [[3, 3], [7]], "forced_bos_token_id": 5, "begin_suppress_tokens": [4],
    },
    "beams that are given up": {
        "num_beams": 4, "num_return_sequences": 4, "beam_threshold": 1.5, "return_scores": True,
    },
    "diverse beams": {
        "num_beams": 6, "num_beam_groups": 3, "diversity_penalty": 0.7, "num_return_sequences": 6,
        "no_repeat_ngram_size": 2, "return_scores": True,
    },
    "beams with no token at all": {"num_beams": 3, "renormalize_logits": True, "min_new_tokens": 9}
    | {"bad_words_ids": [[token] for token in range(1, 11)], "return_scores": True},
}  # fmt: skip


SOURCE = np.array([[4, 5, 8, 3, 3], [1, 1, 6, 5, 9], [7, 6, 9, 5, 2]], "int32")
SOURCE_MASK = np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], "int32")
PIECES = ["a", "b", "ab", "ca", "bc", "", "cc", "bab", "d", "aa", "c"]
ALLOWED = [[tuple(row) for row in rows] for rows in np.random.default_rng(0).integers(1, 11, (3, 200, 5)).tolist()]


def compiled(model, options, **tables):
    """A search whose batch, source and tables have no static size."""
    unknown = tf.TensorSpec([None, None], "int32")
    columns = tf.TensorSpec([None, options.width], "int32")
    open_tables = tf.nest.map_structure(lambda array: tf.TensorSpec([None], array.dtype), tables)
    signature = [columns, columns, tf.TensorSpec([None, 2], "uint32"), *[unknown] * 4, open_tables]

    @tf.function(input_signature=signature)
    def run(start_ids, codes, seeds, prompt, mask, source, source_mask, tables):
        prompt, mask = tf.ensure_shape(prompt, [None, 4]), tf.ensure_shape(mask, [None, 4])
        return search(
            model.step(keras.ops), codes, start_ids, options.static, keras.ops,
            prompt=prompt, prompt_mask=mask, source=source, source_mask=source_mask, seeds=seeds, **tables,
        )  # fmt: skip

    return run


def assert_compiled_finds_what_numpy_finds(scripted, options, **tables):
    model = scripted((1, 2, 3), 11, 0)
    prompt = np.array([[4, 5, 3, 3], [3, 3, 6, 5], [7, 6, 9, 5]], "int32")
    mask = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]], "int32")
    run = compiled(model, options, **tables)
    for rows in (3, 2):  # another batch size, the same graph
        part = model.only(*model.rows[:rows])
        if "trie" in tables:
            tables["trie"] = tables["trie"]._replace(roots=tables["trie"].roots[:rows])
        known = [options.row_seeds(3)[:rows], *(array[:rows] for array in (prompt, mask, SOURCE, SOURCE_MASK))]
        names = ("seeds", "prompt", "prompt_mask", "source", "source_mask")
        expected = part.search(options, **dict(zip(names, known, strict=True)), **tables)
        start_ids, codes = part.start(options.width)
        found = run(start_ids, codes, *known, tables)
        assert [None if array is None else array.dtype for array in found] == [
            None if array is None else array.dtype for array in expected
        ]
        np.testing.assert_array_equal(found.sequences, expected.sequences)
        np.testing.assert_array_equal(found.lengths, expected.lengths)
        for name in ("scores", "token_scores"):
            if getattr(expected, name) is not None:
                np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-5)
    assert run.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("case", CASES)
def test_a_compiled_search_finds_what_numpy_finds(scripted, case):
    options = GenerationOptions(max_new_tokens=9, eos_token_id=0, pad_token_id=10, **CASES[case])
    assert_compiled_finds_what_numpy_finds(scripted, options)


@pytest.mark.parametrize("how", [{}, {"num_beams": 3, "num_return_sequences": 3}])
def test_a_compiled_search_follows_a_trie_and_stop_strings(scripted, how):
    options = GenerationOptions(max_new_tokens=9, eos_token_id=0, pad_token_id=10, return_scores=True, **how)
    trie, stops = TokenTrie.of_rows(ALLOWED, 0), stop_strings_table(["cab", "dd"], PIECES)
    assert_compiled_finds_what_numpy_finds(scripted, options, trie=trie, stops=stops)


def test_one_graph_serves_all_segments_of_all_batches(scripted):
    model = scripted((1, 2, 3), 11, 0)
    stops = StopTable(*map(tf.constant, stop_strings_table("cab", PIECES)))
    options = GenerationOptions(
        max_new_tokens=9, eos_token_id=0, do_sample=True, num_return_sequences=2, seed=3, repetition_penalty=1.2
    )
    search = Search(model.step(keras.ops), options, keras.ops)

    def begun(rows):
        start_ids, codes = model.only(*model.rows[:rows]).start(2)
        seeds = tf.constant(options.row_seeds(rows))
        return search.start(tf.constant(codes), tf.constant(start_ids), seeds=seeds, stops=stops)

    def of_any_size(array):
        return tf.TensorSpec([None, *array.shape[1:]] if array.shape.rank else [], array.dtype)

    signature = (tf.nest.map_structure(of_any_size, begun(3)), tf.TensorSpec([], "int32"))
    run = tf.function(search.run, input_signature=signature)
    for rows in (3, 2):
        now = begun(rows)
        for until in (2, 4, 6, 8, 9):
            now = run(now, until)
        expected = search.result(search.run(begun(rows)))
        np.testing.assert_array_equal(search.result(now).sequences, expected.sequences)
    assert run.experimental_get_tracing_count() == 1


def test_noise_is_the_same_bit_by_bit():
    seeds = GenerationOptions(seed=2**33 - 2).row_seeds(4)
    found = uniform(tf.constant(seeds), 3, tf.constant(7), 1000, keras.ops)
    np.testing.assert_array_equal(found, uniform(seeds, 3, np.int32(7), 1000, numpy_ops))


def test_numpy_ops_mean_what_keras_ops_mean():
    random = np.random.default_rng(0)
    x = random.integers(0, 4, (3, 9)).astype("float32")  # ties
    x[1, ::2] = -np.inf
    x[2] = -np.inf  # of which a softmax is NaN
    for ours, theirs in zip(numpy_ops.top_k(x, 7), keras.ops.top_k(x, 7), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(numpy_ops.argmax(x, axis=-1), keras.ops.argmax(x, axis=-1))
    for name in ("softmax", "log_softmax"):
        ours = getattr(numpy_ops, name)(x, axis=-1)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, getattr(keras.ops, name)(x, axis=-1), rtol=1e-6)
    indices, values = random.integers(0, 5, (20, 1)), np.ones(20, "int32")
    np.testing.assert_array_equal(numpy_ops.scatter(indices, values, (6,)), keras.ops.scatter(indices, values, (6,)))
    names = [name for name in vars(numpy_ops) if name.islower() and not name.startswith("_") and name != "np"]
    assert [name for name in names if not hasattr(keras.ops, name)] == []
