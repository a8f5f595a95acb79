"""The verbs over a checkpoint that reads images, with a task in place of a loaded one."""

import io
import json
import shutil
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import regard.commands.caption
import regard.commands.classify_image
import regard.commands.similarity  # noqa: F401
from regard.cli import main
from regard.errors import InputError
from regard.features.rgb import FORMATS
from regard.tasks.caption import Caption
from regard.tasks.classify import LabelScore, Ranking
from regard.tasks.embed import Embedding
from regard.tasks.hypotheses import Hypothesis
from regard.tasks.similarity import Match


class Scripted:
    """Answers by the path of an image, or how many bytes it is, in batches; one that begins with "bad" cannot be read.
    Keeps its settings."""

    def __init__(self, answer):
        self.answer = answer

    def stream(self, images, *arguments, batch_size, refused, **settings):
        self.settings, self.reads = {**settings, "batch_size": batch_size}, []
        return self._stream(self._readable(images, refused), batch_size, arguments)

    def _stream(self, read, batch_size, arguments):
        refusal = None
        while refusal is None:
            batch = []
            try:
                for image in islice(read, batch_size):
                    batch.append(image)
            except InputError as error:
                refusal = error
            self.reads.append(len(batch))
            yield from (self.answer(image, *arguments, **self.settings) for image in batch)
            if len(batch) < batch_size and refusal is None:
                return
        raise refusal

    @staticmethod
    def _readable(images, refused):
        for number, image in enumerate(images, 1):
            image = f"{len(image)} bytes" if isinstance(image, bytes) else image
            if not image.startswith("bad") and "blank" not in image:
                yield image
            elif refused is None:
                raise InputError(f"cannot read {image}: it is damaged")
            else:
                refused(number, InputError(f"cannot read {image}: it is damaged"))

    def embed_images(self, images, *, batch_size, refused):
        return (np.array([len(image), 0.5], np.float32) for image in self._readable(images, refused))

    def embed_texts(self, texts):
        return [Embedding(np.array([len(text), 0.25], np.float32), len(text), max(len(text) - 5, 0)) for text in texts]


def captioned(image, *, batch_size, return_scores, num_return_sequences=1, **options):
    def hypothesis(rank):
        return {"text": f"a {image}{'!' * rank}", "score": float(-rank) if return_scores else None}

    others = [Hypothesis(**hypothesis(rank)) for rank in range(1, num_return_sequences)]
    return Caption(**hypothesis(0), finished=not image.startswith("long"), alternatives=tuple(others))


def classed(image, *, batch_size, top_k):
    return Ranking((LabelScore(f"{image}\tor so", 0.75), LabelScore("rest", 0.25))[:top_k])


def matched(image, texts, *, batch_size):
    logits = [float(len(image) - len(text)) for text in texts]
    shares = np.exp(logits) / np.exp(logits).sum()
    return Match(tuple(texts), tuple(logits), tuple(shares.tolist()), tuple(max(len(text) - 5, 0) for text in texts))


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


@pytest.fixture
def run(monkeypatch, capsys):
    tasks = {"caption": Scripted(captioned), "classify-image": Scripted(classed), "similarity": Scripted(matched)}

    def command(verb, *arguments, stdin=b"", stream=io.TextIOWrapper):
        monkeypatch.setattr(sys, "stdin", stream(io.BufferedReader(io.BytesIO(stdin))))
        module = f"regard.commands.{verb.replace('-', '_')}"
        monkeypatch.setattr(f"{module}.load_task", lambda model, task: tasks[task])
        return main([verb, *arguments]), *capsys.readouterr()

    command.tasks = tasks
    return command


def test_caption_prints_a_line_an_image_from_arguments_a_file_or_stdin(run, tmp_path):
    (tmp_path / "list").write_text("x.png\ny.png\n")
    ways = (
        (["x.png", "y.png"], b""),
        (["-f", str(tmp_path / "list")], b""),
        (["-"], b"x.png\ny.png"),
        ([], b"x.png\ny.png\n"),
    )
    for arguments, stdin in ways:
        assert run("caption", "m", *arguments, stdin=stdin) == (0, "a x.png\na y.png\n", "")
    assert run("caption", "m", "x.png", "--names")[1] == "x.png\ta x.png\n"


def picture(form, size=(30, 20)):
    """The bytes of a file."""
    content = io.BytesIO()
    Image.effect_noise(size, 99).convert("RGB").save(content, form)
    return content.getvalue()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("asked", [["-"], [], ["--file", "-"]])
def test_stdin_that_begins_as_an_image_does_is_one_image(run, form, asked):
    content = picture(form)
    assert run("caption", "m", *asked, "--names", stdin=content) == (0, f"-\ta {len(content)} bytes\n", "")
    record = json.loads(run("classify-image", "m", *asked, "--json", stdin=content)[1])
    assert (record["image"], record["scores"][0]["label"]) == ("-", f"{len(content)} bytes\tor so")


def test_a_line_feed_within_an_images_first_bytes_ends_no_line(run):
    """The width of a GIF, the length of a BMP and of a WEBP."""
    for form, place in (("GIF", 6), ("BMP", 2), ("WEBP", 4)):
        content = bytearray(picture(form))
        content[place] = ord("\n")
        assert run("caption", "m", "-", stdin=bytes(content))[1] == f"a {len(content)} bytes\n"


def test_a_list_on_stdin_is_one_whatever_its_first_path_begins_with(run):
    names = ["BMW.png", "RIFF.png", "II.png", "GIF.gif", "MM*.png", "-", "\x89.png"]
    for first in range(len(names)):
        ordered = [*names[first:], *names[:first]]
        out = run("caption", "m", "-", stdin="\n".join(ordered).encode())[1]
        assert out.splitlines() == [f"a {name}" for name in ordered]


def test_stdin_that_is_neither_an_image_nor_a_list_is_refused_and_an_empty_one_is_a_list_of_none(run):
    for content in (b"a.png\0b.png\0", b"\0\0\0\x18ftypheic\n"):
        code, out, err = run("caption", "m", "-", stdin=content)
        assert (code, out) == (2, "")
        assert err.startswith("regard: stdin is none of PNG, JPEG, WEBP, GIF, BMP, TIFF, and no list of paths, one a l")
    assert run("caption", "m", stdin=b"") == (0, "", "")


def test_an_image_on_stdin_may_stand_among_others_once(run):
    content = picture("PNG")
    out = run("caption", "m", "x.png", "-", "bad", "y.png", "--names", stdin=content)[1]
    assert out == f"x.png\ta x.png\n-\ta {len(content)} bytes\ny.png\ta y.png\n"
    assert run("similarity", "m", "a", "-i", "-", stdin=content)[1].startswith("-\ta\t1.0000\t")
    assert run("caption", "m", "-", "-", stdin=content)[::2] == (2, "regard: stdin holds one image: give - once\n")


@pytest.fixture(scope="module")
def seer(tmp_path_factory):
    """A directory of a tiny random ViT, which reads 12 x 12 pixels."""
    directory = tmp_path_factory.mktemp("seer") / "vit"
    shutil.copytree(Path(__file__).parent / "parity" / "cases" / "vit-image-class", directory)
    (directory / "preprocessor_config.json").write_text('{"size": 12}')
    return directory


def test_a_truncated_file_among_a_thousand_costs_itself_alone(seer, tmp_path, capsys):
    album = tmp_path / "album"
    album.mkdir()
    shades = np.random.default_rng(0).integers(0, 256, (1000, 8, 8, 3), np.uint8)
    for number, pixels in enumerate(shades):
        Image.fromarray(pixels).save(album / f"{number:04}.png")
    broken = album / "0500.png"
    broken.write_bytes(broken.read_bytes()[:60])
    code = main(["classify-image", str(seer), str(album), "--names", "--batch-size", "64"])
    out, err = capsys.readouterr()
    found = [line.split("\t") for line in out.splitlines()]
    assert [Path(path).name for path, *_ in found] == [f"{number:04}.png" for number in range(1000) if number != 500]
    assert len({label for _, label, _ in found}) > 1
    first, last = err.splitlines()
    assert first.startswith(f"regard: cannot read {broken}: ")
    assert (code, last) == (1, f"regard: 1 of 1,000 images could not be read: {broken}")


def test_an_image_on_stdin_has_the_class_of_its_file_and_a_truncated_one_is_one_line(
    seer, tmp_path, capsys, monkeypatch
):
    content = picture("PNG")
    (tmp_path / "x.png").write_bytes(content)
    assert main(["classify-image", str(seer), str(tmp_path / "x.png")]) == 0
    expected = capsys.readouterr().out
    for sent, code in ((content, 0), (content[:60], 1)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(sent))))
        assert main(["classify-image", str(seer), "-"]) == code
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ((expected, 0) if code == 0 else ("", 1))


def test_a_directory_stands_for_the_images_in_it_and_below_it(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("album/b.PNG", "album/2/a.jpg", "album/notes.txt", "album/.thumbs/b.png", "none/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "album" / "lost.png").symlink_to("nowhere.png")  # is read as any other, and so is named as missing
    images = ["album/2/a.jpg", "album/b.PNG", "album/lost.png"]
    assert run("caption", "m", "album", "x.png")[1].splitlines() == [f"a {image}" for image in (*images, "x.png")]
    assert run("caption", "m", "n" * 300)[1] == f"a {'n' * 300}\n"  # which no file system looks up
    out = run("classify-image", "m", "album/", "--names")[1]
    assert [line.split("\t")[0] for line in out.splitlines()] == images
    out = run("similarity", "m", "a cat", "--image", "album")[1]
    assert [line.split("\t")[0] for line in out.splitlines()] == images
    code, out, err = run("caption", "m", "none", "x.png")
    assert (code, out) == (2, "")
    assert err.startswith("regard: there are no images in none: none of its files ends in .png, ")


def test_caption_passes_its_options_on_and_ranks_with_scores(run):
    out = run("caption", "m", "x.png", "y.png", "--n-best", "2", "--num-beams", "3", "--batch-size", "5")[1]
    assert out == "1\t0.0000\ta x.png\n1\t-1.0000\ta x.png!\n2\t0.0000\ta y.png\n2\t-1.0000\ta y.png!\n"
    asked = {"num_beams": 3, "num_return_sequences": 2, "return_scores": True, "batch_size": 5}
    assert run.tasks["caption"].settings == asked
    assert run("caption", "m", "x.png", "--n-best", "1", "--names")[1] == "x.png\t0.0000\ta x.png\n"
    run("caption", "m", "x.png", "--max-new-tokens", "4", "--length-penalty", "0.5")
    asked = {"max_new_tokens": 4, "length_penalty": 0.5, "return_scores": False, "batch_size": 8}
    assert run.tasks["caption"].settings == asked
    run("caption", "m", "x.png", "--language", "de")
    assert run.tasks["caption"].settings == {"language": "de", "return_scores": False, "batch_size": 8}


def test_caption_says_what_is_unfinished_and_json_has_the_path(run):
    code, out, err = run("caption", "m", "long.png", "x.png", "--json", "--n-best", "2")
    first = json.loads(out.splitlines()[0])
    assert (code, first["image"], first["text"], first["finished"]) == (0, "long.png", "a long.png", False)
    assert first["alternatives"][0]["score"] == -1
    assert err == "regard: 1 of 2 captions reached max_new_tokens before their end: raise --max-new-tokens\n"


def test_classify_image_prints_label_and_score(run):
    assert run("classify-image", "m", "x", "y")[1] == "x or so\t0.7500\ny or so\t0.7500\n"
    assert run("classify-image", "m", "x", "--names", "--top-k", "2")[1] == "x\tx or so\t0.7500\trest\t0.2500\n"
    record = json.loads(run("classify-image", "m", "--json", stdin=b"x\n")[1])
    assert record == {"image": "x", "scores": [{"label": "x\tor so", "score": 0.75}]}


def test_similarity_prints_a_line_for_each_image_and_text(run, tmp_path):
    code, out, err = run("similarity", "m", "ab", "longer", "-i", "abc", "--image", "d")
    assert code == 0
    assert [line.split("\t") for line in out.splitlines()] == [
        ["abc", "ab", "0.9820", "1.0000"],
        ["abc", "longer", "0.0180", "-3.0000"],
        ["d", "ab", "0.9820", "-1.0000"],
        ["d", "longer", "0.0180", "-5.0000"],
    ]
    assert err == "regard: text 2 was cut: its last 1 tokens were not read\n"
    (tmp_path / "texts").write_text("ab\nc\n")
    record = json.loads(run("similarity", "m", "--text-file", str(tmp_path / "texts"), "--json", stdin=b"abc\n")[1])
    assert (record["image"], record["texts"], record["logits"]) == ("abc", ["ab", "c"], [1, 2])


def test_similarity_gives_the_vectors_of_images_and_of_texts(run):
    out, err = run("similarity", "m", "longer", "-i", "abc", "--vectors")[1:]
    assert out == "3.000000 0.500000\n6.000000 0.250000\n"
    assert "text 1 was cut" in err
    assert run("similarity", "m", "ab", "--vectors", stdin=b"not read\n")[1] == "2.000000 0.250000\n"
    both = run("similarity", "m", "ab", "--vectors", "--json", "-f", "-", stdin=b"abc\n")[1].splitlines()
    assert json.loads(both[0]) == {"image": "abc", "embedding": [3, 0.5]}
    assert json.loads(both[1]) == {"text": "ab", "embedding": [2, 0.25], "tokens": 2, "cut": 0}


def test_similarity_needs_something_to_compare_with(run):
    assert run("similarity", "m", "-i", "x")[::2] == (
        2,
        "regard: there is nothing to compare images with: give texts, or --text-file\n",
    )
    assert run("similarity", "m", "x", "--text-file", "y")[::2] == (
        2,
        "regard: give either texts or --text-file, and not both\n",
    )


@pytest.mark.parametrize(("verb", "arguments"), [("caption", []), ("classify-image", []), ("similarity", ["a cat"])])
@pytest.mark.parametrize("size", [1, 2, 9])
def test_an_image_that_cannot_be_read_costs_itself_alone_and_is_named_at_the_end(run, verb, arguments, size):
    listed = b"bad1\nx\nbad.png\ny\nbad z\n"
    code, out, err = run(verb, "m", *arguments, "--json", "-f", "-", "--batch-size", str(size), stdin=listed)
    assert (code, [json.loads(line)["image"] for line in out.splitlines()]) == (1, ["x", "y"])
    assert "regard: cannot read bad.png: it is damaged\n" in err
    assert err.endswith("regard: 3 of 5 images could not be read: bad1, bad.png, bad z\n")


def test_the_numbers_and_the_names_of_images_are_those_of_the_list_whatever_is_missing(run):
    out = run("caption", "m", "bad", "x.png", "bad", "y.png", "--n-best", "1")[1]
    assert out == "2\t0.0000\ta x.png\n4\t0.0000\ta y.png\n"
    assert run("caption", "m", "bad", "x.png", "bad", "y.png", "--names")[1] == "x.png\ta x.png\ny.png\ta y.png\n"
    code, out, err = run("similarity", "m", "a", "--vectors", "-i", "bad", "-i", "abc")
    assert (code, out) == (1, "3.000000 0.500000\n1.000000 0.250000\n")
    assert err.endswith("regard: 1 of 2 images could not be read: bad\n")


@pytest.mark.parametrize("verb", ["caption", "classify-image"])
def test_an_image_alone_that_cannot_be_read_is_one_line(run, verb):
    assert run(verb, "m", "bad.png") == (1, "", "regard: cannot read bad.png: it is damaged\n")


@pytest.mark.parametrize("verb", ["caption", "classify-image"])
def test_a_blank_line_and_a_name_that_is_not_utf8_cost_no_other(run, verb):
    code, out, err = run(verb, "m", stdin=b"x\n\ny\n")
    assert (code, len(out.splitlines())) == (1, 2)
    assert "line 2 of the list, which is blank" in err.splitlines()[-1]
    code, out, _ = run(verb, "m", "--names", stdin=b"x\ncaf\xe9\ny\n")
    assert (code, len(out.splitlines())) == (0, 3)
    assert run(verb, "m", "x", "-f", "y")[::2] == (2, "regard: give either images or --file, and not both\n")


def test_typed_paths_are_answered_one_by_one_and_others_in_batches(run):
    run("classify-image", "m", *"abc", "--batch-size", "2")
    assert run.tasks["classify-image"].reads == [2, 1]
    run("classify-image", "m", "--batch-size", "2", stdin=b"a\nb\nc\n", stream=Terminal)
    assert run.tasks["classify-image"].reads == [1, 1, 1, 0]


@pytest.mark.parametrize("verb", ["caption", "classify-image", "similarity"])
def test_a_path_without_a_model_and_a_batch_of_none_are_one_line(capsys, tmp_path, verb, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([verb, "nowhere", "x", *(["-i", "y"] if verb == "similarity" else [])]) == 2
    assert capsys.readouterr().err == "regard: no model at nowhere: the directory does not exist\n"
    assert main([verb, "nowhere", "x", "--batch-size", "0"]) == 2
    assert "batch-size" in capsys.readouterr().err
