import gzip
import io
import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.batch import Example
from regard.config import CorpusConfig
from regard.data.sources import MAX_LINE_BYTES, DropReport, Place, copies_of, read_corpora, read_located
from regard.errors import DataError

PAIRS = [("Hello", "Hallo"), ("你好 🙂", "שלום"), ("two words", "zwei Wörter")]


def write(path, content, zipped=False):
    path.write_bytes(gzip.compress(content) if zipped else content)
    return str(path)


def read(*corpora):
    report = DropReport()
    return list(read_corpora(corpora, report)), report


def corpus_of(kind, directory, pairs=PAIRS, end=b"\n", zipped=False, mark=b""):
    """The pairs in files of a kind, as bytes with the given line ends."""

    def lines(texts):
        return mark + end.join(text.encode() for text in texts) + end

    if kind == "aligned":
        source = write(directory / "a.src", lines(source for source, _ in pairs), zipped)
        return CorpusConfig(source=source, target=write(directory / "a.tgt", lines(t for _, t in pairs), zipped))
    if kind == "tsv":
        return CorpusConfig(tsv=write(directory / "a.tsv", lines("\t".join(pair) for pair in pairs), zipped))
    records = (json.dumps({"source": source, "target": target}) for source, target in pairs)
    return CorpusConfig(jsonl=write(directory / "a.jsonl", lines(records), zipped))


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kind", ["aligned", "tsv", "jsonl"])
def test_every_kind_of_file_gives_the_same_examples(kind, zipped, end, mark, tmp_path):
    examples, report = read(corpus_of(kind, tmp_path, end=end, zipped=zipped, mark=mark))
    assert examples == [Example(source, target) for source, target in PAIRS]
    assert report.total == 0


def test_a_last_line_without_its_end_is_read(tmp_path):
    examples, _ = read(CorpusConfig(tsv=write(tmp_path / "a.tsv", b"one\teins\ntwo\tzwei")))
    assert [example.target for example in examples] == ["eins", "zwei"]


def test_only_line_feeds_end_a_line(tmp_path):
    source = write(tmp_path / "a", "one\u2028still one\x85\x0b\x0c\rhere\ntwo\n".encode())
    target = write(tmp_path / "b", b"eins\nzwei\n")
    assert [example.target for example in read(CorpusConfig(source=source, target=target))[0]] == ["eins", "zwei"]


def test_globs_are_sorted_and_matched_in_pairs(tmp_path):
    for name in ("b", "a", "c"):
        write(tmp_path / f"{name}.en", f"source {name}\n".encode())
        write(tmp_path / f"{name}.de", f"target {name}\n".encode(), zipped=name == "c")
    examples, _ = read(CorpusConfig(source=f"{tmp_path}/*.en", target=f"{tmp_path}/*.de"))
    assert examples == [Example(f"source {name}", f"target {name}") for name in "abc"]
    (tmp_path / "c.de").unlink()
    with pytest.raises(DataError, match=r"\*\.en matches 3 files, but .*\*\.de matches 2"):
        read(CorpusConfig(source=f"{tmp_path}/*.en", target=f"{tmp_path}/*.de"))


def test_a_name_with_brackets_is_a_file_before_it_is_a_glob(tmp_path):
    name = write(tmp_path / "a[1].tsv", b"one\teins\n")
    assert read(CorpusConfig(tsv=name))[0] == [Example("one", "eins")]


@pytest.mark.parametrize(("source", "target"), [(5, 3), (3, 5), (0, 2), (2, 0)])
def test_unequal_counts_name_both_files_and_both_counts(source, target, tmp_path):
    files = write(tmp_path / "a.en", b"line\n" * source), write(tmp_path / "a.de", b"Zeile\n" * target)
    with pytest.raises(DataError, match=rf"a\.en has {source} lines, but .*a\.de has {target}"):
        read(CorpusConfig(source=files[0], target=files[1]))


def test_each_bad_line_is_counted_by_reason_with_its_place(tmp_path):
    long = b"x" * (MAX_LINE_BYTES + 5)
    lines = [b"good\tgut", b"bad \xff\tx", b" \tempty", b"a\tb\tc", b"no tab", long + b"\tlang", b"last\tletzte"]
    file = write(tmp_path / "a.tsv", b"\n".join(lines))
    examples, report = read(CorpusConfig(tsv=file))
    assert [example.source for example in examples] == ["good", "last"]
    assert report.places == {
        "invalid UTF-8": [f"{file}:2"],
        "empty side": [f"{file}:3"],
        "wrong number of columns, a TSV has 2 or 4": [f"{file}:4", f"{file}:5"],
        f"line longer than {MAX_LINE_BYTES:,} bytes": [f"{file}:6"],
    }


def test_each_bad_json_line_is_counted_by_reason(tmp_path):
    lines = ["{", "[1]", '{"source": "a"}', '{"source": "a", "target": 1}', '{"source": "\\ud800", "target": "b"}']
    lines += ["[" * 100_000, '{"source": "a", "target": "b", "target_lang": 7}', '{"source": "a", "target": "b"}']
    lines += ['{"source": "a", "target": "b", "group": "g"}', '{"source": "a", "target": "b", "group": "all"}']
    examples, report = read(CorpusConfig(jsonl=write(tmp_path / "a", "\n".join(lines).encode())))
    assert examples == [Example("a", "b"), Example("a", "b", group="g")]
    assert report.counts == {
        "invalid JSON": 2,
        "no JSON object": 1,
        'no texts "source" and "target"': 2,
        "invalid UTF-8": 1,
        '"source_lang" or "target_lang" is no text': 1,
        '"group" is "all", the name of all groups together': 1,
    }


def test_a_bad_side_of_aligned_files_drops_the_pair_and_keeps_the_alignment(tmp_path):
    source = write(tmp_path / "a", b"one\n\xff\n" + b"y" * MAX_LINE_BYTES + b"\nfour\n\nsix\n")
    target = write(tmp_path / "b", b"eins\nzwei\ndrei\nvier\nfuenf\n\xfe\n")
    examples, report = read(CorpusConfig(source=source, target=target))
    assert examples == [Example("one", "eins"), Example("four", "vier")]
    assert report.total == 4


@given(lines=st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b""))))
@settings(deadline=None)
def test_every_line_is_read_or_counted(lines, tmp_path_factory):
    file = write(tmp_path_factory.mktemp("any") / "a.tsv", b"".join(line + b"\n" for line in [b"a\tb", *lines]))
    examples, report = read(CorpusConfig(tsv=file))
    assert len(examples) + report.total == len(lines) + 1


def test_languages_come_from_the_line_or_else_from_the_corpus(tmp_path):
    tsv = write(tmp_path / "a.tsv", b"one\teins\nun\tuno\tfr\tit\n")
    examples, _ = read(CorpusConfig(tsv=tsv, source_lang="en", target_lang="de"))
    assert examples == [Example("one", "eins", "en", "de"), Example("un", "uno", "fr", "it")]
    record = b'{"source": "un", "target": "uno", "target_lang": "it"}\n'
    jsonl = CorpusConfig(jsonl=write(tmp_path / "a.jsonl", record), source_lang="fr")
    assert read(jsonl)[0] == [Example("un", "uno", "fr", "it")]


def test_a_report_shows_counts_and_the_first_places():
    report = DropReport()
    for line in range(1, 1235):
        report.add("empty side", Place("a.tsv", line))
    other = DropReport()
    other.add("invalid UTF-8", Place("b.tsv", 7))
    other.add("empty side", Place("b.tsv", 8))
    report.merge(other)
    assert report.text() == (
        "dropped 1,235: empty side (a.tsv:1, a.tsv:2, a.tsv:3, ...)\ndropped 1: invalid UTF-8 (b.tsv:7)"
    )


@given(weight=st.floats(0.01, 5))
def test_a_weight_repeats_every_pair_and_a_fixed_part_once_more(weight):
    examples = [Example(f"source {n}", "target") for n in range(400)]
    copies = [copies_of(example, weight) for example in examples]
    assert copies == [copies_of(example, weight) for example in examples]
    assert set(copies) <= {int(weight), int(weight) + 1}
    assert abs(sum(copies) / 400 - weight) < 0.12


def test_a_larger_fraction_holds_the_smaller_one():
    examples = [Example(f"source {n}", "target") for n in range(200)]
    chosen = {weight: {e for e in examples if copies_of(e, weight)} for weight in (0.3, 0.6)}
    assert chosen[0.3] < chosen[0.6]


def test_several_corpora_are_read_in_order_with_their_weights(tmp_path):
    first = CorpusConfig(tsv=write(tmp_path / "a", b"one\teins\n"), weight=2)
    second = CorpusConfig(tsv=write(tmp_path / "b", b"two\tzwei\n"))
    located = list(read_located((first, second), DropReport()))
    assert [(entry.example.source, entry.copies, str(entry.place)) for entry in located] == [
        ("one", 2, f"{tmp_path}/a:1"),
        ("two", 1, f"{tmp_path}/b:1"),
    ]


@pytest.mark.parametrize("zipped", [False, True])
def test_stdin_is_read_plain_or_zipped(zipped, monkeypatch):
    content = gzip.compress(b"one\teins\nbad\n") if zipped else b"one\teins\nbad\n"
    stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)))
    monkeypatch.setattr(sys, "stdin", stdin)
    examples, report = read(CorpusConfig(tsv="-"))
    assert examples == [Example("one", "eins")]
    assert "<stdin>:2" in report.text()
    assert not stdin.closed


def test_both_sides_from_stdin_are_refused():
    with pytest.raises(DataError, match="cannot both be stdin"):
        read(CorpusConfig(source="-", target="-"))


def test_an_unreadable_file_is_named(tmp_path):
    damaged = gzip.compress(b"one\teins\n" * 1000)
    cases = {
        "missing.tsv": None,
        "cut.gz": damaged[:-20],
        "flipped.gz": damaged[:30] + bytes([damaged[30] ^ 255]) + damaged[31:],
        "utf16.tsv": "one\teins\n".encode("utf-16"),
    }
    for name, content in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            read(CorpusConfig(tsv=str(tmp_path / name)))
    with pytest.raises(DataError, match="is a directory"):
        read(CorpusConfig(tsv=str(tmp_path)))
