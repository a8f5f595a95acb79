"""Intervals and paired tests: by their laws, and against sacrebleu's own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest

from regard.errors import InputError
from regard.metrics.classification import macro_f1, macro_f1_of, pearson, pearson_of
from regard.metrics.resampling import bootstrap, paired_bootstrap, ratio, total
from regard.metrics.translation import bleu_of, bleu_statistics, chrf_of, chrf_statistics, score

WORDS = ["cat", "dog", "sat", "ran", "the", "a", "on", "mat", "house", "green"]


def sentences(seed: int, count: int = 60) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=rng.integers(5, 12))) for _ in range(count)]


def worsened(lines: list[str], share: float, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join("x" if rng.random() < share else word for word in line.split()) for line in lines]


def of(values: list[float]) -> np.ndarray:
    return np.array([[value, 1] for value in values])


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=20))
def test_the_interval_lies_within_the_values_and_is_the_same_each_time(values):
    low, high = bootstrap(ratio, of(values), 50)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert (low, high) == bootstrap(ratio, of(values), 50)


def test_the_interval_of_a_mean_is_as_wide_as_its_standard_error_says():
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = bootstrap(ratio, of(values))
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_a_system_does_not_differ_from_itself_and_the_difference_has_a_sign(values):
    same = paired_bootstrap(ratio, of(values), of(values), 50)
    assert (same.difference, same.p) == (0, 1)
    better = paired_bootstrap(ratio, of(values), of([value + 1 for value in values]), 50)
    assert better.difference == pytest.approx(1)
    assert better.interval == pytest.approx((1, 1))
    turned = paired_bootstrap(ratio, of([value + 1 for value in values]), of(values), 50)
    assert turned.difference == pytest.approx(-1)


def test_chance_alone_is_called_significant_about_as_often_as_it_should_be():
    rng = np.random.default_rng(1)
    found = [
        paired_bootstrap(ratio, of(rng.normal(size=80)), of(rng.normal(size=80)), 200, seed).p < 0.1
        for seed in range(200)
    ]
    assert 0.04 < np.mean(found) < 0.17


def test_pairing_sees_what_two_intervals_do_not():
    hard = np.random.default_rng(2).normal(0, 10, 100)
    one, other = of(hard), of(hard + np.random.default_rng(3).normal(0.3, 0.5, 100))
    apart = bootstrap(ratio, one)[1] > bootstrap(ratio, other)[0]
    assert apart
    assert paired_bootstrap(ratio, one, other).p < 0.01


@pytest.mark.parametrize("share", [0.11, 0.15, 0.3])
def test_bleu_is_paired_as_sacrebleu_pairs_it_over_both_tails(share):
    references = sentences(0)
    one, other = worsened(references, 0.1, 1), worsened(references, share, 2)
    found = paired_bootstrap(bleu_of, bleu_statistics(one, references), bleu_statistics(other, references))
    _, theirs = PairedTest([("one", one), ("other", other)], {"BLEU": BLEU()}, [references], "bs", 1000)()
    first, second = theirs["BLEU"]
    assert (found.first, found.second) == pytest.approx((first.score, second.score))
    assert found.p == pytest.approx(2 * second.p_value, abs=0.025)


def test_bleu_and_chrf_of_summed_statistics_are_those_of_the_corpus_and_intervals_are_of_one_mechanism():
    references = sentences(0)
    hypotheses = worsened(references, 0.2, 1)
    whole = score(hypotheses, references, resamples=100)
    bleu, chrf = bleu_statistics(hypotheses, references), chrf_statistics(hypotheses, references)
    assert total(bleu_of, bleu) == pytest.approx(whole.bleu)
    assert total(chrf_of, chrf) == pytest.approx(whole.chrf)
    assert bootstrap(bleu_of, bleu, 100) == pytest.approx(whole.bleu_interval)


def test_scores_of_classes_and_numbers_are_functions_of_sums():
    rng = np.random.default_rng(0)
    predicted, actual = (rng.integers(4, size=50)[:, None] == np.arange(5) for _ in range(2))
    rows = np.concatenate([2 * (predicted & actual), predicted.astype(int) + actual], axis=1)
    assert total(macro_f1_of, rows) == pytest.approx(macro_f1(predicted, actual))
    x, y = rng.normal(size=(2, 50))
    moments = np.stack([np.ones(50), x, y, x * x, y * y, x * y], axis=1)
    assert total(pearson_of, moments) == pytest.approx(pearson(x, y))
    assert np.isnan(total(pearson_of, moments[:1]))
    assert np.isnan(total(macro_f1_of, np.zeros((3, 4))))


def test_what_is_not_defined_has_no_interval_and_bad_shapes_are_named():
    assert bootstrap(ratio, [[1.0, 0.0]]) is None
    low, high = bootstrap(ratio, [[1.0, 1.0], [1.0, 0.0]])  # draws of the second alone have no score
    assert 1 <= low <= high
    with pytest.raises(InputError, match=r"must be \(examples, numbers\)"):
        bootstrap(ratio, np.zeros((0, 2)))
    with pytest.raises(InputError, match=r"one shape, but have \(1, 2\) and \(2, 2\)"):
        paired_bootstrap(ratio, of([1]), of([1, 2]))
