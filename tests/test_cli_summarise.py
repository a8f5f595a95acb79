"""`regard summarise`, with a task in place of a loaded one."""

import io
import json
import sys

import pytest

import regard.commands.summarise  # noqa: F401
from regard.cli import main
from regard.tasks.hypotheses import Hypothesis
from regard.tasks.summarise import Summary


class Shortens:
    """To three characters; calls texts of more than 9 cut, and those that end in a dash unfinished."""

    def __init__(self):
        self.blocks, self.settings = [], {}

    def __call__(self, texts, *, first, **settings):
        self.blocks.append((first, len(texts)))
        self.settings = settings
        others = settings.get("num_return_sequences", 1) - 1
        return [
            Summary(
                text[:3],
                -1.5,
                cut=max(len(text) - 9, 0),
                finished=not text.endswith("-"),
                alternatives=tuple(Hypothesis(text[:2], -2.5) for _ in range(others)),
            )
            for text in texts
        ]


@pytest.fixture
def run(monkeypatch, capsys):
    def command(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        task = Shortens()
        monkeypatch.setattr("regard.commands.summarise.load_task", lambda model, name: {"summarise": task}[name])
        return main(["summarise", "m", *arguments]), *capsys.readouterr(), task

    return command


def test_each_argument_is_a_text_and_a_file_or_stdin_is_one(run, tmp_path):
    (tmp_path / "article").write_text("abcd\nefgh\n")
    assert run("abcd", "ef\ngh")[:3] == (0, "abc\nef \n", "")
    for arguments in (["-f", str(tmp_path / "article")], [], ["-"]):
        code, out, err, task = run(*arguments, stdin=b"abcd\nefgh\n")
        assert (code, out, err, task.blocks) == (0, "abc\n", "", [(0, 1)])


def test_lines_are_texts_where_that_is_asked_for_and_are_counted_over_all_blocks(run):
    code, out, _, task = run("--lines", stdin=b"abcd\n" * 600)
    assert (code, out) == (0, "abc\n" * 600)
    assert task.blocks == [(0, 512), (512, 88)]


def test_options_go_to_the_search_and_those_not_given_are_the_checkpoints(run):
    task = run("abcd", "--num-beams", "4", "--min-new-tokens", "5", "--long", "cut")[3]
    assert task.settings == {
        "num_beams": 4,
        "min_new_tokens": 5,
        "long": "cut",
        "batch_tokens": 4096,
        "return_scores": False,
    }


def test_cuts_and_unfinished_summaries_are_said_on_stderr(run):
    code, out, err, _ = run("abcd", "abcdefghijkl", "ab-")
    assert (code, out) == (0, "abc\nabc\nab-\n")
    assert err == (
        "regard: text 2 was cut: its last 3 tokens were not read\n"
        "regard: 1 of 3 summaries reached max_new_tokens before their end: raise --max-new-tokens\n"
    )


def test_n_best_numbers_the_lines_and_json_nests_the_alternatives(run):
    assert (
        run("abcd", "efgh", "--n-best", "2")[1] == "1\t-1.5000\tabc\n1\t-2.5000\tab\n2\t-1.5000\tefg\n2\t-2.5000\tef\n"
    )
    record = json.loads(run("abcd", "--n-best", "2", "--json")[1])
    assert (record["text"], record["cut"], record["alternatives"][0]["text"]) == ("abc", 0, "ab")


def test_texts_and_a_file_at_once_are_refused(run):
    assert run("text", "-f", "x")[:3] == (2, "", "regard: give either texts or --file, and not both\n")
