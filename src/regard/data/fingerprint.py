"""What prepared data is made of: the content of its inputs and the settings that shape it, and no path or date."""

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regard.config import CorpusConfig, DataConfig, RunConfig
from regard.data.given import Given
from regard.data.objectives.catalog import objective_of
from regard.data.shards import FORMAT, SPLITS
from regard.data.sources import STDIN, STDIN_COPY, corpus_files, hash_files
from regard.errors import DataError
from regard.features.tokenizer_files import NAMES as TOKENIZER_FILES

_FILES = ("source", "target", "tsv", "jsonl", "text")
_SETTINGS = ("task", "data", "tokenizer", "given")
_OF_BATCHES = ("workers", "temperature", "curriculum")  # keys of [data] that change nothing of what is prepared


def made_of(run: RunConfig, data: DataConfig, given: Given | None, pairs_per_shard: int) -> dict[str, Any]:
    """A JSON object that is equal exactly when `prepare` would write the same. Reads every input once.

    data: the run's, with a copy of stdin in its place. given: what the checkpoint that the run starts from brings.
    """
    origin = {
        "format": {"version": FORMAT, "pairs_per_shard": pairs_per_shard},
        "inputs": _builder_code() if data.builder else {s: [_corpus(c) for c in getattr(data, s)] for s in SPLITS},
        **_settings(run, given),
    }
    listed = _listed(run, data)
    if listed:
        origin["listed"] = listed
    return dict(json.loads(json.dumps(origin)))


def _listed(run: RunConfig, data: DataConfig) -> dict[str, str]:
    """One hash a split over the files that its records name: the images, the sounds."""
    objective, found = objective_of(run), {}
    for split in SPLITS:
        hashes = hash_files(objective.listed_files(getattr(data, split)))
        if hashes:
            found[split] = hashlib.sha256("".join(hashes).encode()).hexdigest()
    return found


def _settings(run: RunConfig, given: Given | None) -> dict[str, Any]:
    brought = {} if given is None else {"model.from": given.content_hash}
    return {
        "task": {} if run.task == "translate" else {"task": run.task, "objective": run.objective.model_dump()},
        "data": run.data.model_dump(exclude={*SPLITS, *_OF_BATCHES}),
        "tokenizer": run.tokenizer.model_dump(exclude={"path"}),
        "given": {"tokenizer.path": _given(run.tokenizer.path), **brought},
    }


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The names of the entries that differ, as `section.key`."""
    names = []
    for section in sorted({*old, *new}):
        before, after = old.get(section, {}), new.get(section, {})
        keys = sorted({*before, *after})
        names += [f"{section}.{key}" for key in keys if before.get(key) != after.get(key)]
    return [name.removeprefix("given.").removeprefix("task.") for name in names]


@contextmanager
def stdin_copied(data: DataConfig, directory: Path) -> Iterator[DataConfig]:
    """The same data with `-` replaced by a copy of stdin, which can be read twice; the copy goes at the end."""
    users = _stdin_users(data)
    if not users:
        yield data
        return
    if len(users) > 1:
        raise DataError(f"stdin (-) can be read once, but {len(users)} corpora name it")
    copy = directory / STDIN_COPY
    try:
        with copy.open("wb") as stream:
            shutil.copyfileobj(sys.stdin.buffer, stream)
        if not copy.stat().st_size:
            raise DataError("stdin (-) is empty, but the run reads a corpus from it: pipe the corpus in")
        yield data.model_copy(update={s: tuple(_from(c, copy) for c in getattr(data, s)) for s in SPLITS})
    finally:
        copy.unlink(missing_ok=True)


def reads_stdin(data: DataConfig) -> bool:
    """Whether a corpus comes from stdin, which a later process cannot read again."""
    return bool(_stdin_users(data))


def changed_settings(old: dict[str, Any], run: RunConfig, given: Given | None) -> list[str]:
    """As `differences`, by the settings alone: no corpus is read."""
    return differences({section: old.get(section, {}) for section in _SETTINGS}, _settings(run, given))


def _stdin_users(data: DataConfig) -> list[CorpusConfig]:
    corpora = [corpus for split in SPLITS for corpus in getattr(data, split)]
    return [corpus for corpus in corpora if STDIN in (getattr(corpus, name) for name in _FILES)]


def _from(corpus: CorpusConfig, copy: Path) -> CorpusConfig:
    names = [name for name in _FILES if getattr(corpus, name) == STDIN]
    if len(names) > 1:
        raise DataError("source and target cannot both be stdin (-): pipe a TSV in, with tsv = '-'")
    return corpus.model_copy(update=dict.fromkeys(names, str(copy)))


def _corpus(corpus: CorpusConfig) -> dict[str, Any]:
    kind = "aligned" if corpus.kind == "source" else corpus.kind
    hashes = [hash_files(files) for files in corpus_files(corpus)]
    settings = corpus.model_dump(include={"source_lang", "target_lang", "weight"})
    return {"kind": kind, "files": hashes, **settings, **corpus.model_dump(include={"documents"}, exclude_none=True)}


def _builder_code() -> dict[str, Any]:
    """The code of the builders stands for what they build: they are deterministic, and pin what they fetch."""
    package = Path(__file__).parent.parent / "corpora"
    return {"corpora": hash_files(sorted(str(file) for file in package.glob("*.py")))}


def _given(path: str | None) -> list[str] | None:
    if path is None:
        return None
    place = Path(path)
    files = [place / name for name in TOKENIZER_FILES if (place / name).is_file()] if place.is_dir() else [place]
    return hash_files([str(file) for file in files])
