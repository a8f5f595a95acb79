import numpy as np
import pytest

from regard.errors import CheckpointError, ConfigError, InputError
from regard.tasks.classify import TextClassifier
from regard.tasks.labels import label_names

LABELS = ("low", "middle", "high")


def counted(ids):
    return {"logits": np.log([1.0, len(ids), 5.0])}  # softmax: 1, n, 5 over their sum


@pytest.fixture
def classifier(reader, words):
    def make(rule=counted, labels=LABELS, **config):
        named = {str(number): label for number, label in enumerate(labels)}
        engine = reader(rule, "BertForSequenceClassification", id2label=named, **config)
        return TextClassifier(engine, words, labels)

    return make


def test_one_label_of_several_has_probabilities_that_sum_to_1_best_first(classifier):
    long, short = classifier()(["a b c x y .", "a"])
    assert [entry.label for entry in long.scores] == ["middle", "high", "low"]
    assert [entry.score for entry in long.scores] == pytest.approx([8 / 14, 5 / 14, 1 / 14])
    assert (short.label, short.score) == ("high", pytest.approx(5 / 9))
    assert short.as_json()["scores"][0] == {"label": "high", "score": pytest.approx(5 / 9)}


def test_several_labels_have_each_a_probability_and_a_regression_its_numbers(classifier):
    many = classifier(problem_type="multi_label_classification")("a")
    assert [entry.score for entry in many.scores] == pytest.approx([5 / 6, 3 / 4, 1 / 2])
    raw = classifier(problem_type="regression")("a")
    assert [entry.score for entry in raw.scores] == pytest.approx(np.log([5, 3, 1]), abs=1e-6)
    alone = classifier(lambda ids: {"logits": [0.0]}, labels=("yes",))("a")
    assert alone.score == pytest.approx(0.5)


def test_what_holds_is_the_best_label_or_all_that_are_likelier_than_not(classifier):
    assert [entry.label for entry in classifier()("a").held.scores] == ["high"]
    several = classifier(problem_type="multi_label_classification")("a")
    assert [entry.label for entry in several.held.scores] == ["high", "middle"], "5 / 6 and 3 / 4, and not a half"
    rare = classifier(lambda ids: {"logits": [-1, -2, -3]}, problem_type="multi_label_classification")("a")
    assert [entry.score for entry in rare.held.scores] == pytest.approx([1 / (1 + np.e)])


def test_extreme_logits_are_no_warning(classifier):
    sure = classifier(lambda ids: {"logits": [-1e4, 1e4, 0]}, problem_type="multi_label_classification")("a")
    assert [entry.score for entry in sure.scores] == [1, 0.5, 0]


def test_top_k_keeps_the_best_and_must_be_one_at_least(classifier):
    assert [entry.label for entry in classifier()("a", top_k=2).scores] == ["high", "middle"]
    with pytest.raises(ConfigError, match="top_k must be at least 1, but is 0"):
        classifier()("a", top_k=0)


def test_a_pair_is_one_input_with_two_token_types(classifier, words):
    own = classifier()
    own(["a b", "x"], ["c", "y . ?"])
    batch = own.engine.batches[0]
    expected = [words.encode_pair("x", "y . ?"), words.encode_pair("a b", "c")]
    for row, encoding in enumerate(expected):
        assert batch["input_ids"][row, : len(encoding.ids)].tolist() == encoding.ids
        assert batch["token_type_ids"][row, : len(encoding.ids)].tolist() == encoding.token_type_ids
    assert own("a b", "c") == own(["a b"], ["c"])[0]
    with pytest.raises(InputError, match="a text for each of the 2 texts, but there is 1"):
        own(["a", "b"], ["c"])


def test_what_is_cut_is_counted(classifier):
    assert classifier(positions=5)("a b c x y").cut == 2
    assert classifier(positions=5)("a", "b c x y").cut == 3


def test_labels_come_by_their_ids_and_must_be_the_heads():
    assert label_names({"id2label": {"1": "b", "0": "a"}}, 2) == ("a", "b")
    assert label_names({}, 2) == ("LABEL_0", "LABEL_1")
    with pytest.raises(CheckpointError, match="id2label must name the ids 0 to 2"):
        label_names({"id2label": {"0": "a", "1": "b"}}, 3)
