"""The verbs over a checkpoint that reads texts, with a task in place of a loaded one."""

import io
import json
import sys

import numpy as np
import pytest

import regard.commands.answer
import regard.commands.classify
import regard.commands.embed
import regard.commands.fill_mask
import regard.commands.tag  # noqa: F401
from regard.cli import main
from regard.tasks.answer import Answer, Span
from regard.tasks.classify import Classification, LabelScore
from regard.tasks.embed import Embedding
from regard.tasks.fill_mask import Candidate, Filled
from regard.tasks.tag import Entity, Tags


class Lengths:
    """Embeds a text as its length and 1; calls texts of more than 5 characters cut."""

    def __call__(self, texts, **settings):
        self.settings = settings
        return [Embedding(np.array([len(t), 1], np.float32), min(len(t), 5), max(len(t) - 5, 0)) for t in texts]

    def compare(self, a, b):
        return a @ b.T


def classes(texts, pair=None, *, top_k, batch_tokens):
    pair = pair or [""] * len(texts)
    return [
        Classification((LabelScore(f"{text}+{other}", 0.75), LabelScore("rest", 0.25))[:top_k])
        for text, other in zip(texts, pair, strict=True)
    ]


def tags(texts, **settings):
    return [Tags((Entity("PER", text[:3], 0, 3, 0.5),) if text else ()) for text in texts]


def fills(texts, *, top_k):
    candidates = [Candidate("ada", 7, 0.5, "ada x"), Candidate("b", 8, 0.25, "b x")]
    return [Filled((tuple(candidates[:top_k]), tuple(candidates[:1]))) for _ in texts]


def answers(questions, context, **settings):
    found = [Answer(context[:3], 0, 3, 0.5, 0.1, -2.0, (Span(context[4:], 4, len(context), 0.25),)) for _ in questions]
    return found if settings.get("no_answer_threshold") is None else [Answer("", None, None, 0.9, 0.9, 3.0)]


TASKS = {"embed": Lengths(), "classify": classes, "tag": tags, "fill-mask": fills, "answer": answers}


@pytest.fixture
def run(monkeypatch, capsys):
    def command(verb, *arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        module = f"regard.commands.{verb.replace('-', '_')}"
        monkeypatch.setattr(f"{module}.load_task", lambda model, task: TASKS[task])
        return main([verb, *arguments]), *capsys.readouterr()

    return command


def test_embed_prints_a_vector_a_line_and_says_what_was_cut(run):
    code, out, err = run("embed", "m", "abc", "longer text")
    assert (code, out) == (0, "3.000000 1.000000\n11.000000 1.000000\n")
    assert err == "regard: line 2 was cut: its last 6 tokens were not read\n"
    _, out, _ = run("embed", "m", "--json", stdin=b"abc\n")
    assert json.loads(out) == {"embedding": [3, 1], "tokens": 3, "cut": 0}


def test_embed_compares_all_with_all(run):
    assert run("embed", "m", "a", "bc", "--similarity")[1] == "2.0000\t3.0000\n3.0000\t5.0000\n"
    assert json.loads(run("embed", "m", "a", "bc", "--similarity", "--json")[1]) == {"similarity": [[2, 3], [3, 5]]}
    assert run("embed", "m", "--similarity")[::2] == (2, "regard: there is nothing to compare: no texts\n")


def test_classify_reads_lines_and_pairs(run, tmp_path):
    assert run("classify", "m", stdin=b"good\nbad\n")[1] == "good+\t0.7500\nbad+\t0.7500\n"
    (tmp_path / "pairs.tsv").write_text("a\tb\nc\td\n")
    code, out, _ = run("classify", "m", "--pairs", "-f", str(tmp_path / "pairs.tsv"), "--top-k", "2")
    assert (code, out) == (0, "a+b\t0.7500\trest\t0.2500\nc+d\t0.7500\trest\t0.2500\n")
    code, _, err = run("classify", "m", "--pairs", "no tab")
    assert (code, err) == (
        2,
        "regard: a line of --pairs is two texts with a tab between, but there is none in 'no tab'\n",
    )


def test_tag_prints_an_entity_a_line_with_the_number_of_its_line(run):
    assert run("tag", "m", stdin=b"ada x\n\nbob\n")[1] == "1\t0\t3\tPER\t0.5000\tada\n3\t0\t3\tPER\t0.5000\tbob\n"
    first, second, _ = run("tag", "m", "--json", stdin=b"ada x\n\nbob\n")[1].splitlines()
    assert json.loads(first)["entities"] == [{"label": "PER", "text": "ada", "start": 0, "end": 3, "score": 0.5}]
    assert json.loads(second)["entities"] == []


def test_fill_mask_prints_a_candidate_a_line_with_the_number_of_its_mask(run):
    expected = "1\t1\t0.5000\tada\tada x\n1\t1\t0.2500\tb\tb x\n1\t2\t0.5000\tada\tada x\n"
    assert run("fill-mask", "m", "[MASK] x", "--top-k", "2")[1] == expected
    assert len(json.loads(run("fill-mask", "m", "[MASK] x", "--json")[1])["masks"]) == 2


@pytest.mark.parametrize("how", ["option", "file", "stdin"])
def test_answer_takes_its_text_from_an_option_a_file_or_stdin(run, tmp_path, how):
    (tmp_path / "text").write_text("ada wrote\nit\n")
    arguments = {"option": ["--context", "ada wrote\nit"], "file": ["-f", str(tmp_path / "text")], "stdin": []}[how]
    code, out, _ = run("answer", "m", "Who?", *arguments, stdin=b"ada wrote\nit\n")
    assert (code, out) == (0, "1\t0\t3\t0.5000\tada\n1\t4\t12\t0.2500\twrote it\n")


def test_answer_says_that_there_is_none_and_refuses_two_texts(run):
    out = run("answer", "m", "Who?", "--context", "x", "--no-answer-threshold", "0")[1]
    assert out == "1\t\t\t0.9000\t\n"
    record = json.loads(run("answer", "m", "Who?", "--context", "ada x", "--json")[1])
    assert (record["text"], record["null_difference"], record["alternatives"][0]["text"]) == ("ada", -2.0, "x")
    assert run("answer", "m", "Who?", "--context", "x", "-f", "y")[::2] == (
        2,
        "regard: give either --context or --file, and not both\n",
    )


@pytest.mark.parametrize("verb", ["embed", "classify", "tag", "fill-mask"])
def test_texts_and_a_file_at_once_are_refused(run, verb):
    assert run(verb, "m", "text", "-f", "x")[::2] == (2, "regard: give either texts or --file, and not both\n")


@pytest.mark.parametrize("verb", ["embed", "classify", "tag", "fill-mask", "answer"])
def test_a_path_without_a_model_is_one_line(capsys, tmp_path, verb, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([verb, "nowhere", "text", *(["--context", "x"] if verb == "answer" else [])]) == 2
    assert capsys.readouterr().err == "regard: no model at nowhere: the directory does not exist\n"
