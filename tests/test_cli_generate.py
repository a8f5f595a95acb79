"""`regard generate` and `regard chat` over a scripted model."""

import io
import json
import sys
from pathlib import Path

import pytest

import regard.commands.chat
import regard.commands.generate
from regard.cli import main
from regard.tasks.chat import Chat
from regard.tasks.generate import TextGenerator

sys.path.append(str(Path(__file__).parent / "tasks"))

from test_chat import TEMPLATE
from writing import Script, defaults, tokenizer_of

ANSWERS = {"fox": " jumps\nover", "dog": " sleeps>>end<<", "hello": "hi there>>end<<", "name": "Ada>>end<<"}


class Typed(io.TextIOWrapper):
    """A terminal."""

    def isatty(self):
        return True


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizer_of(chat_template=TEMPLATE)


@pytest.fixture
def run(monkeypatch, capsys, tokenizer):
    def command(*arguments, stdin=b"", typed=False, options=(), positions=200, **engine):
        monkeypatch.setattr(sys, "stdin", (Typed if typed else io.TextIOWrapper)(io.BytesIO(stdin)))
        script = Script(tokenizer, ANSWERS, positions, **engine)
        own = defaults(tokenizer, **dict(options))
        tasks = {"generate": TextGenerator(script, tokenizer, own), "chat": Chat(script, tokenizer, own)}
        for verb in tasks:
            monkeypatch.setattr(f"regard.commands.{verb}.load_task", lambda model, task: tasks[task])
        command.script = script
        return main(arguments), *capsys.readouterr()

    return command


@pytest.mark.parametrize("how", [[], ["--stream"], ["--no-stream"]])
def test_one_prompts_text_is_printed_as_it_is(run, how):
    assert run("generate", "m", "the fox", *how) == (0, " jumps\nover\n", "")
    assert run("generate", "m", "the fox", "--keep-prompt", *how)[1] == "the fox jumps\nover\n"


def test_the_prompts_of_a_file_are_a_batch_and_a_line_each_at_a_terminal_too(run, tmp_path):
    (tmp_path / "prompts").write_text("the fox\nthe dog\n")
    arguments = ("generate", "m", "--file", str(tmp_path / "prompts"), "--stop", ">>")
    assert run(*arguments, typed=True) == (0, " jumps over\n sleeps\n", "")
    assert [len(batch["input_ids"]) for batch, *_ in run.script.calls] == [2]
    assert run("generate", "m", stdin=b"the fox\nthe dog\n", typed=True)[1].startswith(" jumps\nover\n")


def test_the_prompts_before_one_that_cannot_be_read_are_continued(run):
    code, out, err = run("generate", "m", "--stop", ">>", stdin=b"the fox\nthe dog\n\xff\n")
    assert (code, out) == (2, " jumps over\n sleeps\n")
    assert err == "regard: stdin, line 3: not UTF-8 (byte 0xff at 0)\n"


def test_several_prompts_texts_are_a_line_each(run, tmp_path):
    expected = (0, " jumps over\n sleeps\n", "")
    assert run("generate", "m", "the fox", "the dog", "--stop", ">>") == expected
    assert run("generate", "m", stdin=b"the fox\nthe dog\n") == expected
    (tmp_path / "prompts").write_text("the fox\nthe dog\n")
    assert run("generate", "m", "-f", str(tmp_path / "prompts")) == expected
    assert run("generate", "m", "-f", str(tmp_path / "prompts"), "--keep-prompt")[1].startswith("the fox jumps over\n")


def test_a_whole_file_may_be_one_prompt(run, tmp_path):
    (tmp_path / "prompt").write_text("a dog\nthe fox")
    assert run("generate", "m", "--whole", "-f", str(tmp_path / "prompt"))[1] == " jumps\nover\n"
    assert run("generate", "m", "--whole", stdin=b"a dog\nthe fox")[1] == " jumps\nover\n"
    code, _, err = run("generate", "m", "the fox", "--whole")
    assert (code, err) == (2, "regard: --whole reads a prompt from --file or stdin: leave the PROMPT out, or --whole\n")


def test_json_has_the_text_the_tokens_and_why_it_ended(run):
    first, second = map(json.loads, run("generate", "m", "the fox", "x", "--json")[1].splitlines())
    assert (first["text"], first["ended_by"], first["finished"]) == (" jumps\nover", "eos", True)
    assert len(first["tokens"]) == len(first["token_scores"])
    assert second["text"] == ""


def test_n_best_has_a_line_for_each_text(run):
    out = run("generate", "m", "the fox", "--n-best", "2", "--num-beams", "2", "--max-new-tokens", "2")[1]
    assert [line.split("\t")[0] for line in out.splitlines()] == ["1", "1"]
    assert len(out.splitlines()[0].split("\t")) == 3


def test_a_text_that_was_cut_is_said_on_stderr(run):
    err = "regard: 1 of 1 texts reached max_new_tokens before their end: raise --max-new-tokens\n"
    assert run("generate", "m", "the fox", "--max-new-tokens", "2")[2] == err
    assert run("generate", "m", "the fox", "--max-new-tokens", "2", "--no-stream")[2] == err


def test_a_prompts_seed_hangs_on_its_number_in_all_of_the_input(run, monkeypatch):
    monkeypatch.setattr("regard.commands.lines.READ_AHEAD", 1)
    run("generate", "m", "--seed", "7", "--sample", stdin=b"x\nthe dog\n")
    assert [options.seed for _, options in run.script.calls] == [(7,), (8,)]
    assert "prompt 2 has" in run("generate", "m", "--max-new-tokens", "8", stdin=b"x\nthe fox\n", positions=9)[2]


def test_only_what_is_allowed_is_written(run):
    assert run("generate", "m", "x", "--allowed", "yes", "--allowed", "no")[1] in ("yes\n", "no\n")


def asked(run):
    return run.script.calls[-1][1]


def test_what_is_for_sampling_turns_it_on_and_a_temperature_of_zero_turns_it_off(run):
    run("generate", "m", "x", "--temperature", "0.5", "--top-p", "0.9", "--seed", "3")
    assert (asked(run).do_sample, asked(run).temperature, asked(run).top_p, asked(run).seed) == (True, 0.5, 0.9, 3)
    run("generate", "m", "x", "--sample")
    assert asked(run).do_sample
    run("generate", "m", "x", "--temperature", "0", options={"do_sample": True, "temperature": 0.6})
    assert not asked(run).do_sample
    run("generate", "m", "x", options={"do_sample": True, "temperature": 0.6})
    assert (asked(run).do_sample, asked(run).temperature) == (True, 0.6)
    run("generate", "m", "x", "--min-p", "0.1", "--typical-p", "0.8", "--top-k", "3", "--repetition-penalty", "1.5")
    assert (asked(run).min_p, asked(run).typical_p, asked(run).top_k, asked(run).repetition_penalty) == (
        0.1,
        0.8,
        3,
        1.5,
    )
    run("chat", "m", "hello", "--no-repeat-ngram-size", "2", "--temperature", "0.1", "--seed", "1")
    assert (asked(run).no_repeat_ngram_size, asked(run).temperature) == (2, 0.1)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--temperature", "0", "--top-k", "3"],
            "--temperature 0 takes the likeliest token, and --top-k is for sampling",
        ),
        (["--temperature", "-1"], "--temperature must be at least 0, which takes the likeliest token, but is -1.0"),
        (["--temperature", "0", "--sample"], "--temperature 0 takes the likeliest token, and --sample is for sampling"),
        (["--no-sample", "--top-p", "0.5"], "--top-p is for sampling, and --no-sample is none: leave one out"),
        (["--seed", "1"], "--seed is for sampling, and this takes the likeliest tokens: add --sample, or leave it out"),
        (["--stream", "--json"], "--stream shows one text for one prompt"),
        (["--stream", "another"], "--stream shows one text for one prompt"),
        (["--n-best", "3"], "num_beams must be at least num_return_sequences (3), but is 1 (or set do_sample=True)"),
        (["-f", "x"], "give either prompts or --file, and not both"),
        (["--max-new-tokens", "300"], "prompt 1 has 1 tokens, which with max_new_tokens (300) makes 301"),
    ],
)
def test_options_at_odds_are_refused_in_one_line(run, arguments, complaint):
    code, out, err = run("generate", "m", "x", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"regard: {complaint}")
    assert err.count("\n") == 1


def test_an_encoder_decoder_writes_another_text(run):
    assert run("generate", "m", "the fox", writes="tiny")[1] == " jumps\nover\n"
    assert "--keep-prompt is for a model that goes on" in run("generate", "m", "x", "--keep-prompt", writes="tiny")[2]


def test_a_message_is_answered_once_its_words_joined(run):
    assert run("chat", "m", "hello") == (0, "hi there\n", "")
    run("chat", "m", "oh", "hello", "--system", "Be kind.")
    read = "".join(run.script.tokenizer.tokens(run.script.calls[-1][0]["input_ids"][0]))
    assert read == "SYSBe▁kind.>>user<<oh▁hello>>model<<"
    assert json.loads(run("chat", "m", "hello", "--json")[1])["text"] == "hi there"


def test_lines_of_stdin_are_the_turns_of_one_conversation(run):
    assert run("chat", "m", stdin=b"hello\n\nmy name\n") == (0, "hi there\nAda\n", "")
    read = "".join(run.script.tokenizer.tokens(run.script.calls[-1][0]["input_ids"][0]))
    assert read.startswith(">>user<<hello>>model<<hi▁there>>end<<")
    out = run("chat", "m", "--json", stdin=b"hello\nmy name\n")[1]
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["hi there", "Ada"]


def test_what_is_typed_is_answered_until_somebody_quits(run):
    code, out, err = run("chat", "m", stdin=b"hello\n/reset\n\n/help\nmy name\n/quit\nhello\n", typed=True)
    assert (code, out) == (0, "> hi there\n> > > > Ada\n> ")
    assert err.count("/reset begins anew") == 2
    assert run.script.calls[-1][0]["input_ids"].shape[1] < 12
    assert run("chat", "m", stdin=b"hello\n", typed=True)[:2] == (0, "> hi there\n> \n")


def test_ctrl_c_ends_the_reply_and_not_the_conversation(run, monkeypatch):
    pushed = []

    def interrupting(self, text, *, real=regard.commands.chat.Chat.stream, **settings):
        turn = real(self, text, **settings)
        pieces = turn._pieces

        def some():
            yield next(pieces)
            if not pushed:
                pushed.append(1)
                raise KeyboardInterrupt
            yield from pieces

        reading = some()
        monkeypatch.setattr(type(turn), "__next__", lambda turn: next(reading))
        return turn

    monkeypatch.setattr(Chat, "stream", interrupting)
    code, out, _ = run("chat", "m", stdin=b"hello\nmy name\n", typed=True)
    assert code == 0
    assert out.startswith("> h")
    assert out.endswith("> Ada\n> \n")
    read = "".join(run.script.tokenizer.tokens(run.script.calls[-1][0]["input_ids"][0]))
    assert read.startswith(">>user<<hello>>model<<h")  # what there was of the reply is remembered
    assert run("chat", "m", "hello")[0] == 0
    pushed.clear()
    assert run("chat", "m", "hello")[0] == 130


def test_what_is_forgotten_and_what_was_cut_is_said_on_stderr(run):
    err = run("chat", "m", stdin=b"hello\n" * 6, positions=60, options={"max_new_tokens": 20})[2]
    assert err.startswith("regard: the conversation grew too long: its oldest 2 messages are forgotten\n")
    err = run("chat", "m", "hello", "--max-new-tokens", "1")[2]
    assert err == "regard: the reply reached max_new_tokens before its end: raise --max-new-tokens\n"


def test_a_template_may_be_given_and_its_absence_is_said_before_a_message(run, tmp_path, monkeypatch):
    (tmp_path / "template").write_text("{{ messages[0].content }}>>model<<")
    run("chat", "m", "hello", "--template", str(tmp_path / "template"))
    assert "".join(run.script.tokenizer.tokens(run.script.calls[-1][0]["input_ids"][0])) == "hello>>model<<"
    monkeypatch.setattr("regard.features.tokenizer.Tokenizer.chat_templates", {})
    code, out, err = run("chat", "m", stdin=b"hello\n", typed=True)
    assert (code, out) == (2, "")
    assert "the model has no chat template" in err
