"""Rows of classes, tags and answers: what a model is told, token by token."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.config import TokenizerConfig, parse_run
from regard.data.objectives.answer import AnswerSpans
from regard.data.objectives.classify import Classify
from regard.data.objectives.objective import Batching, Reports
from regard.data.objectives.tag import Tag
from regard.data.prepare import prepare
from regard.data.records import AnswerRecord, ClassRecord, TagRecord
from regard.data.sources import DropReport, Located, Place
from regard.errors import ConfigError, DataError
from regard.features.first_tokens import first_tokens
from regard.features.tokenizer import Tokenizer
from regard.features.tokenizer_layouts import train_tokenizer

LINES = ["Anna lives in New York.", "Where does Anna live?", "Bert-Jan's house, in Rome!"] * 9


WORDS = "anna lives in new york where does live bert house rome . ' - , ! ?".split()
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS)]


@pytest.fixture(scope="module", params=["bytes", "wordpiece"])
def tokenizer(request, tmp_path_factory):
    if request.param == "bytes":
        return train_tokenizer(LINES, TokenizerConfig(vocab_size=302), "encoder")
    directory = tmp_path_factory.mktemp("wordpiece")
    (directory / "vocab.txt").write_text("\n".join(VOCABULARY), "utf-8")
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}', "utf-8")
    return Tokenizer.load(directory)


def encoded(objective, records, tokenizer):
    reports = Reports(DropReport(), DropReport())
    part = [Located(record, Place("f", number)) for number, record in enumerate(records, 1)]
    return [rows for _, rows in objective.encode(part, tokenizer, reports)], reports


words = st.lists(st.text("abAnné'.-你", min_size=1, max_size=6), min_size=1, max_size=8)


@given(words=words)
@settings(deadline=None)
def test_each_word_has_its_value_at_its_first_token_and_nowhere_else(words, tokenizer):
    encoding = tokenizer.encode_text(" ".join(words))
    values = list(range(1, len(words) + 1))
    found = first_tokens(encoding, words, values)
    shown = [value for value in found if value]
    assert shown == sorted(set(shown)), "in order, and once"
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    for place, value in enumerate(found):
        if value:
            start, end = encoding.offsets[place]
            assert start < ends[value - 1]
            assert end > ends[value - 1] - len(words[value - 1])


def test_every_word_of_ordinary_text_has_a_tag(tokenizer):
    record = TagRecord(LINES[0].split(), ["B-PER", "O", "O", "B-LOC", "I-LOC"])
    objective = Tag(64).with_names(["B-LOC", "B-PER", "I-LOC", "O"])
    ((row,),), reports = encoded(objective, [record], tokenizer)
    assert [number for number in row[2] if number] == [2, 4, 4, 1, 3]
    assert (row[3], reports.dropped.total) == ([0], 0)


def test_windows_of_tags_count_every_word_once(tokenizer):
    words = LINES[0].split() * 9
    names = [f"T{number}" for number in range(len(words))]
    objective = Tag(16, stride=5).with_names(names)
    (rows,), reports = encoded(objective, [TagRecord(words, names)], tokenizer)
    assert len(rows) > 3
    assert [row[3] for row in rows] == [[number] for number in range(len(rows))]
    assert max(len(row[0]) for row in rows) == 16
    assert sorted(number for row in rows for number in row[2] if number) == list(range(1, len(words) + 1))
    assert list(reports.changed.counts) == ["longer than data.max_tokens = 16, read in windows"]


def test_a_tag_that_training_does_not_have_is_dropped_and_counted(tokenizer):
    rows, reports = encoded(Tag(64).with_names(["O", "X"]), [TagRecord(["a"], ["Y"])], tokenizer)
    assert (rows, reports.dropped.counts) == ([], {"a tag that the training data does not have": 1})


CONTEXT = "Bert-Jan's house is in Rome. Anna lives in New York."


@pytest.mark.parametrize("answer", ["New York", "Bert-Jan", "Jan", "Anna lives in New York"])
@pytest.mark.parametrize(("max_tokens", "stride"), [(128, None), (40, 14)])
def test_the_span_of_a_row_reads_as_the_answer(answer, max_tokens, stride, tokenizer):
    record = AnswerRecord("Where does Anna live?", CONTEXT, [answer], [CONTEXT.index(answer)])
    objective = AnswerSpans(max_tokens, stride)
    ((rows),), _ = encoded(objective, [record], tokenizer)
    windows = objective.windows(record, tokenizer)
    held = 0
    for row, window in zip(rows, windows, strict=True):
        start, end = row[2]
        if (start, end) == (0, 0):
            continue
        held += 1
        text = CONTEXT[window.offsets[start][0] : window.offsets[end][1]]
        assert text.strip(" .") == answer or text.startswith(answer)
        assert {window.segments[start], window.segments[end]} == {1}
    assert held >= 1


def test_a_question_without_an_answer_points_to_the_class_token(tokenizer):
    ((row,),), _ = encoded(AnswerSpans(128), [AnswerRecord("Who?", CONTEXT, [], [])], tokenizer)
    assert row[2] == (0, 0)
    assert row[0][0] == tokenizer.cls_id


def test_a_question_too_long_for_its_window_is_dropped_and_counted(tokenizer):
    record = AnswerRecord("Where does Anna live? " * 9, CONTEXT, ["Anna"], [CONTEXT.index("Anna")])
    rows, reports = encoded(AnswerSpans(32), [record], tokenizer)
    assert (rows, reports.dropped.total) == ([], 1)


def test_a_text_longer_than_the_model_reads_is_cut_and_counted(tokenizer):
    objective = Classify(12).with_names(["a", "b"])
    ((row,),), reports = encoded(objective, [ClassRecord(" ".join(LINES), None, ("b",))], tokenizer)
    assert (len(row[0]), row[2]) == (12, [1])
    assert reports.changed.counts == {"cut to data.max_tokens = 12": 1}


def test_a_pair_has_two_token_types(tokenizer):
    objective = Classify(64).with_names(["a", "b"])
    ((row,),), _ = encoded(objective, [ClassRecord("Anna", "Rome", ("a",))], tokenizer)
    encoding = tokenizer.encode_pair("Anna", "Rome")
    assert (row[0], row[1]) == (encoding.ids, encoding.token_type_ids)
    assert set(row[1]) == {0, 1}


@pytest.mark.parametrize(
    ("problem", "records", "labels"),
    [
        ("single_label", [{"label": "b"}, {"label": "a"}, {"label": 10}, {"label": 9}], [3, 2, 1, 0]),
        ("multi_label", [{"labels": ["b", "a"]}, {"labels": []}], [[1, 1], [0, 0]]),
        ("regression", [{"label": -1.5}, {"label": 3}], [-1.5, 3.0]),
    ],
)
def test_labels_come_out_of_the_shards_as_they_went_in(problem, records, labels, tmp_path):
    lines = [json.dumps({"text": f"Anna {number}", **record}) for number, record in enumerate(records)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines), "utf-8")
    corpus = {"jsonl": str(tmp_path / "train.jsonl")}
    data = {"train": [corpus], "validation": [corpus], "workers": 1}
    values = {"task": "classify", "objective": {"problem": problem}, "data": data, "training": {"steps": 1}}
    prepared = prepare(parse_run({**values, "tokenizer": {"vocab_size": 302}}), tmp_path / "data")
    objective = Classify(128, problem).with_names(prepared.manifest["names"])
    how = Batching(1000, 0, shuffle=False, token_types=True)
    (batch,) = objective.batches(prepared.split("train"), prepared.tokenizer, how).epoch()
    assert batch["labels"].tolist() == labels
    assert batch["labels"].dtype == objective.labels.dtype
    assert batch["token_type_ids"].shape == batch["input_ids"].shape


def test_one_label_is_no_choice():
    with pytest.raises(DataError, match="1 different labels"):
        Classify(8).with_names(["only"])


def test_a_stride_that_leaves_nothing_new_is_refused(tokenizer):
    with pytest.raises(ConfigError, match=r"objective\.stride must be below the 6 tokens"):
        Tag(8, stride=6).refuse_tokenizer(tokenizer, "tokenizer.path")
