import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.batch import Example
from regard.data.sampling import VALIDATION_PAIRS, Survey, TextSample, in_validation, limited, survey, training_cost
from regard.data.sources import DropReport, Located, Place
from regard.errors import DataError


def located(texts, **changes):
    examples = (Example(text, f"target of {text}", None, "de") for text in texts)
    return [Located(example, Place("a.tsv", n), **changes) for n, example in enumerate(examples, 1)]


def sample_of(examples, pairs, cost):
    sample = TextSample(pairs, cost)
    for example in examples:
        sample.add(example.example)
    return sample


@given(count=st.integers(0, 60), pairs=st.integers(1, 40), cost=st.integers(1, 2000), order=st.randoms())
def test_a_sample_keeps_its_bounds_and_does_not_depend_on_the_order(count, pairs, cost, order):
    examples = located(f"text {n}" for n in range(count))
    lines = list(sample_of(examples, pairs, cost).lines())
    assert len(lines) <= 2 * pairs
    assert sum(map(training_cost, lines)) <= cost
    order.shuffle(examples)
    assert sorted(sample_of(examples, pairs, cost).lines()) == sorted(lines)


@given(count=st.integers(0, 40), limits=st.tuples(st.integers(1, 45), st.integers(1, 45)), equal=st.booleans())
def test_a_limit_keeps_exactly_so_many_and_a_smaller_one_some_of_them(count, limits, equal):
    examples = located("text" if equal else f"text {n}" for n in range(count))
    kept, reports = {}, {}
    for limit in sorted(limits):
        reports[limit] = DropReport()
        kept[limit] = list(limited(iter(examples), limit, reports[limit]))
        assert len(kept[limit]) == min(limit, count)
        assert kept[limit] == [each for each in examples if each in kept[limit]]
        assert reports[limit].total == count - len(kept[limit])
    assert set(kept[min(limits)]) <= set(kept[max(limits)])
    assert list(limited(iter(examples), None, DropReport())) == examples


def test_text_without_spaces_costs_more():
    assert training_cost("twelve chars") == 12
    assert training_cost("狐" * 20) == 60
    assert training_cost("狐" * 21 + " 狐") == 63 + 4 + 8 * 63


def test_a_sample_within_its_bounds_is_everything():
    examples = located(f"text {n}" for n in range(50))
    assert len(sample_of(examples, 50, 10_000)) == 50
    assert 10 < len(sample_of(examples, 49, 10_000)) < 49


@given(order=st.randoms(), count=st.integers(2, 600))
def test_validation_is_a_hundredth_by_hash_whatever_the_order(order, count):
    examples = located(f"text {n}" for n in range(count))
    found = survey(examples, None, split_validation=True)
    assert len(found.validation) == max(1, count // 100)
    assert {entry.example.source for entry in found.validation} == {
        entry.example.source for entry in examples if in_validation(entry.example.source, found.below)
    }
    order.shuffle(examples)
    again = survey(examples, None, split_validation=True)
    assert again.below == found.below
    assert {entry.example for entry in again.validation} == {entry.example for entry in found.validation}


def test_validation_is_at_most_two_thousand_pairs():
    found = survey(located(f"text {n}" for n in range(210_000)), None, split_validation=True)
    assert len(found.validation) == VALIDATION_PAIRS == 2000


@pytest.mark.parametrize("copies", [2, 3])
def test_equal_sources_fall_on_one_side(copies):
    examples = located([f"text {n % 1000}" for n in range(1000 * copies)])
    chosen = [entry.example.source for entry in survey(examples, None, split_validation=True).validation]
    assert all(chosen.count(source) == copies for source in chosen)
    assert 0 < len(chosen) <= 10 * copies


def test_a_corpus_of_one_source_cannot_be_split():
    with pytest.raises(DataError, match=r"set data\.validation"):
        survey(located(["same"] * 500), None, split_validation=True)
    with pytest.raises(DataError, match=r"set data\.validation"):
        survey(located(["alone"]), None, split_validation=True)


def test_the_tokenizer_does_not_learn_from_validation():
    sample = TextSample(1000, 100_000)
    found = survey(located(f"text {n}" for n in range(300)), sample, split_validation=True)
    lines = set(sample.lines(found.below))
    assert len(lines) == 2 * 297
    assert not lines & {entry.example.source for entry in found.validation}


def test_pairs_that_a_weight_leaves_out_count_for_nothing():
    sample = TextSample(10, 1000)
    found = survey([*located(["one"], copies=0), *located(["two"], copies=3)], sample, split_validation=False)
    assert (found.pairs, len(sample), found.names) == (1, 1, ["de"])


def test_a_survey_survives_json():
    found = survey(located(f"text {n}" for n in range(300)), None, split_validation=True)
    assert Survey.from_json(json.loads(json.dumps(found.to_json())), Example) == found
