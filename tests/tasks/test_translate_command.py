import gzip
import json

import pytest

from regard.commands.bulk_blocks import Block, answer_block
from regard.commands.inspect import print_architecture
from regard.commands.score_tables import print_scores
from regard.commands.text import table_console
from regard.commands.translate import TranslateLines
from regard.errors import InputError
from regard.models.catalog import spec


def test_each_text_gives_a_line_in_the_order_of_the_arguments(command, translator):
    assert command("translate", "m", "one", "two words", "x", translator=translator) == (0, "ONE\nTWO WORDS\nX\n", "")


@pytest.mark.parametrize("arguments", [(), ("-",), ("--file", "-")])
def test_stdin_is_read_where_no_text_is_given_and_keeps_its_lines(command, translator, arguments):
    text = b"one\n\n  \ntwo\r\nlast without an end"
    code, out, err = command("translate", "m", *arguments, stdin=text, translator=translator)
    assert (code, out, err) == (0, "ONE\n\n\nTWO\nLAST WITHOUT AN END\n", "")


def test_no_character_but_a_line_feed_ends_a_line(command, translator):
    text = "a\u2028b\x0bc\x85d\x00e\rf\n".encode()
    code, out, _ = command("translate", "m", stdin=text, translator=translator)
    assert code == 0
    assert out.count("\n") == 1


def test_a_line_end_inside_an_output_does_not_shift_the_lines_after_it(command, translator):
    code, out, _ = command("translate", "m", "a\nb", "c", translator=translator)
    assert (code, out) == (0, "A B\nC\n")


def test_a_file_is_translated_line_by_line(command, translator, tmp_path):
    (tmp_path / "in.txt").write_text("eins\nzwei\n")
    assert command("translate", "m", "-f", str(tmp_path / "in.txt"), translator=translator) == (0, "EINS\nZWEI\n", "")


def test_each_window_is_written_before_the_next_is_read(command, translator, monkeypatch):
    events = []
    translate_window = translator._translate_window
    monkeypatch.setattr(
        translator,
        "_translate_window",
        lambda texts, *rest: events.append(list(texts)) or translate_window(texts, *rest),
    )
    monkeypatch.setattr("builtins.print", lambda text="", **_: events.append(text))
    command("translate", "m", "--window", "2", stdin=b"a\nb\nc\n", translator=translator)
    assert events == [["a", "b"], "A", "B", ["c"], "C"]


def test_json_gives_an_object_a_line_with_tokens_and_their_scores(command, translator):
    code, out, _ = command("translate", "m", "--json", "ab", "", translator=translator)
    first, blank = map(json.loads, out.splitlines())
    assert code == 0
    assert first["text"] == "AB"
    assert first["tokens"] == ["A", "B", "</s>"]
    assert first["token_scores"] == [-0.5, -0.5, -0.5]
    assert first["score"] == -1.5
    assert first["alternatives"] == []
    assert blank["text"] == ""


def test_n_best_numbers_the_lines_and_json_nests_the_alternatives(command, translator):
    arguments = ("translate", "m", "--num-beams", "2", "--n-best", "2")
    code, out, _ = command(*arguments, "a", "b", translator=translator)
    assert code == 0
    rows = [line.split("\t") for line in out.splitlines()]
    assert [(number, text) for number, _, text in rows] == [("1", "A"), ("1", "A!"), ("2", "B"), ("2", "B!")]
    assert float(rows[0][1]) > float(rows[1][1])
    _, out, _ = command(*arguments, "--json", "a", translator=translator)
    assert [entry["text"] for entry in json.loads(out)["alternatives"]] == ["A!"]


def test_n_best_beyond_the_beams_is_a_usage_error(command, translator):
    code, out, err = command("translate", "m", "--n-best", "3", "a", translator=translator)
    assert (code, out) == (2, "")
    assert "num_beams must be at least num_return_sequences (3), but is 1" in err


def test_a_line_that_is_too_long_ends_the_work_with_its_number_after_the_lines_before_it(command, make_translator):
    translator = make_translator(max_positions=8)
    code, out, err = command("translate", "m", stdin=b"a\nb\n" + b"c" * 9 + b"\nd\n", translator=translator)
    assert (code, out) == (2, "A\nB\n")
    assert err.startswith("regard: line 3 has 10 tokens, but the model reads at most 8")
    assert err.count("\n") == 1


def test_a_line_that_cannot_be_read_ends_the_work_after_the_lines_before_it(command, translator):
    code, out, err = command("translate", "m", stdin=b"a\nb\n\xff\nd\n", translator=translator)
    assert (code, out, err) == (2, "A\nB\n", "regard: stdin, line 3: not UTF-8 (byte 0xff at 0)\n")


def test_a_process_of_several_says_which_of_all_lines_is_too_long(make_translator):
    work = TranslateLines("m", {}, {}, as_json=False)
    with pytest.raises(InputError, match=r"in lines 65 to 67 of the input: line 66 has 10 tokens"):
        answer_block(work, make_translator(max_positions=8), Block(64, ["a", "c" * 9, "d"]))


def test_long_split_translates_the_sentences_and_says_so(command, make_translator):
    translator = make_translator(max_positions=8)
    code, out, err = command("translate", "m", "--long", "split", "a.", "abcd. efgh.", translator=translator)
    assert (code, out) == (0, "A.\nABCD. EFGH.\n")
    assert err == "regard: line 2 was split into 2 sentences\n"


def test_outputs_cut_at_max_new_tokens_are_counted_on_stderr(command, translator):
    code, out, err = command("translate", "m", "--max-new-tokens", "3", "abcdef", "a", "uvwxyz", translator=translator)
    assert (code, out) == (0, "ABC\nA\nUVW\n")
    assert err == "regard: 2 of 3 translations reached max_new_tokens before their end: raise --max-new-tokens\n"


def test_the_target_language_is_asked_for_and_passed_on(command, many_languages):
    code, _, err = command("translate", "m", "a", translator=many_languages)
    assert code == 2
    assert "give target_lang, one of de, en, zh" in err
    code, out, _ = command("translate", "m", "--json", "--target-lang", "zh", "a", translator=many_languages)
    assert (code, json.loads(out)["target_lang"]) == (0, "zh")


def test_invalid_utf8_is_refused_with_its_line_and_surrogates_in_arguments_are_not(command, translator):
    code, out, err = command("translate", "m", "--window", "1", stdin=b"ok\nb\xffd\n", translator=translator)
    assert (code, out) == (2, "OK\n")
    assert err == "regard: stdin, line 2: not UTF-8 (byte 0xff at 1)\n"
    code, out, _ = command("translate", "m", "x\udcff", translator=translator)
    assert (code, out) == (0, "X\ufffd\n")


def test_texts_and_a_file_at_once_are_refused(command, translator):
    code, _, err = command("translate", "m", "--file", "f", "text", translator=translator)
    assert (code, err) == (2, "regard: give either texts or --file, and not both\n")


def test_a_missing_file_is_one_line(command, translator):
    code, _, err = command("translate", "m", "--file", "nowhere.txt", translator=translator)
    assert (code, err) == (2, "regard: cannot read nowhere.txt: No such file or directory\n")


def test_ctrl_c_is_no_traceback(command, translator):
    def interrupt(batch, options):
        raise KeyboardInterrupt

    translator.engine.generate = interrupt
    code, _, err = command("translate", "m", "a", translator=translator)
    assert (code, err) == (130, "regard: interrupted\n")


def write_pair(directory, sources, references):
    for name, lines in (("source", sources), ("reference", references)):
        (directory / name).write_text("".join(f"{line}\n" for line in lines))
    return ["--source", str(directory / "source"), "--reference", str(directory / "reference")]


def test_evaluate_prints_the_scores_of_two_files_with_their_signatures(command, translator, tmp_path):
    files = write_pair(tmp_path, ["one two three four", "five"], ["ONE TWO THREE FOUR", "six"])
    code, out, err = command("evaluate", "m", *files, translator=translator)
    assert (code, err) == (0, "")
    assert "50.00 %" in out
    assert "bleu: nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:" in out
    assert "chrf: nrefs:1|" in out


def test_evaluate_as_json_is_one_object_and_the_target_language_chooses_the_tokenizer(command, translator, tmp_path):
    files = write_pair(tmp_path, ["abc", "d"], ["ABC", "D"])
    code, out, _ = command("evaluate", "m", *files, "--target-lang", "zh", "--json", translator=translator)
    assert code == 0
    (direction,) = json.loads(out)["directions"]
    assert direction["exact_match"] == 100
    assert direction["count"] == 2
    assert "tok:zh" in direction["bleu_signature"]


def test_evaluate_refuses_files_of_unequal_length_empty_ones_and_one_without_the_other(command, translator, tmp_path):
    files = write_pair(tmp_path, ["a", "b"], ["A"])
    code, _, err = command("evaluate", "m", *files, translator=translator)
    assert code == 2
    assert (
        err == f"regard: {tmp_path / 'source'} has more lines than {tmp_path / 'reference'}, which ends before line 2\n"
    )
    code, _, err = command("evaluate", "m", *write_pair(tmp_path, [], []), translator=translator)
    assert code == 2
    assert "is empty: there is nothing to evaluate" in err
    code, _, err = command("evaluate", "m", *files[:2], translator=translator)
    assert (code, err) == (2, "regard: --source and --reference belong together: give both\n")


def test_n_best_of_one_by_greedy_search_shows_its_score(command, translator):
    code, out, _ = command("translate", "m", "--n-best", "1", "--num-beams", "1", "ab", translator=translator)
    assert (code, out) == (0, "1\t-1.5000\tAB\n")


def test_a_window_of_zero_is_refused(command, translator):
    code, _, err = command("translate", "m", "--window", "0", "a", translator=translator)
    assert (code, err) == (2, "regard: window must be at least 1, but is 0\n")


def test_a_byte_order_mark_is_no_part_of_the_first_line_and_gzip_is_named(command, translator, tmp_path):
    assert command("translate", "m", stdin=b"\xef\xbb\xbfab\nc\n", translator=translator)[1] == "AB\nC\n"
    (tmp_path / "in.gz").write_bytes(gzip.compress(b"text\n"))
    code, _, err = command("translate", "m", "-f", str(tmp_path / "in.gz"), translator=translator)
    assert code == 2
    assert f"{tmp_path / 'in.gz'} is compressed by gzip: unpack it first" in err


def test_brackets_in_names_are_text_and_no_markup(capsys):
    scores = {"bleu": 1.0, "bleu_interval": None, "chrf": 1.0, "chrf_interval": None, "exact_match": 1.0}
    signatures = {"bleu_signature": "b", "chrf_signature": "c"}
    print_scores([{"source_lang": "[red]", "target_lang": "[/x]", "count": 1, **scores, **signatures}])
    assert "[red] → [/x]" in capsys.readouterr().out
    print_architecture(table_console(), "runs/[/x]", spec("tiny", vocab_size=9, pad_id=8, eos_id=0))
    assert "runs/[/x]" in capsys.readouterr().out


def test_languages_are_passed_on_and_json_names_them(command, many_languages):
    code, out, _ = command("translate", "m", "--json", "--target-lang", "zho", "a", translator=many_languages)
    assert code == 0
    record = json.loads(out)
    assert (record["source_lang"], record["target_lang"]) == (None, "zh")
    code, _, err = command(
        "translate", "m", "--source-lang", "en", "--target-lang", "de", "a", translator=many_languages
    )
    assert (code, err.count("\n")) == (2, 1)
    assert "takes no source_lang, but got 'en'" in err


def test_evaluate_keeps_a_source_language_that_the_model_is_not_told_as_a_name(command, many_languages, tmp_path):
    files = write_pair(tmp_path, ["one"], ["ONE"])
    arguments = ("evaluate", "m", *files, "--source-lang", "en", "--target-lang", "deu", "--json")
    code, out, _ = command(*arguments, translator=many_languages)
    assert code == 0
    (direction,) = json.loads(out)["directions"]
    assert (direction["source_lang"], direction["target_lang"], direction["exact_match"]) == ("en", "deu", 100)


def test_a_language_code_of_any_family_chooses_bleus_tokenizer(command, many_languages, tmp_path):
    files = write_pair(tmp_path, ["天气很好"], ["天气很好"])
    code, out, _ = command("evaluate", "m", *files, "--target-lang", "zho_Hans", "--json", translator=many_languages)
    assert code == 2  # the model's own tag names no script
    code, out, _ = command("evaluate", "m", *files, "--target-lang", "cmn", "--json", translator=many_languages)
    assert code == 0
    assert "tok:zh" in json.loads(out)["directions"][0]["bleu_signature"]
