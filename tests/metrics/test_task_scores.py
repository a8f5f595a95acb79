"""Scores by hand, and by the definitions that everybody compares with."""

from math import log

import numpy as np
import pytest

from regard.metrics.answering import answer_f1, exact_match, normalised
from regard.metrics.catalog import METRICS
from regard.metrics.classification import accuracy, macro_f1, pearson
from regard.metrics.language import bits_per_byte, perplexity
from regard.metrics.tagging import Entity, entities, entity_f1


def one_hot(classes):
    return np.array(classes)[:, None] == np.arange(4)


def test_macro_f1_is_the_mean_over_the_classes_that_occur():
    # class 0: 1 hit of 2 shown and 1 there, 2/3; class 1: 1 of 1 and 2, 2/3; class 2: never right, 0; class 3: absent
    predicted, actual = one_hot([0, 0, 1, 2]), one_hot([0, 1, 1, 1])
    assert macro_f1(one_hot([0, 0, 1]), one_hot([0, 1, 1])) == pytest.approx(2 / 3)
    assert macro_f1(predicted, actual) == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)


def test_accuracy_of_nothing_is_0():
    assert (accuracy(3, 4), accuracy(0, 0)) == (0.75, 0.0)


def test_pearson_sees_scale_and_shift_as_nothing_and_needs_variance():
    assert pearson([1, 2, 3], [5, 7, 9]) == pytest.approx(1)
    assert pearson([1, 2, 3], [0, -1, -2]) == pytest.approx(-1)
    assert pearson([1, 2, 4], [1, 3, 2]) == pytest.approx(np.corrcoef([1, 2, 4], [1, 3, 2])[0, 1])
    assert np.isnan(pearson([1, 1], [1, 2]))


def test_perplexity_and_bits_per_byte():
    assert perplexity(log(8)) == pytest.approx(8)
    assert perplexity(1e9) < float("inf")
    assert bits_per_byte(6 * log(2), 3) == pytest.approx(2)


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        (["B-PER", "I-PER", "O", "B-LOC"], [Entity("PER", 0, 1), Entity("LOC", 3, 3)]),
        (["B-PER", "B-PER"], [Entity("PER", 0, 0), Entity("PER", 1, 1)]),
        (["I-PER", "I-PER"], [Entity("PER", 0, 1)]),
        (["B-PER", "I-LOC"], [Entity("PER", 0, 0), Entity("LOC", 1, 1)]),
        (["S-PER", "B-LOC", "E-LOC", "I-LOC"], [Entity("PER", 0, 0), Entity("LOC", 1, 2), Entity("LOC", 3, 3)]),
        (["O", "O"], []),
        ([], []),
    ],
)
def test_entities_begin_and_end_as_seqeval_has_it(tags, found):
    assert entities(tags) == found


def test_an_entity_is_right_where_type_and_both_ends_are():
    actual = [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC"]]
    assert entity_f1(actual, actual) == 1
    predicted = [["B-PER", "O", "O", "B-LOC"], ["B-PER"]]
    assert entity_f1(predicted, actual) == pytest.approx(2 * 1 / (3 + 3))
    assert entity_f1([["O"]], [["O"]]) == 0


def test_an_answer_is_compared_as_squad_does():
    assert normalised("  The Cat's,  a  hat! ") == "cats hat"
    assert exact_match("the Cat", ["a dog", "cat."]) == 1
    assert exact_match("", []) == 1
    assert exact_match("cat", []) == 0
    assert answer_f1("the black cat", ["cat", "dog"]) == pytest.approx(2 * 1 / (2 + 1))
    assert answer_f1("", []) == 1
    assert answer_f1("cat", []) == 0
    assert answer_f1("cat cat", ["cat"]) == pytest.approx(2 / 3)


# torchmetrics 1.9, torchmetrics.functional.text.squad: the highest over the references; its F1 has a float's precision
SQUAD = [
    ("The Cat's,  a  hat!", ["cat's hat", "the hat"], 1, 1.000000),
    ("an apple a day", ["Apple day.", "apples"], 1, 1.000000),
    ("the the the", ["the"], 1, 1.000000),
    ("black cat black", ["black black dog", "a cat"], 0, 0.666666),
    ("EACCES", ["eacces", "EPERM"], 1, 1.000000),
    ("theatre another", ["the atre an other"], 0, 0.000000),
    ("O_RDONLY | O_WRONLY", ["O_RDONLY, O_WRONLY", "O RDONLY"], 1, 1.000000),
    ("1,024 bytes", ["1024 bytes", "1 024 bytes"], 1, 1.000000),
    ("Straße — grün", ["straße grün", "strasse"], 0, 0.800000),
    ("kein «Wort»", ["kein Wort"], 0, 0.500000),
    ("漢字 の 本", ["漢字 の 本", "の"], 1, 1.000000),
    ("returns -1", ["-1", "it returns −1"], 0, 0.666666),
    ("the file's owner (root)", ["owner of the file", "root"], 0, 0.500000),
    ("x x y y z", ["x y", "x x x y"], 0, 0.666666),
    ("tab\tand\nnewline", ["tab and newline"], 1, 1.000000),
    ("A-B", ["AB", "A B"], 1, 1.000000),
    ("i.e. that", ["ie that"], 1, 1.000000),
    ("an", [""], 1, 1.000000),
    ("", [""], 1, 1.000000),
    ("cat", [""], 0, 0.000000),
]


@pytest.mark.parametrize(("answer", "references", "exact", "overlap"), SQUAD)
def test_answers_are_scored_as_another_implementation_of_squads_script_does(answer, references, exact, overlap):
    assert exact_match(answer, references) == exact
    assert answer_f1(answer, references) == pytest.approx(overlap, abs=1e-6)


@pytest.mark.parametrize(
    ("metric", "bounds", "shown"),
    [
        ("bleu", (31.84, 35.21), "31.8 – 35.2"),
        ("bleu", (0.021, 0.043), "0.02 – 0.04"),
        ("exact_match", (0.004, 0.0096), "0.40 – 0.96"),
        ("exact_match", (0.004, 0.012), "0.4 – 1.2"),
        ("cider_d", (0.003, 0.0104), "0.003 – 0.010"),
        ("bleu", None, ""),
    ],
)
def test_an_interval_has_as_many_digits_as_its_ends_can_be_told_apart_by(metric, bounds, shown):
    assert METRICS[metric].interval_text(bounds) == shown
