import gzip
import json

import pytest

from regard.batch import ImageExample
from regard.config import CorpusConfig
from regard.data import documents
from regard.data.documents import read_records
from regard.data.records import (
    AnswerRecord,
    ClassRecord,
    TagRecord,
    parse_answered,
    parse_image,
    parse_labelled,
    parse_multi_labelled,
    parse_tagged,
    parse_text,
    parse_valued,
)
from regard.data.sources import DropReport


def read(tmp_path, content, parse=parse_text, **corpus):
    path = tmp_path / "corpus"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    key = "jsonl" if corpus.pop("jsonl", False) else "text"
    report = DropReport()
    found = list(read_records([CorpusConfig(**{key: str(path)}, **corpus)], report, parse))
    return [located.example for located in found], [located.place.line for located in found], report


TEXT = "one\ntwo\n\n\n  \nthree\r\nfour"


@pytest.mark.parametrize(
    ("end", "texts", "lines"),
    [
        ("blank-line", ["one\ntwo", "three\nfour"], [1, 6]),
        ("line", ["one", "two", "three", "four"], [1, 2, 6, 7]),
        ("file", ["one\ntwo\n\n\n  \nthree\nfour"], [1]),
    ],
)
def test_documents_end_where_the_corpus_says(end, texts, lines, tmp_path):
    found, places, report = read(tmp_path, TEXT, documents=end)
    assert ([record.text for record in found], places, report.total) == (texts, lines, 0)


def test_a_line_that_is_no_utf_8_is_left_out_of_its_document_and_counted(tmp_path):
    found, _, report = read(tmp_path, b"one\n\xff\ntwo\n")
    assert [record.text for record in found] == ["one\ntwo"]
    assert report.counts == {"invalid UTF-8": 1}
    assert report.places["invalid UTF-8"][0].endswith("corpus:2")


def test_a_document_beyond_all_bounds_is_dropped_and_counted_and_the_next_one_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "MAX_DOCUMENT_CHARACTERS", 20)
    found, _, report = read(tmp_path, "a" * 10 + "\n" + "b" * 10 + "\nc\n\nnext\n\n" + "d" * 20 + "\n")
    assert [record.text for record in found] == ["next", "d" * 20]
    assert report.counts == {"document longer than 20 characters": 1}


def test_gzip_is_unpacked(tmp_path):
    assert [record.text for record in read(tmp_path, gzip.compress(b"one\n\ntwo"))[0]] == ["one", "two"]


def test_weights_repeat_documents(tmp_path):
    (tmp_path / "corpus").write_text("one")
    corpus = CorpusConfig(text=str(tmp_path / "corpus"), weight=3.0)
    assert [located.copies for located in read_records([corpus], DropReport(), parse_text)] == [3]


ANSWER = {"question": " who? ", "context": "it was Anna", "answers": {"text": ["Anna"], "answer_start": [7]}}


@pytest.mark.parametrize(
    ("parse", "values", "record"),
    [
        (parse_labelled, {"text": "a", "label": 3}, ClassRecord("a", None, ("3",))),
        (parse_labelled, {"text": "a", "pair": "b", "label": "x"}, ClassRecord("a", "b", ("x",))),
        (parse_multi_labelled, {"text": "a", "labels": ["y", "x", "y"]}, ClassRecord("a", None, ["x", "y"])),
        (parse_multi_labelled, {"text": "a", "labels": []}, ClassRecord("a", None, [])),
        (parse_valued, {"text": "a", "label": 2}, ClassRecord("a", None, (), 2.0)),
        (parse_tagged, {"words": ["a", "b"], "tags": ["O", "B-X"]}, TagRecord(["a", "b"], ["O", "B-X"])),
        (parse_tagged, {"text": "a  b", "tags": ["O", "O"]}, TagRecord(["a", "b"], ["O", "O"])),
        (parse_answered, ANSWER, AnswerRecord("who?", "it was Anna", ["Anna"], [7])),
        (
            parse_answered,
            {**ANSWER, "answers": [{"text": "Anna", "answer_start": 7}]},
            AnswerRecord("who?", "it was Anna", ["Anna"], [7]),
        ),
        (parse_answered, {**ANSWER, "answers": []}, AnswerRecord("who?", "it was Anna", [], [])),
        (parse_answered, {**ANSWER, "group": "x"}, AnswerRecord("who?", "it was Anna", ["Anna"], [7], "x")),
        (parse_labelled, {"text": "a", "label": 3, "group": 7}, ClassRecord("a", None, ("3",), group="7")),
        (parse_multi_labelled, {"text": "a", "labels": [], "group": "x"}, ClassRecord("a", None, [], group="x")),
        (parse_valued, {"text": "a", "label": 2, "group": "x"}, ClassRecord("a", None, (), 2.0, "x")),
        (parse_tagged, {"text": "a", "tags": ["O"], "group": "x"}, TagRecord(["a"], ["O"], "x")),
        (parse_image, {"image": "data:x", "label": "a", "group": "x"}, ImageExample("data:x", "a", "x")),
    ],
)
def test_a_line_of_json_becomes_the_task_s_record(parse, values, record, tmp_path):
    found, _, report = read(tmp_path, json.dumps(values), parse, jsonl=True)
    assert (found, report.total) == ([record], 0)


@pytest.mark.parametrize(
    ("parse", "line", "reason"),
    [
        (parse_text, "{", "invalid JSON"),
        (parse_text, "[]", "no JSON object"),
        (parse_text, "{}", 'no text "text"'),
        (parse_text, '{"text": " "}', '"text" is empty'),
        (parse_text, '{"text": "\\ud800"}', "invalid UTF-8"),
        (parse_labelled, '{"text": "a"}', '"label" is no text'),
        (parse_labelled, '{"text": "a", "label": true}', '"label" is no text'),
        (parse_multi_labelled, '{"text": "a", "labels": "x"}', 'no list "labels"'),
        (parse_valued, '{"text": "a", "label": "2"}', '"label" is no number'),
        (parse_valued, '{"text": "a", "label": 2, "group": []}', '"group" is no text'),
        (
            parse_labelled,
            '{"text": "a", "label": 2, "group": "all"}',
            '"group" is "all", the name of all groups together',
        ),
        (parse_valued, '{"text": "a", "label": NaN}', '"label" is no number'),
        (parse_tagged, '{"words": ["a"], "tags": []}', "another number of tags than of words"),
        (parse_tagged, '{"words": ["a", " "], "tags": ["O", "O"]}', 'an entry of "words" is empty'),
        (parse_answered, '{"question": "a", "context": "b"}', 'no "answers"'),
        (
            parse_answered,
            '{"question": "a", "context": "b", "answers": {"text": ["c"], "answer_start": [0]}}',
            'an answer does not stand at its "answer_start"',
        ),
    ],
)
def test_a_line_that_is_no_example_is_dropped_with_its_reason(parse, line, reason, tmp_path):
    found, _, report = read(tmp_path, line, parse, jsonl=True)
    assert (found, report.counts) == ([], {reason: 1})
