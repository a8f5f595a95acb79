"""Many lines through processes: in order, streamed, resumable, and no line lost with a process that dies."""

import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from regard.commands.bulk import Bulk, answer_lines
from regard.commands.bulk_blocks import BLOCK, LARGEST_BLOCK, Answer, in_blocks
from regard.commands.text import open_lines
from regard.errors import InputError, RegardError


@dataclass(frozen=True)
class Shout:
    """A task without a model. deadly: the process dies of this line; `once` is a file that says that one has."""

    deadly: str | None = field(default=None, compare=False)
    once: str | None = field(default=None, compare=False)
    voice: str = "loud"
    model: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    what: ClassVar[str] = "shouts"

    def load(self) -> str:
        return "!"

    def answer(self, task: str, lines: list[str], first: int) -> Answer:
        if self.deadly in lines and not (self.once and Path(self.once).exists()):
            if self.once:
                Path(self.once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if "bad" in lines:
            raise InputError("bad is bad")
        if "slow" in lines:
            time.sleep(0.5)
        numbered = enumerate(lines, first)
        return Answer("".join(f"{number}\t{line.upper()}{task}\n" for number, line in numbered), (), lines.count("cut"))


LINES = [f"line {number}" for number in range(3 * BLOCK + 7)]
SHOUTED = "".join(f"{number}\t{line.upper()}!\n" for number, line in enumerate(LINES))


def test_the_answers_come_in_the_order_of_the_lines_however_long_a_block_takes(tmp_path: Path) -> None:
    lines = ["slow", *LINES[1:]]
    answer_lines(Shout(), lines, Bulk(2, tmp_path / "out"))
    assert (tmp_path / "out").read_text("utf-8") == SHOUTED.replace("LINE 0!", "SLOW!")
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_blocks_grow_with_the_lines_that_were_given_out_and_no_line_is_left_out(workers: int) -> None:
    lines = [str(number) for number in range(20_000)]
    blocks = list(in_blocks(iter(lines), 100, workers))
    assert [line for block in blocks for line in block.lines] == lines
    before = 0
    for block in blocks[:-1]:
        assert block.first == 100 + before
        assert BLOCK <= len(block.lines) <= max(BLOCK, before / workers / 4)
        before += len(block.lines)
    assert len(blocks[0].lines) == BLOCK
    assert max(len(block.lines) for block in blocks) == LARGEST_BLOCK


def test_a_process_that_dies_takes_no_line_with_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    answer_lines(Shout("line 70", str(tmp_path / "died")), LINES, Bulk(2, tmp_path / "out"))
    assert (tmp_path / "out").read_text("utf-8") == SHOUTED
    assert "regard: WARNING: a process died; its lines are given to another, from lines " in capfd.readouterr().err


def test_a_block_that_kills_every_process_is_named_and_what_was_before_it_is_kept(tmp_path: Path) -> None:
    with pytest.raises(RegardError, match=r"3 times in a row a process died, .* with lines 65 to 128 unanswered"):
        answer_lines(Shout("line 70"), LINES, Bulk(1, tmp_path / "out"))
    assert (tmp_path / "out").read_text("utf-8") == "".join(SHOUTED.splitlines(keepends=True)[:BLOCK])
    answer_lines(Shout(), LINES, Bulk(1, tmp_path / "out", resume=True))
    assert (tmp_path / "out").read_text("utf-8") == SHOUTED


def half_done(directory: Path, model: str | None = None) -> Path:
    lines = [*LINES[:BLOCK], "bad", *LINES[BLOCK + 1 :]]
    with pytest.raises(InputError, match="in lines 65 to 128 of the input: bad is bad"):
        answer_lines(Shout(model=model), lines, Bulk(1, directory / "out"))
    return directory / "out"


def test_what_a_kill_cut_short_beyond_the_journal_is_written_again(tmp_path: Path) -> None:
    output = half_done(tmp_path)
    with output.open("a", encoding="utf-8") as file:
        file.write("64\tLI")
    journal = output.with_name("out.journal")
    journal.write_text(journal.read_text("utf-8") + '{"lines": 12', "utf-8")
    answer_lines(Shout(), LINES, Bulk(2, output, resume=True))
    assert output.read_text("utf-8") == SHOUTED
    assert not journal.exists()


def test_a_kill_before_the_first_block_is_in_the_journal_is_gone_on_from_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="in lines 1 to 64 of the input: bad is bad"):
        answer_lines(Shout(), ["bad", *LINES[1:]], Bulk(1, tmp_path / "out"))
    (tmp_path / "out").write_text("0\tLI", "utf-8")
    answer_lines(Shout(), LINES[:3], Bulk(1, tmp_path / "out", resume=True))
    assert (tmp_path / "out").read_text("utf-8") == "".join(SHOUTED.splitlines(keepends=True)[:3])


def test_nothing_half_done_is_overwritten_or_gone_on_with_by_other_lines(tmp_path: Path) -> None:
    output = half_done(tmp_path)
    with pytest.raises(InputError, match=r"is half done \(64 lines\): add --resume, or remove .*out.journal"):
        answer_lines(Shout(), LINES, Bulk(1, output))
    for other in (["other", *LINES[1:]], LINES[:3]):
        with pytest.raises(InputError, match="its first 64 lines differ"):
            answer_lines(Shout(), other, Bulk(1, output, resume=True))
    (tmp_path / "whole").write_text("done\n", "utf-8")
    with pytest.raises(InputError, match="has no journal to go on by"):
        answer_lines(Shout(), LINES, Bulk(1, tmp_path / "whole", resume=True))
    assert (tmp_path / "whole").read_text("utf-8") == "done\n"


def test_a_file_is_gone_on_with_by_what_it_was_begun_with(tmp_path: Path) -> None:
    output = half_done(tmp_path)
    whole = output.read_bytes()
    for other, complaint in (
        (Shout(voice="low"), "was begun with voice = loud, but is to be gone on with by low: give what it was begun"),
        (Shout(settings={"num_beams": 5}), "was begun with num_beams = its default, but is to be gone on with by 5"),
    ):
        with pytest.raises(InputError, match=complaint):
            answer_lines(other, LINES, Bulk(1, output, resume=True))
    assert output.read_bytes() == whole
    answer_lines(Shout(settings={"batch_tokens": 7}), LINES, Bulk(1, output, resume=True))
    assert output.read_text("utf-8") == SHOUTED


def test_a_model_that_was_trained_on_meanwhile_is_another_one(tmp_path: Path) -> None:
    place = tmp_path / "model"
    place.mkdir()
    (place / "config.json").write_text("{}")
    weights = bytearray(300_000)
    (place / "model.safetensors").write_bytes(weights)
    output = half_done(tmp_path, model=str(place))
    weights[-7] = 1
    (place / "model.safetensors").write_bytes(weights)
    with pytest.raises(InputError, match=r"begun with the weights of model = [0-9a-f]{16}, but is to be gone on"):
        answer_lines(Shout(model=str(place)), LINES, Bulk(1, output, resume=True))
    weights[-7] = 0
    (place / "model.safetensors").write_bytes(weights)
    answer_lines(Shout(model=str(place)), LINES, Bulk(1, output, resume=True))
    assert output.read_text("utf-8") == SHOUTED


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (Bulk(0), "--workers must be at least 1, but is 0"),
        (Bulk(1, None, True), "--resume goes on in a file: name it by --output"),
        (Bulk(1, Path("/nowhere/out")), "cannot write /nowhere/out: No such file or directory"),
    ],
)
def test_what_cannot_be_asked_of_many_lines_is_refused(asked: Bulk, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        answer_lines(Shout(), LINES, asked)


def test_answers_are_streamed_while_lines_still_come(tmp_path: Path) -> None:
    released = threading.Event()

    def lines() -> Any:
        yield from LINES[:BLOCK]
        for number in range(BLOCK, 6 * BLOCK):
            if number == 5 * BLOCK:
                assert released.wait(60)
            yield f"line {number}"

    work = threading.Thread(target=answer_lines, args=(Shout(), lines(), Bulk(1, tmp_path / "out")))
    work.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "out").exists() or not (tmp_path / "out").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    released.set()
    work.join()
    assert (tmp_path / "out").read_text("utf-8").count("\n") == 6 * BLOCK


def test_the_file_that_is_read_is_not_written_over(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text("\n".join(LINES) + "\n", "utf-8")
    (tmp_path / "link").symlink_to(lines)
    for output in (lines, tmp_path / "link"):
        with pytest.raises(InputError, match="is the file that is read, and would lose its lines"):
            answer_lines(Shout(), open_lines(lines), Bulk(1, output), lines)
    assert lines.read_text("utf-8").splitlines() == LINES


def test_what_an_earlier_command_wrote_stays_until_there_is_an_answer(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.write_text("precious\n", "utf-8")
    with pytest.raises(InputError, match="in lines 1 to 64 of the input: bad is bad"):
        answer_lines(Shout(), ["bad", *LINES[1:]], Bulk(1, output))
    assert output.read_text("utf-8") == "precious\n"
    assert list(tmp_path.iterdir()) == [output]
    answer_lines(Shout(), LINES[:1], Bulk(1, output))
    assert output.read_text("utf-8") == "0\tLINE 0!\n"
    output.write_text("precious\n", "utf-8")
    answer_lines(Shout(), [], Bulk(1, output))
    assert output.read_text("utf-8") == ""


@pytest.mark.parametrize("found", [b"[]\n", b"5\n", b'{"a": 1}\n', b'{"lines": "x", "bytes": 1}\n', b"\xff\n"])
def test_a_journal_that_says_nothing_is_one_of_no_lines(tmp_path: Path, found: bytes) -> None:
    (tmp_path / "out.journal").write_bytes(found)
    with pytest.raises(InputError, match=r"is half done \(0 lines\)"):
        answer_lines(Shout(), LINES[:1], Bulk(1, tmp_path / "out"))
    (tmp_path / "out").touch()
    answer_lines(Shout(), LINES[:1], Bulk(1, tmp_path / "out", resume=True))
    assert (tmp_path / "out").read_text("utf-8") == "0\tLINE 0!\n"


def test_a_file_that_is_shorter_than_its_journal_says_is_not_filled_up(tmp_path: Path) -> None:
    output = half_done(tmp_path)
    output.write_text("0\tLINE 0!\n", "utf-8")
    with pytest.raises(InputError, match=r"has 10 bytes, but .*out.journal knows of \d+: put it back, or remove both"):
        answer_lines(Shout(), LINES, Bulk(1, output, resume=True))


def test_what_is_no_file_is_not_written(tmp_path: Path) -> None:
    for output in (Path(os.devnull), tmp_path):
        with pytest.raises(InputError, match="it is no file; without --output all goes to stdout"):
            answer_lines(Shout(), LINES, Bulk(1, output))


def test_the_lines_before_one_that_cannot_be_read_are_answered(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_bytes("".join(line + "\n" for line in LINES[:70]).encode() + b"\xff\n")
    with pytest.raises(InputError, match="line 71: not UTF-8"):
        answer_lines(Shout(), open_lines(lines), Bulk(2, tmp_path / "out"))
    assert (tmp_path / "out").read_text("utf-8") == "".join(SHOUTED.splitlines(keepends=True)[:70])
