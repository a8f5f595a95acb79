"""`regard transcribe`, with a task in place of a loaded one."""

import io
import json
import sys
from pathlib import Path

import pytest
import soundfile
from safetensors.numpy import save_file

import regard.commands.transcribe
from regard.cli import main
from regard.errors import InputError
from regard.tasks.transcribe import Segment, Transcription

sys.path.append(str(Path(__file__).parent / "tasks" / "speech"))

import whispers


class Scripted:
    """Hears in each recording its own name, or how many bytes it is; one that begins with "bad" cannot be read."""

    def each(self, sources, *, timestamps, progress, refused, **settings):
        self.settings = {**settings, "timestamps": timestamps}
        for number, source in enumerate(sources, 1):
            if isinstance(source, str) and (source.startswith("bad") or "blank" in source):
                if refused is None:
                    raise InputError(f"cannot read {source}: it is damaged")
                refused(number, InputError(f"cannot read {source}: it is damaged"))
                continue
            text = f"{len(source)} bytes" if isinstance(source, bytes) else f"I am {source}"
            segments = (Segment(0.0, 1.5, "I am"), Segment(1.5, 62.0, text)) if timestamps else ()
            if progress is not None:
                progress(number, 62.0, 124.0)
            cut, doubtful = ((30.0,) if word in text else () for word in ("cut", "odd"))
            yield Transcription(text, "de", 124.0, segments, cut, doubtful)


class Run:
    def __init__(self, monkeypatch, capsys):
        self.monkeypatch, self.capsys, self.task = monkeypatch, capsys, Scripted()

    def __call__(self, *arguments, stdin=b""):
        for path in (Path(name) for name in arguments if name.endswith((".wav", ".mp3"))):
            path.parent.mkdir(exist_ok=True)
            path.touch()
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self.monkeypatch.setattr(regard.commands.transcribe, "load_task", lambda model, task: self.task)
        return main(["transcribe", "m", *arguments]), *self.capsys.readouterr()


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    return Run(monkeypatch, capsys)


def test_one_recording_gives_its_text_and_with_timestamps_a_line_a_segment(run):
    assert run("a.wav") == (0, "I am a.wav\n", "")
    assert run("a.wav", "--timestamps")[1] == "0.00\t1.50\tI am\n1.50\t62.00\tI am a.wav\n"


def test_several_recordings_give_lines_that_begin_with_their_names(run):
    assert run("a.wav", "b/c.wav")[1] == "a.wav\tI am a.wav\nb/c.wav\tI am b/c.wav\n"
    assert run("a.wav", "b.wav", "--timestamps")[1].splitlines()[2] == "b.wav\t0.00\t1.50\tI am"


def test_a_directory_stands_for_the_recordings_in_it_and_below_it(run, tmp_path):
    (tmp_path / "talks").mkdir()
    (tmp_path / "talks" / "notes.txt").touch()
    assert run("talks")[::2] == (
        2,
        "regard: there are no recordings in talks: none of its files ends in .wav, .flac, .ogg, .oga, .mp3\n",
    )
    run("talks/b.wav")
    run("talks/a.mp3")
    expected = "talks/a.mp3\tI am talks/a.mp3\ntalks/b.wav\tI am talks/b.wav\n"
    assert run("talks") == (0, expected, "")


def test_a_minus_is_the_bytes_of_stdin(run):
    assert run("-", stdin=b"RIFF\0")[1] == "5 bytes\n"
    assert run("-", "-", stdin=b"RIFF\0")[::2] == (2, "regard: stdin holds one recording: give - once\n")


def test_a_list_names_recordings_one_a_line_and_a_minus_in_it_is_a_files_name(run, tmp_path):
    run("a.wav", "b/c.wav")
    (tmp_path / "list").write_text("a.wav\nb/c.wav\n")
    expected = "a.wav\tI am a.wav\nb/c.wav\tI am b/c.wav\n"
    assert run("--file", "list") == (0, expected, "")
    assert run("-f", "-", stdin=b"a.wav\nb/c.wav") == (0, expected, "")
    assert run("-f", "-", stdin=b"a.wav\n-\n")[1].splitlines()[1] == "-\tI am -"
    assert run("-f", "list", "--output", "texts") == (0, "", "")
    assert sorted(path.name for path in (tmp_path / "texts").iterdir()) == ["a.txt", "c.txt"]
    assert run("-f", "-", "-o", "texts", stdin=b"") == (0, "", "")


def test_each_line_of_a_list_that_is_no_file_costs_itself_alone(run, tmp_path):
    run("a.wav", "b.wav")
    (tmp_path / "bad folder").mkdir()
    listed = b"a.wav\n\nbad.wav\nbad folder\nb.wav\n"
    code, out, err = run("-f", "-", stdin=listed)
    assert (code, out) == (1, "a.wav\tI am a.wav\nb.wav\tI am b.wav\n")
    named = "line 2 of the list, which is blank, bad.wav, bad folder"
    assert err.endswith(f"regard: 3 of 5 recordings could not be read: {named}\n")


@pytest.mark.parametrize("how", [["--json"], ["--format", "json"]])
def test_json_is_an_object_a_line_for_each_recording(run, how):
    first, second = run("a.wav", "b.wav", "--timestamps", *how)[1].splitlines()
    assert json.loads(second)["file"] == "b.wav"
    assert json.loads(first) == {
        "file": "a.wav",
        "text": "I am a.wav",
        "language": "de",
        "seconds": 124.0,
        "segments": [{"start": 0.0, "end": 1.5, "text": "I am"}, {"start": 1.5, "end": 62.0, "text": "I am a.wav"}],
        "cut": [],
        "doubtful": [],
    }


def test_subtitles_ask_for_timestamps_by_themselves(run):
    assert run("a.wav", "--format", "srt")[1].startswith("1\n00:00:00,000 --> 00:00:01,500\nI am\n\n2\n")
    assert run("a.wav", "--format", "vtt")[1].startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nI am\n")
    assert run.task.settings["timestamps"]


def test_the_options_reach_the_task(run):
    run("a.wav", "--alpha", "0.7", "--beta", "-1")
    assert (run.task.settings["alpha"], run.task.settings["beta"]) == (0.7, -1.0)
    run("a.wav", "--language", "de", "--task", "translate", "--num-beams", "5", "--independent", "--batch-size", "2")
    expected = {"language": "de", "task": "translate", "num_beams": 5, "condition_on_prev_tokens": False}
    absent = dict.fromkeys(("max_new_tokens", "alpha", "beta"))
    assert run.task.settings == {**expected, **absent, "batch_size": 2, "timestamps": False}


def test_each_recording_has_a_file_in_the_directory(run, tmp_path):
    out = tmp_path / "new" / "subtitles"
    assert run("x/a.wav", "b.wav", "-", "--format", "srt", "--output", str(out), stdin=b"x") == (0, "", "")
    assert sorted(path.name for path in out.iterdir()) == ["a.srt", "b.srt", "stdin.srt"]
    assert "I am x/a.wav" in (out / "a.srt").read_text()
    assert run("x/a.wav", "y/a.mp3", "b.wav", "-o", str(tmp_path / "both"))[0] == 0
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == ["a.mp3.txt", "a.wav.txt", "b.txt"]
    code, _, err = run("x/a.wav", "y/a.wav", "-o", str(out))
    assert (code, err.split(": give ")[0].split("/")[-1]) == (2, "a.wav.txt")
    assert err.startswith("regard: 2 recordings would be written to ")
    (tmp_path / "file").write_text("")
    assert run("a.wav", "-o", str(tmp_path / "file"))[2].endswith("file is a file\n")


def test_a_recording_that_cannot_be_read_costs_itself_alone_and_is_named_at_the_end(run, tmp_path):
    code, out, err = run("bad.wav", "a.wav", "bad.mp3", "b.wav")
    assert (code, out) == (1, "a.wav\tI am a.wav\nb.wav\tI am b.wav\n")
    assert err.splitlines()[0] == "regard: cannot read bad.wav: it is damaged"
    assert err.splitlines()[-1] == "regard: 2 of 4 recordings could not be read: bad.wav, bad.mp3"
    assert run("bad1.wav", "a.wav", "--output", str(tmp_path / "out"))[0] == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.txt"]
    assert "I am a.wav" in (tmp_path / "out" / "a.txt").read_text()
    assert run("bad.wav") == (1, "", "regard: cannot read bad.wav: it is damaged\n")


def test_recordings_that_are_all_missing_are_all_named_and_no_model_is_loaded(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "list").write_text("one.wav\nfolder\n\n")
    assert main(["transcribe", "nowhere", "one.wav", "two.wav"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "regard: cannot read one.wav: it is no file",
        "regard: cannot read two.wav: it is no file",
        "regard: 2 of 2 recordings could not be read: one.wav, two.wav",
    ]
    assert main(["transcribe", "nowhere", "--file", "list"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "regard: cannot read one.wav: it is no file",
        "regard: cannot read folder: it is a directory: name the files in it",
        "regard: cannot read line 3 of the list, which is blank: it is no file",
        "regard: 3 of 3 recordings could not be read: one.wav, folder, line 3 of the list, which is blank",
    ]


def test_a_truncated_file_among_dozens_costs_itself_alone(tmp_path, capsys):
    model, tape = whispers.write(tmp_path / "model", 8), tmp_path / "tape"
    tensors = whispers.weights(8)
    tensors["model.decoder.embed_tokens.weight"] *= 9  # so sure of itself that no text is tried again
    save_file(tensors, model / "model.safetensors")
    tape.mkdir()
    for number in range(40):
        soundfile.write(tape / f"{number:02}.wav", whispers.sound(number, 0.5), whispers.RATE)
    broken = tape / "20.wav"
    broken.write_bytes(broken.read_bytes()[:1000])
    code = main(["transcribe", str(model), str(tape), "--json", "--language", "en", "--max-new-tokens", "4"])
    out, err = capsys.readouterr()
    found = [json.loads(line) for line in out.splitlines()]
    assert [Path(each["file"]).name for each in found] == [f"{number:02}.wav" for number in range(40) if number != 20]
    assert len({each["text"] for each in found}) > 1
    told = [line for line in err.splitlines() if str(broken) in line]
    assert told[0].startswith(f"regard: {broken} is cut: ")
    assert (code, told[1:]) == (1, [f"regard: 1 of 40 recordings could not be read: {broken}"])
    assert err.endswith(f"{told[1]}\n")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["a.wav", "--format", "doc"], "--format must be one of txt, srt, vtt, json, but is 'doc'"),
        (["a.wav", "--format", "srt", "--json"], "give either --json or --format srt, and not both"),
        (["a.wav", "--file", "list"], "give either recordings or --file, and not both"),
        ([], "there is nothing to transcribe: give recordings, directories of them, - or --file"),
        (["--file", "nowhere"], "cannot read nowhere: No such file or directory"),
        (["a.wav", "b.wav", "--format", "srt"], "srt is a file for each recording: name a directory for them"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(run, arguments, complaint):
    code, _, err = run(*arguments)
    assert code == 2
    assert err.startswith(f"regard: {complaint}")


def test_what_was_cut_and_what_is_a_guess_is_told(run):
    err = run("cut.wav")[2]
    assert err == "regard: cut.wav: the text came to max_new_tokens before its end in 1 of its windows (from 30 s)\n"
    assert "odd.wav: the text repeats itself or is unlikely at every temperature" in run("odd.wav")[2]


def test_a_terminal_shows_how_far_it_is(run, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, out, err = run("x/a.wav")
    assert out == "I am x/a.wav\n"
    assert err == "\r\x1b[Ka.wav: 00:01:02 of 00:02:04\r\x1b[K"


def test_a_path_without_a_model_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["transcribe", "nowhere", "a.wav"]) == 1
    assert capsys.readouterr().err == "regard: cannot read a.wav: it is no file\n"
    Path("a.wav").touch()
    assert main(["transcribe", "nowhere", "a.wav"]) == 2
    assert capsys.readouterr().err == "regard: no model at nowhere: the directory does not exist\n"
