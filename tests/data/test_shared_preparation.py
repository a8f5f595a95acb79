"""Several machines prepare one directory: whoever comes, late or not at all, the data is what one machine makes."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from regard.config import RunConfig, parse_run, to_toml
from regard.data import heartbeat, preparation
from regard.data.prepare import prepare, prepare_share
from regard.data.progress import Narrator
from regard.errors import DataError

REGARD = [sys.executable, "-c", "import sys; from regard.cli import main; sys.exit(main(sys.argv[1:]))"]
WORKERS = 3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    directory = tmp_path_factory.mktemp("corpus")
    for split, count in (("train", 400), ("validation", 60)):
        lines = (f"s{n * 7 % 26} one{n % 5} {n}\tt{n * 7 % 26} eins{n % 5} {n}\n" for n in range(count))
        (directory / f"{split}.tsv").write_text("".join(lines), "utf-8")
    files = {split: [{"tsv": str(directory / f"{split}.tsv")}] for split in ("train", "validation")}
    values = {"data": {**files, "workers": 1}, "tokenizer": {"vocab_size": 300}, "training": {"steps": 1}}
    return parse_run(values)


@pytest.fixture(scope="module")
def alone(run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    directory = tmp_path_factory.mktemp("alone")
    prepare(run, directory, pairs_per_shard=50)
    return contents(directory)


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def shared(run: RunConfig, directory: Path, *workers: int) -> list[int]:
    """Prepare by worker 0 and those of the others that come; -> how many shards each of them wrote."""
    written = dict.fromkeys(workers, -1)

    def help_with(worker: int) -> None:
        written[worker] = prepare_share(run, directory, worker, WORKERS, pairs_per_shard=50)

    helpers = [threading.Thread(target=help_with, args=[worker]) for worker in workers]
    for helper in helpers:
        helper.start()
    prepare(run, directory, pairs_per_shard=50, workers=WORKERS)
    for helper in helpers:
        helper.join()
    return list(written.values())


@pytest.mark.parametrize("workers", [[1, 2], [2], []])
def test_whoever_comes_the_data_is_what_one_makes(
    run: RunConfig, alone: dict[str, bytes], tmp_path: Path, workers: list[int]
) -> None:
    shared(run, tmp_path, *workers)
    assert contents(tmp_path) == alone
    assert shared(run, tmp_path, *workers) == [0] * len(workers)  # all is prepared
    assert contents(tmp_path) == alone


def test_a_worker_writes_the_shards_of_its_own_number_and_the_first_writes_what_is_missing(
    run: RunConfig, alone: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Exception):
        pass

    def stopped(*_: Any) -> Any:
        raise Stopped

    with monkeypatch.context() as patch:  # worker 0 is killed after its own share
        patch.setattr(preparation.Preparation, "_encode", stopped)
        with pytest.raises(Stopped):
            prepare(run, tmp_path, pairs_per_shard=50, workers=WORKERS)
    assert shards(tmp_path) == {"train-00000", "train-00003", "train-00006", "validation-00000"}
    assert prepare_share(run, tmp_path, 2, WORKERS, pairs_per_shard=50) == 2
    assert shards(tmp_path) >= {"train-00002", "train-00005"}
    assert not shards(tmp_path) & {"train-00001", "train-00004", "train-00007", "validation-00001"}
    (tmp_path / "train-00001.tokens.npy.0123abcd.tmp").write_bytes(b"half of what worker 1 wrote before it was kil")
    prepare(run, tmp_path, pairs_per_shard=50, workers=WORKERS)
    assert contents(tmp_path) == alone


def test_the_first_and_a_late_worker_may_tidy_up_at_once(
    run: RunConfig, alone: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, tidied = Path.unlink, []

    def after_another(file: Path, missing_ok: bool = False) -> None:
        if file.name.startswith("train-") and file.suffix == ".json":
            tidied.append(file.name)
            os.unlink(file)
        unlink(file, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", after_another)
        prepare(run, tmp_path, pairs_per_shard=50, workers=WORKERS)
    assert len(tidied) == 8
    assert contents(tmp_path) == alone

    late = preparation.Preparation(run, run.data, None, tmp_path, Narrator(bar=False), 50)
    with monkeypatch.context() as patch:  # all was there when it looked, and is cleared when it reads
        patch.setattr(Path, "exists", lambda _: True)
        assert late.write_share(preparation.Share(1, WORKERS)) == 0
    assert contents(tmp_path) == alone


def shards(directory: Path) -> set[str]:
    return {file.stem for file in directory.glob("*-0000[0-9].json")}


def test_a_worker_waits_for_the_first_and_says_what_differs(
    run: RunConfig, alone: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = json.loads(alone["manifest.json"])["made_of"]
    begun["data"] = {**begun["data"], "max_source_tokens": 7}
    (tmp_path / "unfinished.json").write_text(json.dumps(begun, sort_keys=True), "utf-8")
    (tmp_path / "survey.json").write_text("{}", "utf-8")
    helper = threading.Thread(target=prepare_share, args=[run, tmp_path, 1, 2], kwargs={"pairs_per_shard": 50})
    helper.start()
    helper.join(0.5)
    assert helper.is_alive()
    said = capsys.readouterr().err
    assert "waiting until worker 0 has read the corpus; what is begun there has another data.max_source_tokens" in said
    prepare(run, tmp_path, pairs_per_shard=50, workers=2)
    helper.join()
    assert contents(tmp_path) == alone


def test_a_worker_does_not_wait_for_a_first_one_that_is_gone(
    run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "PATIENCE", 0.5)
    with pytest.raises(DataError, match=r"worker 0 gave no sign of life in .* start all workers again"):
        prepare_share(run, tmp_path, 1, 2, pairs_per_shard=50)


def test_it_waits_as_long_as_the_first_one_gives_signs(
    run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "PATIENCE", 1.0)
    monkeypatch.setattr(heartbeat, "SECONDS_BETWEEN", 0.1)
    with ThreadPoolExecutor(1) as thread, heartbeat.signs_of_life(tmp_path):
        waiting = thread.submit(prepare_share, run, tmp_path, 1, 2, pairs_per_shard=50)
        with pytest.raises(TimeoutError):
            waiting.result(2.5)
        prepare(run, tmp_path, pairs_per_shard=50, workers=2)
        waiting.result(60)
    assert not (tmp_path / heartbeat.SIGN).exists()


def test_stdin_reaches_one_process_alone(run: RunConfig, tmp_path: Path) -> None:
    piped = parse_run({**run.model_dump(exclude_none=True), "data": {"train": [{"tsv": "-"}]}})
    for begin in (lambda: prepare(piped, tmp_path, workers=2), lambda: prepare_share(piped, tmp_path, 1, 2)):
        with pytest.raises(DataError, match="a corpus on stdin"):
            begin()


def test_tf_config_shares_the_command(run: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(to_toml(run), "utf-8")
    cluster = {"worker": ["one:1", "two:1"]}

    def begun(worker: int) -> subprocess.Popen[str]:
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": worker}})
        command = [*REGARD, "prepare", str(tmp_path / "run.toml"), "-o", str(tmp_path / "run")]
        environment = {**os.environ, "TF_CONFIG": config}
        return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    second, first = begun(1), begun(0)
    said, complaints = first.communicate()
    assert first.returncode == 0, complaints
    assert said == f"{tmp_path / 'run/data'}: ready, 400 pairs to train on\n"
    said, complaints = second.communicate()
    assert second.returncode == 0, complaints
    assert said == f"{tmp_path / 'run/data'}: worker 1 of 2 wrote 0 shards of it\n"  # there is one of each split
