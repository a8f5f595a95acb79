"""Laws of greedy search and sampling, and of the noise that sampling draws."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.decoding import numpy_ops
from regard.decoding.noise import gumbel, uniform
from regard.decoding.options import GenerationOptions

PAD = 99
SEEDS = st.integers(0, 10_000)


def options(**values):
    return GenerationOptions(**{"eos_token_id": 0, "pad_token_id": PAD, "max_new_tokens": 8, **values})


@settings(deadline=None, max_examples=30)
@given(SEEDS)
def test_greedy_takes_the_likeliest_token_until_eos(scripted, found_in, seed):
    model = scripted((1, 2, 3), 9, seed)
    found = model.search(options(return_scores=True, length_penalty=0.6))
    for row, name in enumerate(model.rows):
        expected = []
        while len(expected) < 8 and (not expected or expected[-1] != 0):
            expected.append(int(np.argmax(model.logits(name, expected))))
        assert found_in(found, row) == [tuple(expected)]
        total = model.score(name, expected)
        np.testing.assert_allclose(found.token_scores[row].sum(), total, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.scores[row], total / len(expected) ** 0.6, rtol=1e-5, atol=1e-5)


def test_greedy_returns_no_scores_unless_asked(scripted):
    found = scripted((1, 2), 9, 0).search(options())
    assert found.scores is None
    assert found.token_scores is None


@settings(deadline=None, max_examples=30)
@given(SEEDS, SEEDS, st.sampled_from([{"top_k": 1}, {"temperature": 1e-30}, {"top_p": 0.0}, {"min_p": 1.0}]))
def test_sampling_from_one_token_is_greedy(scripted, table, seed, knob):
    model = scripted((1, 2, 3), 9, table)
    sampled = model.search(options(do_sample=True, seed=seed, num_return_sequences=2, **knob))
    np.testing.assert_array_equal(sampled.sequences, np.repeat(model.search(options()).sequences, 2, axis=1))


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(1, 2**64 - 1), st.sampled_from([1, 3]))
def test_the_same_seed_gives_the_same_sample_whatever_the_batch_mates(scripted, table, seed, beams):
    model = scripted((5, 6, 7), 9, table)
    sampling = options(do_sample=True, num_beams=beams, top_k=0)
    together = model.search(sampling.merged(seed=(11, seed, 12))).sequences
    alone = model.only(6).search(sampling.merged(seed=seed)).sequences
    last = model.only(1, 6).search(sampling.merged(seed=seed - 1)).sequences
    np.testing.assert_array_equal(together[1], alone[0])
    np.testing.assert_array_equal(together[1], last[1])


def test_other_seeds_rows_and_returns_give_other_samples(scripted):
    model = scripted((5, 5, 5, 5), 30, 0, spread=0.1)
    sampling = options(do_sample=True, num_return_sequences=3, max_new_tokens=12, eos_token_id=None)
    samples = np.concatenate([model.search(sampling.merged(seed=seed)).sequences for seed in (0, 100, 2**33)])
    assert len({tuple(sample) for sample in samples.reshape(-1, 12).tolist()}) == 36
    unseeded = [model.search(sampling).sequences for _ in range(2)]
    assert (unseeded[0] != unseeded[1]).any()


def test_the_first_samples_of_many_are_those_of_few(scripted):
    model = scripted((1, 2), 9, 0)
    sampling = options(do_sample=True, seed=4)
    many = model.search(sampling.merged(num_return_sequences=5)).sequences
    np.testing.assert_array_equal(many[:, :2], model.search(sampling.merged(num_return_sequences=2)).sequences)


def test_a_hypothesis_ends_where_every_token_is_banned(scripted, found_in):
    model = scripted((1, 2), 7, 0)
    for values in ({}, {"do_sample": True, "seed": 3, "top_p": 0.9, "temperature": 2.0}):
        rules = options(eos_token_id=None, no_repeat_ngram_size=1, max_new_tokens=12, return_scores=True, **values)
        found = model.search(rules)
        for row in (0, 1):
            (sequence,) = found_in(found, row)
            assert sorted(sequence) == [0, 2, 3, 4, 5, 6]  # 1 is the start id
            assert np.isfinite(found.token_scores[row]).all()
            np.testing.assert_allclose(found.scores[row, 0], found.token_scores[row].sum() / 6, rtol=1e-5)


def test_where_every_token_is_banned_from_the_start_there_is_no_hypothesis(scripted):
    rules = options(eos_token_id=None, bad_words_ids=[[t] for t in range(7)], return_scores=True)
    for beams in (1, 3):
        found = scripted((1, 2), 7, 0).search(rules.merged(num_beams=beams, renormalize_logits=True))
        assert (found.lengths == 0).all()
        assert (found.sequences == PAD).all()
        assert (found.scores == -np.inf).all()
        assert (found.token_scores == 0).all()


def chi_square(counts, probabilities):
    expected = probabilities * counts.sum()
    return ((counts - expected) ** 2 / expected).sum()


def test_samples_follow_the_softmax_of_the_logits_over_the_temperature(scripted):
    model = scripted((3,), 8, 2)
    sampling = options(do_sample=True, temperature=1.7, max_new_tokens=1, seed=0)
    found = model.only(*[3] * 20_000).search(sampling)
    scaled = np.exp(model.logits(3, ()) / 1.7)
    counts = np.bincount(found.sequences[:, 0, 0], minlength=8)
    assert chi_square(counts, scaled / scaled.sum()) < 24.3  # 7 degrees of freedom: p = 0.001


def test_sampled_beams_are_drawn_without_replacement(scripted):
    """The first of two draws follows the softmax, and the second one what is left of it."""
    model = scripted((3,), 4, 1)
    sampling = GenerationOptions(do_sample=True, num_beams=2, num_return_sequences=2, max_new_tokens=1, seed=20_000)
    found = model.only(*[3] * 20_000).search(sampling).sequences[:, :, 0]
    p = np.exp(model.log_probs(3, ()))
    pairs = [(a, b) for a in range(4) for b in range(a + 1, 4)]
    expected = np.array([p[a] * p[b] / (1 - p[a]) + p[a] * p[b] / (1 - p[b]) for a, b in pairs])
    assert (found[:, 0] != found[:, 1]).all()
    low, high = found.min(axis=1), found.max(axis=1)
    counts = np.array([((low == a) & (high == b)).sum() for a, b in pairs])
    assert chi_square(counts, expected) < 20.5  # 5 degrees of freedom: p = 0.001


def draws(seeds, width=1, step=0, vocab_size=1000):
    return uniform(np.asarray(seeds, "uint32").reshape(-1, 2), width, np.int32(step), vocab_size, numpy_ops)


def test_noise_is_uniform_and_never_0_or_1():
    noise = draws([[seed, 0] for seed in range(200)], width=5)
    assert noise.dtype == np.float32
    assert 0 < noise.min() < 1e-5
    assert 1 - 1e-5 < noise.max() < 1
    counts = np.histogram(noise, bins=100, range=(0, 1))[0]
    assert chi_square(counts, np.full(100, 0.01)) < 148.2  # 99 degrees of freedom: p = 0.001
    assert draws([[27157, 0]])[0, 0, 125] < 1  # its 32 bits round to 1
    assert np.isfinite(gumbel(np.array([[27157, 0]], "uint32"), 1, np.int32(0), 1000, numpy_ops)).all()


def test_noise_of_neighbouring_keys_and_tokens_is_independent():
    base = draws([[0, 0]], vocab_size=50_000)[0, 0]
    neighbours = {
        "seed": draws([[1, 0]], vocab_size=50_000)[0, 0],
        "high word of the seed": draws([[0, 1]], vocab_size=50_000)[0, 0],
        "return": draws([[0, 0]], width=2, vocab_size=50_000)[0, 1],
        "step": draws([[0, 0]], step=1, vocab_size=50_000)[0, 0],
        "token": np.roll(base, 1),
    }
    for name, noise in neighbours.items():
        assert abs(np.corrcoef(base, noise)[0, 1]) < 0.015, name  # 3.3 standard deviations
        cells = np.histogram2d(base, noise, bins=10, range=[(0, 1), (0, 1)])[0].ravel()
        assert chi_square(cells, np.full(100, 0.01)) < 148.2, name
