import io
import json
import signal
import subprocess
import sys

import pytest

from regard.batch import Example
from regard.config import parse_run
from regard.corpora.corpus import Corpora
from regard.data import sampling
from regard.data.prepare import open_or_prepare, prepare
from regard.data.shards import PreparedData
from regard.errors import CheckpointError, ConfigError, DataError
from regard.features.tokenizer import Tokenizer

SCRIPT = """
import json, os, signal, sys
from regard.config import parse_run
from regard.data.prepare import prepare

writes = 0

def killing(descriptor):
    global writes
    writes += 1
    if writes == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    os.fsync = killing  # called before each file gets its name
    prepare(parse_run(json.loads(sys.argv[1])), sys.argv[2], pairs_per_shard=50)
    assert "tensorflow" not in sys.modules and "keras" not in sys.modules
"""


def run_script(tmp_path, run, directory, kill_at=0):
    """Prepare in a process of its own that is killed in its n-th write (0: never); -> its exit status."""
    (tmp_path / "script.py").write_text(SCRIPT)
    values = run.model_dump_json(exclude_none=True)
    command = [sys.executable, tmp_path / "script.py", values, directory, str(kill_at)]
    return subprocess.run(command, capture_output=True).returncode


def sentence(number, letter):
    return " ".join(
        f"{letter}{chr(97 + number * k % 26)}{chr(97 + number // 26 % 26)}" for k in range(1, number % 7 + 3)
    )


def pairs(count, begin=0):
    return [(sentence(n, "s") + f" {n}", sentence(n, "t") + f" {n}") for n in range(begin, begin + count)]


def write_tsv(file, rows):
    file.write_text("".join("\t".join(row) + "\n" for row in rows), "utf-8")
    return {"tsv": str(file)}


def run_of(tmp_path, rows=None, tokenizer=None, **data):
    train = write_tsv(tmp_path / "train.tsv", pairs(400) if rows is None else rows)
    validation = write_tsv(tmp_path / "validation.tsv", pairs(20, 10_000))
    values = {
        "data": {"train": [train], "validation": [validation], "workers": 1, **data},
        "tokenizer": {"vocab_size": 300, **(tokenizer or {})},
        "training": {"steps": 1},
    }
    return parse_run({name: {k: v for k, v in table.items() if v is not None} for name, table in values.items()})


def decoded(prepared, split):
    shards = prepared.split(split)
    return [tuple(prepared.tokenizer.decode(side) for side in shards.row(i)) for i in range(len(shards))]


def stamps(directory):
    return {file.name: file.stat().st_mtime_ns for file in directory.iterdir()}


def test_the_prepared_ids_spell_the_corpus(tmp_path):
    test = write_tsv(tmp_path / "test.tsv", [("one", "eins", "en", "de"), *[(s, t, "", "") for s, t in pairs(5)]])
    prepared = prepare(run_of(tmp_path, test=[test]), tmp_path / "data", pairs_per_shard=64)
    assert decoded(prepared, "train") == pairs(400)
    assert decoded(prepared, "validation") == pairs(20, 10_000)
    assert prepared.split("test").text(0) == ("one", "eins", "en", "de", "")
    assert prepared.split("test").text(5) == (*pairs(5)[4], None, None, "")
    with pytest.raises(DataError, match="validation and test only"):
        prepared.split("train").text(0)
    source, target = prepared.split("train").row(3)
    assert source[-1] == target[-1] == prepared.tokenizer.eos_id
    opened = PreparedData.open(tmp_path / "data")
    assert opened.content_hash == prepared.content_hash
    assert opened.tokenizer.content_hash == opened.manifest["tokenizer"]["content_hash"]


def test_a_second_run_does_nothing(tmp_path, capsys):
    run = run_of(tmp_path)
    first = prepare(run, tmp_path / "data")
    before = stamps(tmp_path / "data")
    other = run.model_copy(update={"seed": 5, "data": run.data.model_copy(update={"workers": 3})})
    assert prepare(other, tmp_path / "data").content_hash == first.content_hash
    assert stamps(tmp_path / "data") == before
    assert "nothing to do" in capsys.readouterr().err
    assert set(before) == {"manifest.json", *first.manifest["files"]}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tokenizer": {"vocab_size": 310}}, "tokenizer.vocab_size"),
        ({"max_tokens": 20}, "data.max_tokens"),
        ({"rows": pairs(300)}, "inputs.train"),
        ({"validation": None}, "inputs.validation"),
    ],
)
def test_a_changed_input_or_setting_is_named_and_everything_is_made_anew(change, named, tmp_path, capsys):
    first = prepare(run_of(tmp_path), tmp_path / "data", pairs_per_shard=30)
    changed = prepare(run_of(tmp_path, **change), tmp_path / "data", pairs_per_shard=30)
    assert f"changed since it was prepared: {named}; preparing again" in capsys.readouterr().err
    assert changed.content_hash != first.content_hash
    assert set(stamps(tmp_path / "data")) == {"manifest.json", *changed.manifest["files"]}
    fresh = prepare(run_of(tmp_path, **change), tmp_path / "fresh", pairs_per_shard=30)
    assert fresh.content_hash == changed.content_hash


@pytest.mark.parametrize(
    ("kill_at", "complete"),
    [(1, 0), (2, 0), (3, 0), (5, 0), (6, 1), (11, 2), (29, 8), (30, 8), (31, 8)],
    ids="plan survey index record second-shard third-record texts record-of-validation manifest".split(),
)
def test_a_prepare_killed_in_any_write_goes_on_with_what_is_complete(kill_at, complete, tmp_path, capsys):
    run, directory = run_of(tmp_path), tmp_path / "killed"
    whole = prepare(run, tmp_path / "whole", pairs_per_shard=50)
    assert run_script(tmp_path, run, directory, kill_at) == -signal.SIGKILL
    before = stamps(directory)
    assert "manifest.json" not in before
    resumed = prepare(run, directory, pairs_per_shard=50)
    after = stamps(directory)
    assert ("going on with an interrupted preparation" in capsys.readouterr().err) == (kill_at > 1)
    assert resumed.content_hash == whole.content_hash
    assert resumed.manifest["splits"] == whole.manifest["splits"]
    assert resumed.manifest["notes"] == whole.manifest["notes"]
    assert set(after) == {"manifest.json", *whole.manifest["files"]}
    kept = [name for name in before if name in after and before[name] == after[name]]
    assert sum(name.startswith("train") for name in kept) == 2 * complete
    assert ("tokenizer.json" in kept) == (kill_at > 2)


def test_what_was_killed_is_no_use_once_a_setting_changed(tmp_path, capsys):
    assert run_script(tmp_path, run_of(tmp_path), tmp_path / "killed", 20) == -signal.SIGKILL
    other = run_of(tmp_path, max_tokens=20)
    fresh = prepare(other, tmp_path / "fresh", pairs_per_shard=50)
    assert prepare(other, tmp_path / "killed", pairs_per_shard=50).content_hash == fresh.content_hash
    assert "going on" not in capsys.readouterr().err


def test_a_shard_that_was_damaged_after_the_kill_is_made_again(tmp_path):
    run = run_of(tmp_path)
    whole = prepare(run, tmp_path / "whole", pairs_per_shard=50)
    assert run_script(tmp_path, run, tmp_path / "killed", 20) == -signal.SIGKILL
    (tmp_path / "killed" / "train-00001.tokens.npy").write_bytes(b"")
    assert prepare(run, tmp_path / "killed", pairs_per_shard=50).content_hash == whole.content_hash
    assert PreparedData.open(tmp_path / "killed").content_hash == whole.content_hash


def test_processes_give_the_same_bytes_and_start_no_tensorflow(tmp_path):
    run = run_of(tmp_path)
    alone = prepare(run, tmp_path / "alone", pairs_per_shard=50)
    parallel = run.model_copy(update={"data": run.data.model_copy(update={"workers": 2})})
    assert run_script(tmp_path, parallel, tmp_path / "together") == 0
    assert PreparedData.open(tmp_path / "together").content_hash == alone.content_hash


def test_long_texts_make_shards_of_fewer_pairs(tmp_path, monkeypatch):
    monkeypatch.setattr("regard.data.preparation.CHARACTERS_PER_SHARD", 2000)
    prepared = prepare(run_of(tmp_path), tmp_path / "data", pairs_per_shard=300)
    size = sum(len(source) + len(target) for source, target in pairs(400))
    assert size // 2100 <= len(prepared.manifest["splits"]["train"]["shards"]) <= size // 2000 + 1
    assert decoded(prepared, "train") == pairs(400)


def test_every_line_is_prepared_or_reported(tmp_path, capsys):
    rows = [*pairs(300), ("", "leer"), ("a b c d e f g h", "x"), ("long " * 200, "lang")]
    prepared = prepare(run_of(tmp_path, rows=rows, max_tokens=60, max_ratio=3.0), tmp_path / "data")
    entry = prepared.manifest["splits"]["train"]
    counts = entry["dropped"]["counts"]
    assert entry["pairs"] + sum(counts.values()) == 303
    assert counts == {
        "empty side": 1,
        "length ratio above data.max_ratio = 3": 1,
        "longer than data.max_tokens = 60": 1,
    }
    assert f"train: dropped 1: longer than data.max_tokens = 60 ({tmp_path}/train.tsv:303)" in capsys.readouterr().err


@pytest.mark.parametrize(("max_tokens", "kept"), [(102, 101), (101, 100)])
def test_the_bounds_on_lengths_count_the_tag_and_the_end(max_tokens, kept, tmp_path):
    rows = [(s, t, "en", "de") for s, t in [("0123456789" * 10, "digits"), *pairs(100)]]
    validation = write_tsv(tmp_path / "tagged.tsv", [("hello", "hallo", "en", "de")])
    run = run_of(tmp_path, rows=rows, max_tokens=max_tokens, language_tags=True, validation=[validation])
    assert len(prepare(run, tmp_path / "data").split("train")) == kept


def test_a_tag_for_the_target_language_opens_each_source(tmp_path):
    rows = [(source, target, "en", ("de", "zh")[n % 2]) for n, (source, target) in enumerate(pairs(200))]
    validation = write_tsv(tmp_path / "tagged.tsv", [("hello", "hallo", "en", "de")])
    run = run_of(tmp_path, rows=rows, language_tags=True, validation=[validation])
    prepared = prepare(run, tmp_path / "data")
    assert prepared.tokenizer.tags == [">>de<<", ">>zh<<"]
    shards = prepared.split("train")
    for n in (0, 1):
        tag = (">>de<<", ">>zh<<")[n]
        assert shards.row(n)[0].tolist() == prepared.tokenizer.encode(rows[n][0], tag)
        assert shards.row(n)[1].tolist() == prepared.tokenizer.encode(rows[n][1])
    assert prepared.split("validation").text(0) == ("hello", "hallo", "en", "de", "")


def test_tags_need_a_language_that_training_knows(tmp_path):
    with pytest.raises(DataError, match=r"train\.tsv:1 has none: set target_lang"):
        prepare(run_of(tmp_path, language_tags=True), tmp_path / "data")
    rows = [(s, t, "en", "de") for s, t in pairs(100)]
    validation = write_tsv(tmp_path / "french.tsv", [("hello", "salut", "en", "fr")])
    with pytest.raises(DataError, match=r"french\.tsv:1: the target language is 'fr', but the tokenizer knows >>de<<"):
        prepare(run_of(tmp_path, rows=rows, language_tags=True, validation=[validation]), tmp_path / "data")


def test_weights_repeat_a_corpus_or_take_a_fixed_part_of_it(tmp_path):
    twice, half = (write_tsv(tmp_path / f"{n}.tsv", pairs(100, n)) for n in (1000, 2000))
    run = run_of(tmp_path, train=[{**twice, "weight": 2.0}, {**half, "weight": 0.5}])
    prepared = prepare(run, tmp_path / "data")
    texts = decoded(prepared, "train")
    assert all(texts.count(pair) == 2 for pair in pairs(100, 1000))
    part = [pair for pair in pairs(100, 2000) if pair in texts]
    assert 30 < len(part) < 70
    assert len(texts) == 200 + len(part)
    dropped = prepared.manifest["splits"]["train"]["dropped"]["counts"]
    assert dropped == {"left out by the weight of its corpus": 100 - len(part)}


def test_weights_that_leave_nothing_are_named_as_the_reason(tmp_path):
    few = write_tsv(tmp_path / "few.tsv", pairs(5))
    with pytest.raises(DataError, match=r"the train corpus is empty: dropped 5: left out by the weight of its corpus"):
        prepare(run_of(tmp_path, train=[{**few, "weight": 1e-9}]), tmp_path / "data")


def test_a_limit_keeps_so_many_examples_to_train_on_and_all_else_as_it_is(tmp_path):
    whole = prepare(run_of(tmp_path), tmp_path / "whole")
    found = {n: prepare(run_of(tmp_path, limit=n), tmp_path / f"{n}") for n in (7, 60, 400)}
    texts = {n: decoded(prepared, "train") for n, prepared in found.items()}
    assert [len(own) for own in texts.values()] == [7, 60, 400]
    assert set(texts[7]) < set(texts[60]) < set(texts[400]) == set(decoded(whole, "train"))
    assert texts[60] == [pair for pair in texts[400] if pair in set(texts[60])], "in the corpus's order"
    places = [texts[400].index(pair) for pair in texts[60]]
    assert min(places) < 40
    assert max(places) > 360, "from all of the corpus"
    for prepared in found.values():
        assert prepared.tokenizer.content_hash == whole.tokenizer.content_hash
        assert decoded(prepared, "validation") == decoded(whole, "validation")
    dropped = [prepared.manifest["splits"]["train"]["dropped"]["counts"] for prepared in found.values()]
    assert dropped == [{"left out by data.limit = 7": 393}, {"left out by data.limit = 60": 340}, {}]


def test_validation_is_split_off_where_the_run_file_names_none(tmp_path, capsys):
    rows = [*pairs(400), *[(source, f"other {target}") for source, target in pairs(400)]]
    prepared = prepare(run_of(tmp_path, rows=rows, validation=None), tmp_path / "data")
    assert "pairs are split off by a hash of their source" in capsys.readouterr().err
    train, validation = (decoded(prepared, split) for split in ("train", "validation"))
    assert sorted(train + validation) == sorted(rows)
    assert 0 < len(validation) <= 8
    assert not {source for source, _ in train} & {source for source, _ in validation}
    with pytest.raises(DataError, match="has no test split: it has train, validation"):
        prepared.split("test")


def test_a_large_corpus_trains_its_tokenizer_on_a_sample_and_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("regard.data.preparation.SAMPLE_PAIRS", 150)
    prepare(run_of(tmp_path), tmp_path / "data")
    assert "chosen by hash, of 400 pairs" in capsys.readouterr().err
    assert sampling.SAMPLE_PAIRS == 500_000


@pytest.mark.parametrize("rows", [[], [("", "")], [("only", "")]])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_an_empty_corpus_is_an_error(split, rows, tmp_path):
    run = run_of(tmp_path, **{split: [write_tsv(tmp_path / "empty.tsv", rows)]})
    with pytest.raises(DataError, match=f"the {split} corpus is empty: (dropped 1: empty side|there are no lines)"):
        prepare(run, tmp_path / "data")
    with pytest.raises(DataError, match="holds no prepared data"):
        PreparedData.open(tmp_path / "data")


def test_a_damaged_shard_is_named_and_made_again(tmp_path, capsys):
    run = run_of(tmp_path)
    first = prepare(run, tmp_path / "data")
    file = tmp_path / "data" / "train-00000.tokens.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match=r"train-00000\.tokens\.npy is missing or damaged"):
        PreparedData.open(tmp_path / "data")
    assert prepare(run, tmp_path / "data").content_hash == first.content_hash
    assert "missing or damaged: train-00000.tokens.npy; preparing again" in capsys.readouterr().err
    assert file.read_bytes() == whole
    (tmp_path / "data" / "manifest.json").write_text("{")
    assert prepare(run, tmp_path / "data").content_hash == first.content_hash


def test_stdin_is_a_corpus_like_a_file(tmp_path, monkeypatch, capsys):
    def piped(run, directory):
        content = (tmp_path / "train.tsv").read_bytes() + b"no tab\n"
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))
        return prepare(run, directory)

    run = run_of(tmp_path, train=[{"tsv": "-"}])
    write_tsv(tmp_path / "train.tsv", pairs(400))
    prepared = piped(run, tmp_path / "data")
    assert decoded(prepared, "train") == pairs(400)
    assert "(<stdin>:401)" in capsys.readouterr().err
    assert piped(run, tmp_path / "data").content_hash == prepared.content_hash
    assert "nothing to do" in capsys.readouterr().err
    assert "stdin.copy" not in stamps(tmp_path / "data")
    with pytest.raises(DataError, match="2 corpora name it"):
        piped(run_of(tmp_path, train=[{"tsv": "-"}, {"tsv": "-"}]), tmp_path / "other")


def test_a_builders_splits_are_prepared_and_its_origin_is_noted(tmp_path, monkeypatch, capsys):
    train, validation, test = (
        [Example(s, t, "en", "de") for s, t in pairs(*part)] for part in ((200,), (9, 300), (9, 400))
    )
    built = Corpora(train, validation, test, {"kept": 218}, "made up, no licence needed")
    monkeypatch.setattr("regard.corpora.build", lambda name, cache, report: built)
    values = {"data": {"builder": "demo", "language_tags": True}, "tokenizer": {"vocab_size": 300}}
    run = parse_run({**values, "training": {"steps": 1}})
    prepared = prepare(run, tmp_path / "data")
    assert [len(prepared.split(split)) for split in ("train", "validation", "test")] == [200, 9, 9]
    assert "made up, no licence needed" in capsys.readouterr().err
    monkeypatch.setattr("regard.corpora.build", lambda *_: pytest.fail("the builder ran again"))
    assert prepare(run, tmp_path / "data").content_hash == prepared.content_hash


def test_an_existing_tokenizer_is_taken_as_it_is(tmp_path):
    trained = prepare(run_of(tmp_path), tmp_path / "first").tokenizer
    path = str(tmp_path / "first" / "tokenizer.json")
    run = run_of(tmp_path, rows=pairs(50, 5000), tokenizer={"path": path, "vocab_size": None})
    prepared = prepare(run, tmp_path / "second")
    assert prepared.tokenizer.content_hash == trained.content_hash
    assert decoded(prepared, "train") == pairs(50, 5000)
    with pytest.raises((CheckpointError, DataError), match="missing"):
        prepare(run_of(tmp_path, tokenizer={"path": str(tmp_path / "missing"), "vocab_size": None}), tmp_path / "third")


def test_a_tokenizer_that_adds_no_end_is_refused(tmp_path):
    prepare(run_of(tmp_path), tmp_path / "first")
    state = json.loads((tmp_path / "first" / "tokenizer.json").read_text("utf-8"))
    (tmp_path / "tokenizer.json").write_text(json.dumps({**state, "post_processor": None}), "utf-8")
    assert Tokenizer.load(tmp_path).encode("") == []
    with pytest.raises(ConfigError, match="must end every text with its eos token"):
        prepare(run_of(tmp_path, tokenizer={"path": str(tmp_path), "vocab_size": None}), tmp_path / "data")


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot prepare data in .*file"):
        prepare(run_of(tmp_path), tmp_path / "file" / "data")


def stdin_of(content):
    return io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)))


def test_data_from_a_spent_stdin_is_opened_again_and_never_destroyed(tmp_path, monkeypatch):
    run = run_of(tmp_path, train=[{"tsv": "-"}])
    write_tsv(tmp_path / "train.tsv", pairs(400))
    monkeypatch.setattr(sys, "stdin", stdin_of((tmp_path / "train.tsv").read_bytes()))
    prepared = open_or_prepare(run, tmp_path / "data", begun=False)
    before = stamps(tmp_path / "data")
    monkeypatch.setattr(sys, "stdin", stdin_of(b""))
    assert open_or_prepare(run, tmp_path / "data", begun=False).content_hash == prepared.content_hash
    with pytest.raises(DataError, match=r"stdin \(-\) is empty"):
        prepare(run, tmp_path / "data")
    other = run_of(tmp_path, train=[{"tsv": "-"}], tokenizer={"vocab_size": 310})
    with pytest.raises(DataError, match=r"was prepared from stdin by another tokenizer\.vocab_size"):
        open_or_prepare(other, tmp_path / "data", begun=False)
    assert stamps(tmp_path / "data") == before


def test_a_run_that_has_begun_needs_its_corpus_no_more(tmp_path, capsys):
    run = run_of(tmp_path)
    prepared = prepare(run, tmp_path / "data")
    write_tsv(tmp_path / "train.tsv", pairs(300))
    assert open_or_prepare(run, tmp_path / "data", begun=True).content_hash == prepared.content_hash
    assert open_or_prepare(run, tmp_path / "data", begun=False).content_hash != prepared.content_hash
    (tmp_path / "data" / "train-00000.tokens.npy").write_bytes(b"")
    open_or_prepare(run, tmp_path / "data", begun=True)
    assert "is missing or damaged: run `regard prepare` again: preparing again" in capsys.readouterr().err


def test_a_builder_that_is_for_another_task_is_refused_before_it_fetches(tmp_path, monkeypatch):
    monkeypatch.setattr("regard.corpora.build", lambda *_: pytest.fail("the builder ran"))
    run = parse_run({"task": "classify", "data": {"builder": "debian-en-de"}, "training": {"steps": 1}})
    with pytest.raises(ConfigError, match=r"data\.builder = 'debian-en-de' is for translate, but task is 'classify'"):
        prepare(run, tmp_path / "data")


def test_what_a_builder_says_of_a_label_becomes_the_row_that_json_lines_would_be(tmp_path, monkeypatch):
    items = [{"text": f"text {number}", "label": "ab"[number % 2]} for number in range(40)]
    built = Corpora(items[:30], items[30:35], items[35:], {}, "made up")
    monkeypatch.setattr("regard.corpora.build", lambda name, cache, report: built)
    values = {"tokenizer": {"vocab_size": 310}, "training": {"steps": 1}, "task": "classify"}
    prepared = prepare(parse_run({**values, "data": {"builder": "package-sections"}}), tmp_path / "built")
    lines = tmp_path / "lines.jsonl"
    lines.write_text("".join(json.dumps(item) + "\n" for item in items[:30]), "utf-8")
    data = {"train": [{"jsonl": str(lines)}], "validation": [{"jsonl": str(lines)}]}
    read = prepare(parse_run({**values, "data": data}), tmp_path / "read")
    assert prepared.manifest["names"] == read.manifest["names"] == ["a", "b"]
    for row in range(30):
        for one, other in zip(prepared.split("train").row(row), read.split("train").row(row), strict=True):
            assert list(one) == list(other)
