import keras
import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from regard.nn.attention import CrossAttention, Reach, SelfAttention, attention_weights, merge_heads, split_heads
from regard.nn.cache import LayerCache, claim_slot, no_owners, owned_mask, reorder_owners
from regard.nn.norm import Norm
from regard.specs import LayerSpec

SPEC = LayerSpec(width=6, heads=3, head_width=4, ffn_width=5, dropout=0.0)


def random(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


@given(hnp.arrays(bool, (2, 1, 3, 4)))
def test_attention_rows_sum_to_one_and_masked_keys_get_nothing(allowed):
    weights = np.asarray(attention_weights(random(2, 2, 3, 5), random(2, 2, 4, 5, seed=1), Reach(allowed)))
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    seen = np.broadcast_to(allowed, weights.shape)
    some = seen.any(-1, keepdims=True) & ~seen
    assert (weights[some] == 0).all()


def test_scores_are_scaled_by_the_root_of_the_head_width():
    query, keys = random(1, 1, 2, 9), random(1, 1, 3, 9, seed=1)
    scores = np.asarray(query)[0, 0] @ np.asarray(keys)[0, 0].T / 3
    expected = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(np.asarray(attention_weights(query, keys, Reach()))[0, 0], expected, atol=1e-6)


def test_splitting_heads_and_merging_them_is_the_identity():
    hidden = random(2, 3, 12)
    assert split_heads(hidden, 4).shape == (2, 4, 3, 3)
    np.testing.assert_array_equal(merge_heads(split_heads(hidden, 4)), hidden)


def test_heads_may_be_wider_than_the_model():
    attention = SelfAttention(SPEC, name="self_attention")
    attention.build()
    assert attention.query_key_value.kernel.shape == (6, 36)
    assert attention(random(2, 5, 6)).hidden.shape == (2, 5, 6)


def test_cross_attention_reads_the_memory_and_not_the_order_of_it():
    attention = CrossAttention(SPEC, name="cross_attention")
    attention.build()
    hidden, memory = random(1, 2, 6), random(1, 4, 6, seed=1)
    plain = attention(hidden, memory=attention.keys_and_values(memory)).hidden
    turned = attention(hidden, memory=attention.keys_and_values(memory[:, ::-1])).hidden
    np.testing.assert_allclose(plain, turned, atol=1e-6)


@given(st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=1, max_size=5))
def test_the_ownership_table_gives_each_beam_its_own_history(choices):
    """A beam's history is what it wrote itself, and before that its parent's history."""
    beams, capacity = 3, 6
    owners, histories = no_owners(1, beams, capacity), [[] for _ in range(beams)]
    for slot, parents in enumerate(choices):
        histories = [[*histories[parent], beam] for beam, parent in enumerate(parents)]
        owners = claim_slot(reorder_owners(owners, np.array([parents], "int32")), slot)
    mask = np.asarray(owned_mask(owners))[0, 0].reshape(beams, capacity, beams)
    for beam, history in enumerate(histories):
        expected = np.zeros((capacity, beams), bool)
        expected[range(len(history)), history] = True
        np.testing.assert_array_equal(mask[beam], expected)


def test_a_cache_returns_what_was_written_after_the_prompt():
    prompt = random(2, 3, 2, 4)  # (B,N,P,H)
    cache = LayerCache.begin(prompt, prompt, free=2, beams=2)
    new = random(2, 3, 2, 4, seed=1)  # (B,N,W,H)
    keys, _ = cache.write(2, new, new).read(kv_heads=3)
    keys = np.asarray(keys).reshape(2, 3, 4, 2, 4)
    np.testing.assert_array_equal(keys[:, :, :2, 0], prompt)
    np.testing.assert_array_equal(keys[:, :, 2], new)


def test_norm_has_mean_zero_and_the_variance_that_epsilon_leaves():
    norm = Norm(8, epsilon=0.5)
    norm.build()
    x = random(3, 8)
    y = np.asarray(norm(x))
    variance = np.asarray(x).var(-1)
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(y.var(-1), variance / (variance + 0.5), rtol=1e-5)


def test_norm_computes_in_float32_inside_bfloat16():
    norm = Norm(64, epsilon=1e-5, dtype="mixed_bfloat16")
    norm.build()
    x = tf.cast(random(2, 64) + 100, tf.bfloat16)
    exact = Norm(64, epsilon=1e-5)
    exact.build()
    difference = np.asarray(tf.cast(norm(x), tf.float32)) - np.asarray(exact(tf.cast(x, tf.float32)))
    assert keras.backend.standardize_dtype(norm(x).dtype) == "bfloat16"
    assert np.abs(difference).max() < 0.02
