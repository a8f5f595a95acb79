"""Judgements by hand, their scores, their records, and what may be compared."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.batch import Example, ImageExample
from regard.cli import main
from regard.commands.evaluate import _refuse
from regard.data.records import AnswerRecord, ClassRecord, PairRecord, TagRecord
from regard.errors import ConfigError, DataError, InputError
from regard.explain.run_page import unselected, worst
from regard.metrics.answering import answer_f1, best_threshold, exact_match
from regard.tasks.answer import Answer
from regard.tasks.classify import Classification, LabelScore
from regard.tasks.generate import GeneratedText
from regard.tasks.judging.answers import ANSWERS
from regard.tasks.judging.catalog import evaluation_of
from regard.tasks.judging.images import CAPTIONS, IMAGE_LABELS
from regard.tasks.judging.labels import LABELS
from regard.tasks.judging.pairs import SEARCHES
from regard.tasks.judging.records import EvaluationRecord, hash_of, path_in, read_record, records_of, write_record
from regard.tasks.judging.scoring import compare, scores_by_group
from regard.tasks.judging.sounds import TRANSCRIPTS
from regard.tasks.judging.summaries import SUMMARIES
from regard.tasks.judging.tags import TAGS
from regard.tasks.judging.texts import TEXTS
from regard.tasks.judging.translation import TRANSLATION
from regard.tasks.summarise import Summary
from regard.tasks.translate import Translation


def values(judgements, **options):
    (group,) = scores_by_group(judgements, resamples=20, **options)
    return {name: round(scored.value, 4) for name, scored in group.scores.items() if scored.value is not None}


def ranking(**scores):
    return Classification(tuple(LabelScore(*each) for each in sorted(scores.items(), key=lambda each: -each[1])))


def labelled(*pairs, problem="single_label"):
    records = [ClassRecord(f"text {n}", None, labels) for n, (labels, _) in enumerate(pairs)]
    return LABELS.judge(records, [found for _, found in pairs], {"problem": problem})


def test_labels_are_scored_by_accuracy_and_macro_f1_and_the_surest_error_is_the_worst():
    judged = labelled((["a"], ranking(a=0.9, b=0.1)), (["b"], ranking(a=0.8, b=0.2)), (["b"], ranking(b=0.6, a=0.4)))
    assert values(judged) == {"accuracy": 0.6667, "macro_f1": 0.6667}
    assert min(judged, key=lambda each: each.quality).inputs == {"text": "text 1"}
    assert judged[1].remark == "a 80%, the right label 20%"


def test_of_several_labels_a_text_is_right_where_all_are():
    found = labelled((["a", "b"], ranking(a=0.9, b=0.7, c=0.1)), ([], ranking(a=0.6, b=0.1)), problem="multi_label")
    assert [judgement.right for judgement in found] == [True, False]
    assert values(found) == {"accuracy": 0.5, "macro_f1": round((2 / 3 + 1) / 2, 4)}
    assert (found[1].reference, found[1].output) == ("", "a")


def test_numbers_are_scored_by_correlation_and_error():
    records = [ClassRecord("x", None, (), value) for value in (1.0, 2.0, 4.0)]
    judged = LABELS.judge(records, [ranking(LABEL_0=value) for value in (1.5, 2.0, 4.5)], {"problem": "regression"})
    assert values(judged) == {
        "pearson": round(float(np.corrcoef([1.5, 2, 4.5], [1, 2, 4])[0, 1]), 4),
        "absolute_error": 0.3333,
    }


def answered(text, difference):
    return Answer(text, 0, len(text), 0.5, 0.1, difference)


def test_a_question_without_an_answer_is_right_where_none_is_given():
    records = [AnswerRecord("q", "in Rome", ["Rome"], [3]), AnswerRecord("q", "in Paris", [], [])]
    judged = ANSWERS.judge(records, [answered("Rome", -1.0), answered("Paris", 2.0)], {"no_answer_threshold": 0.5})
    assert values(judged) == {
        "exact_match": 1,
        "f1": 1,
        "exact_match_answerable": 1,
        "f1_answerable": 1,
        "right_unanswerable": 1,
    }
    always = ANSWERS.judge(records, [answered("Rome", -1.0), answered("Paris", 2.0)], {})
    assert values(always)["right_unanswerable"] == 0
    assert values(always)["exact_match"] == 0.5


def test_a_group_is_scored_by_itself_and_with_all_and_says_where_it_has_nothing_to_score():
    """Two families: the questions of one all have an answer, of the other's two one has none."""
    records = [AnswerRecord("q", "in Rome", ["Rome"], [3], "towns") for _ in range(3)]
    records += [AnswerRecord("q", "in 1900", ["1900"], [3], "years"), AnswerRecord("q", "in 1900", [], [], "years")]
    said = [("Rome", -1.0), ("Rome", -1.0), ("in", -1.0), ("1900", -1.0), ("1900", 2.0)]
    judged = ANSWERS.judge(records, [answered(*each) for each in said], {"no_answer_threshold": 0.5})
    groups = {group.name: group for group in scores_by_group(judged, resamples=50, pooled=ANSWERS.pooled)}
    assert {name: group.examples for name, group in groups.items()} == {"towns": 3, "years": 2, "all": 5}
    shares = {name: round(group.scores["exact_match"].value, 4) for name, group in groups.items()}
    assert shares == {"towns": 0.6667, "years": 1.0, "all": 0.8}
    assert groups["years"].scores["right_unanswerable"].value == 1
    assert groups["years"].scores["exact_match_answerable"].value == 1
    assert groups["towns"].scores["right_unanswerable"] == (None, None, 0)
    counted = {name: scored.examples for name, scored in groups["years"].scores.items()}
    assert (counted["f1"], counted["f1_answerable"], counted["right_unanswerable"]) == (2, 1, 1)
    low, high = groups["towns"].scores["exact_match"].interval
    assert 0 <= low < 2 / 3 < high <= 1


@pytest.mark.parametrize(
    ("evaluation", "record", "prediction", "settings"),
    [
        (LABELS, ClassRecord("x", None, ("a",), group="g"), ranking(a=0.9), {"problem": "single_label"}),
        (LABELS, ClassRecord("x", None, (), 1.0, "g"), ranking(a=0.9), {"problem": "regression"}),
        (TAGS, TagRecord(["x"], ["O"], "g"), ["O"], {}),
        (IMAGE_LABELS, ImageExample("x.png", "a", "g"), ranking(a=0.9), {}),
        (TEXTS, Example("x", "a", group="g"), GeneratedText("a"), {}),
        (SUMMARIES, Example("x", "a", group="g"), Summary("a"), {}),
        (TRANSLATION, Example("x", "a", group="g"), Translation("a"), {}),
    ],
)
def test_every_task_has_groups_as_answers_have(evaluation, record, prediction, settings):
    assert [judged.group for judged in evaluation.judge([record], [prediction], settings)] == ["g"]
    (alone,) = evaluation.judge([record._replace(group="")], [prediction], settings)
    assert alone.group == "all"


@given(st.lists(st.tuples(st.integers(-3, 3), st.sampled_from([-1.0, 0.0, 0.5, 1.0])), min_size=1, max_size=8))
def test_no_threshold_does_better_than_the_best_one(rows):
    differences, gains = zip(*rows, strict=True)

    def gained(threshold):
        return sum(gain for difference, gain in rows if difference <= threshold)

    found = gained(best_threshold(differences, gains))
    assert found == pytest.approx(max(gained(threshold / 2) for threshold in range(-9, 10)))


def test_summaries_say_how_much_they_copy():
    records = [Example("A tool that draws graphs.", "draws graphs")]
    judged = SUMMARIES.judge(records, [Summary("draws many graphs", cut=3, finished=False)], {})
    found = values(judged)
    assert found["rouge1"] == pytest.approx(0.8)
    assert (found["copied1"], found["copied2"]) == (0.6667, 0)
    assert "copied4" not in found  # there is no run of four words
    assert judged[0].remark == "ROUGE-1 80, 3 tokens not read"
    assert scores_by_group(judged)[0].unfinished == 1


class FakeEmbedder:
    """A text's vector is where its first letter stands in the alphabet."""

    def vectors(self, texts, **_):
        return np.eye(26)[[ord(text[0]) - 97 for text in texts]]

    def compare(self, one, other):
        return one @ other.T


def test_embeddings_are_scored_by_where_the_partner_stands():
    pairs = [("apple", "a fruit"), ("bee", "b insect"), ("cat", "b insect"), ("dog", "z animal")]
    examples = [PairRecord(*pair) for pair in pairs]
    judged = SEARCHES.judge(examples, list(SEARCHES.predict(FakeEmbedder(), examples, {})), {})
    assert [judgement.right for judgement in judged] == [True, True, False, False]
    # equal partners are one candidate; a cat and a dog are near to nothing, so all three candidates come first
    assert values(judged) == {"recall1": 0.5, "recall10": 1.0, "reciprocal_rank": round((2 + 2 / 3) / 4, 4)}
    assert judged[2].remark == "rank 3"


def test_texts_for_texts_are_scored_as_answers_are():
    examples = [Example("where?", "the city of Rome"), Example("when?", "now")]
    judged = TEXTS.judge(examples, [GeneratedText("city of Paris"), GeneratedText("Now!", finished=False)], {})
    assert values(judged) == {"exact_match": 0.5, "f1": round((2 / 3 + 1) / 2, 4)}
    assert [judgement.finished for judgement in judged] == [True, False]


@given(st.integers(1, 60))
def test_a_pages_items_are_chosen_by_their_places_alone(count):
    judged = labelled(*((["a"], ranking(a=0.5 + n / 200, b=0.1)) for n in range(count)))
    places = [int(item.inputs["text"].split()[1]) for item in unselected(judged)]
    assert places[0] == 0
    assert len(set(places)) == len(places) == min(12, count)
    assert places == sorted(places)


def test_the_worst_errors_are_errors_and_the_worst_come_first():
    judged = labelled((["a"], ranking(a=0.9)), (["a"], ranking(b=0.6, a=0.4)), (["a"], ranking(b=0.9, a=0.1)))
    assert [item.inputs["text"] for item in worst(judged)] == ["text 2", "text 1"]


def test_tags_are_scored_by_word_and_by_entity():
    judged = TAGS.judge([TagRecord(["Anna", "ran"], ["B-PER", "O"])], [["B-PER", "B-LOC"]], {})
    assert values(judged) == {"accuracy": 0.5, "entity_f1": round(2 / 3, 4)}
    assert (judged[0].reference, judged[0].output) == ("Anna/B-PER", "Anna/B-PER ran/B-LOC")


def test_groups_of_translations_are_scored_in_each_direction():
    directions = [("en", "de"), ("de", "en")]
    records = [Example("x", group, *way, group) for way in directions for group in ("manuals", "news")]
    judged = TRANSLATION.judge(records, [Translation("manuals")] * 4, {})
    groups = scores_by_group(judged, pooled=TRANSLATION.pooled, resamples=5)
    assert {group.name: group.scores["exact_match"].value for group in groups} == {
        "manuals, en → de": 1,
        "news, en → de": 0,
        "manuals, de → en": 1,
        "news, de → en": 0,
    }


def test_directions_are_scored_apart_and_never_together():
    records = [Example("cat", "Katze", "en", "de"), Example("猫", "cat", "zh", "en")]
    judged = TRANSLATION.judge(records, [Translation("Katze"), Translation("dog")], {})
    groups = scores_by_group(judged, pooled=TRANSLATION.pooled, resamples=5)
    assert [(group.name, group.languages, group.scores["exact_match"].value) for group in groups] == [
        ("en → de", ("en", "de"), 1),
        ("zh → en", ("zh", "en"), 0),
    ]
    pooled = scores_by_group(judged, pooled=True, resamples=5)
    assert [(group.name, group.languages) for group in pooled][-1] == ("all", (None, None))
    assert "tok:13a" in TRANSLATION.signatures(judged)["bleu"]


def record_of(judgements, **changes):
    record = EvaluationRecord(
        task="classify",
        split="test",
        model="m",
        examples=hash_of(judgements),
        data="d",
        tokenizer="t",
        settings={},
        groups=records_of(scores_by_group(judgements)),
        signatures={},
        pooled=True,
        seconds=1.0,
        judgements=judgements,
    )
    return dataclasses.replace(record, **changes)


@pytest.fixture
def two(tmp_path):
    """Two runs' evaluations of one test set; the second is right where the first is wrong, and more often."""
    texts = [(["ab"[n % 2]], n) for n in range(40)]
    first = labelled(*((label, ranking(a=0.6, b=0.4)) for label, _ in texts))
    second = labelled(*((label, ranking(**{label[0]: 0.9, "c": 0.1})) for label, _ in texts))
    for name, judged in (("one", first), ("other", second)):
        (tmp_path / name).mkdir()
        write_record(path_in(tmp_path / name, "test"), record_of(judged))
    return tmp_path, first, second


def test_a_record_comes_back_as_it_was(two):
    place, first, _ = two
    record = read_record(path_in(place / "one", "test"))
    assert record.judgements[0]._replace(inputs=dict(first[0].inputs)) == first[0]
    assert json.loads(path_in(place / "one", "test").read_text())["groups"][0]["scores"]["accuracy"]["value"] == 0.5


def test_a_comparison_is_of_common_columns_and_finds_what_is_there(two):
    _, first, second = two
    accuracy, macro = compare(first, second)
    assert (accuracy.metric, accuracy.found.difference) == ("accuracy", 0.5)
    assert accuracy.found.p < 0.01
    assert macro.found[:2] == pytest.approx((1 / 3, 1.0))


def test_the_command_prints_both_scores_and_their_difference(two, capsys):
    place, _, _ = two
    assert main(["evaluate", "--compare", str(place / "one"), str(place / "other")]) == 0
    assert "accuracy 50.00 % 100.00 % +50.00" in " ".join(capsys.readouterr().out.split())
    assert main(["evaluate", "--compare", str(place / "one"), str(place / "other"), "--json"]) == 0
    differences = json.loads(capsys.readouterr().out)["differences"]
    assert {each["metric"] for each in differences} == {"accuracy", "macro_f1"}


def test_other_test_sets_other_tasks_and_tokens_of_another_tokenizer_are_not_compared(two, capsys):
    place, first, second = two
    write_record(place / "fewer.json", record_of(second[:-1]))
    write_record(place / "task.json", record_of(second, task="tag"))
    for name, message in (("fewer", "on 40 examples of test"), ("task", "classify, but"), ("none", "no evaluation")):
        assert main(["evaluate", "--compare", str(place / "one"), str(place / f"{name}.json")]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    costs = [judgement._replace(statistics={"loss": [1.0, 2]}) for judgement in first]
    for name, tokenizer in (("t", "t"), ("u", "u")):
        write_record(place / f"{name}.json", record_of(costs, tokenizer=tokenizer))
    assert main(["evaluate", "--compare", str(place / "t.json"), str(place / "t.json")]) == 0
    assert main(["evaluate", "--compare", str(place / "t.json"), str(place / "u.json")]) == 2
    assert "no metric in common" in capsys.readouterr().err
    for seed in (1, 2):  # of what a masked language model's evaluation hides
        settings = {"rate": 0.15, "whole_words": False, "seed": seed}
        hidden = dataclasses.replace(record_of(costs, tokenizer="t"), settings=settings)
        write_record(place / f"seed{seed}.json", hidden)
    assert main(["evaluate", "--compare", str(place / "seed1.json"), str(place / "seed2.json")]) == 2


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        ("out.txt", "--output must end in .json, by which --compare knows a record, but is"),
        ("old.json", "--output must be a file, but"),
        ("file/x.json", "cannot write"),
    ],
)
def test_a_record_that_could_not_be_kept_is_refused_before_anything_is_scored(tmp_path, capsys, output, complaint):
    (tmp_path / "old.json").mkdir()
    (tmp_path / "file").write_text("a\n")
    files = ["--source", str(tmp_path / "file"), "--reference", str(tmp_path / "file")]
    assert main(["evaluate", "nowhere", *files, "-o", str(tmp_path / output)]) == 2
    assert capsys.readouterr().err.startswith(f"regard: {complaint}")


@pytest.mark.parametrize(
    ("evaluation", "option", "takes"),
    [
        (IMAGE_LABELS, "batch_tokens", "translate: leave it out"),
        (
            CAPTIONS,
            "long",
            "which takes --beam-threshold, --length-penalty, --max-new-tokens, --num-beams: leave it out",
        ),
        (TRANSCRIPTS, "length_penalty", "which takes --max-new-tokens, --num-beams: leave it out"),
        (TAGS, "num_beams", "which takes --batch-tokens: leave it out"),
    ],
)
def test_options_that_are_not_for_a_task_are_refused_by_the_names_of_the_command_line(evaluation, option, takes):
    with pytest.raises(ConfigError, match=f"--{option.replace('_', '-')} is not for ") as refused:
        _refuse(evaluation, None, {option: 1})
    assert str(refused.value).endswith(takes.replace("translate", evaluation.task))


def test_damage_is_named(two):
    place, _, _ = two
    lines = path_in(place / "one", "test").with_suffix(".jsonl")
    lines.write_text("".join(lines.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(DataError, match=r"evaluation-test\.jsonl does not belong"):
        read_record(path_in(place / "one", "test"))
    lines.write_text("{")
    with pytest.raises(DataError, match="damaged"):
        read_record(path_in(place / "one", "test"))


def test_what_has_no_use_of_its_own_is_refused_and_nothing_too():
    with pytest.raises(InputError, match="span-corruption has no use of its own"):
        evaluation_of("span-corruption")
    with pytest.raises(InputError, match="nothing to evaluate"):
        scores_by_group([])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compare", "a", "b", "m"], "leave MODEL out"),
        ([], "Missing argument 'MODEL'"),
        (["m", "--on", "r", "--source", "s", "--reference", "t"], "give either"),
    ],
)
def test_wrong_usage_is_one_line(arguments, message, capsys):
    assert main(["evaluate", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_f1_of_nothing_said_is_what_answering_gains_over():
    assert answer_f1("", []) == 1
    assert answer_f1("", ["x"]) == 0
    for reference in ("The", "..."):  # of which nothing is left, SQuAD 2.0's script drops it
        assert (exact_match("", [reference, "Foo"]), answer_f1("", [reference, "Foo"])) == (0, 0)
        assert (exact_match("", [reference]), exact_match("foo", [reference, "Foo"])) == (1, 1)
