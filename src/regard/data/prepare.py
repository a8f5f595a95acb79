"""`regard prepare`: corpora -> tokenizer and shards, once. Killed, it goes on; run again, it does nothing.

The text is read as a stream, twice: the first pass trains the tokenizer and splits validation data off, the second
writes shards. A finished shard leaves a record; the manifest comes last and makes the whole valid.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

from regard import __version__
from regard.config import CorpusConfig, DataConfig, RunConfig
from regard.data.encode import Job, ShardRecord, encode_shards, in_parts
from regard.data.fingerprint import Given, changed_settings, differences, made_of, reads_stdin, stdin_copied
from regard.data.objectives.catalog import objective_of
from regard.data.objectives.objective import Objective
from regard.data.progress import Advance, Narrator
from regard.data.sampling import SAMPLE_COST, SAMPLE_PAIRS, Survey, TextSample, in_validation, limited, survey
from regard.data.shards import (
    FORMAT,
    MANIFEST,
    NO_TOKENIZER,
    SPLITS,
    PreparedData,
    damaged_files,
    read_manifest,
    write_file,
)
from regard.data.sources import DropReport, Located, Place, hash_files
from regard.errors import ConfigError, DataError, RegardError
from regard.features.processor_config import FILE as PROCESSOR
from regard.features.tokenizer import Tokenizer
from regard.features.tokenizer_layouts import train_tokenizer

PAIRS_PER_SHARD = 16_384
CHARACTERS_PER_SHARD = 8_000_000  # long texts make a shard of fewer pairs
MAX_WORKERS = 8  # unless data.workers says more: each takes 0.1 to 0.2 GB

_UNFINISHED = "unfinished.json"  # what the files in the directory are made of, as long as there is no manifest
_SURVEY = "survey.json"
_COMPANIONS = (
    PROCESSOR,
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("vocab.json", "vocab.txt", "merges.txt", "source.spm", "target.spm", "spiece.model", "sentencepiece.bpe.model"),
    "tokenizer.model",
)
_TICK = 4096  # pairs between two looks at the progress bar


def prepare(
    run: RunConfig,
    directory: str | Path,
    *,
    given: Callable[[], Given] | None = None,
    progress: bool = False,
    pairs_per_shard: int = PAIRS_PER_SHARD,
) -> PreparedData:
    """Tokenise the data of a run into `directory`, or open what is there if it was made of the same.

    What is dropped, and why, is said on stderr and kept in the manifest.

    Args:
        run: `task`, `objective`, `data` and `tokenizer` are what counts; the rest may change without another
            preparation.
        directory: made if missing; an earlier preparation in it is replaced when its inputs changed.
        given: gives the tokenizer of the checkpoint that the run starts from, or of images its processor.
        progress: allows a bar where stderr is a terminal; plain lines otherwise.
        pairs_per_shard: pairs read for one shard; they and their tokens are what each process holds in memory.

    Raises:
        DataError: a file is missing or unreadable, aligned files differ in length, or nothing is left of a split.
    """
    directory, narrator = Path(directory), Narrator(progress)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with stdin_copied(run.data, directory) as data:
            brought = None if given is None else given()
            origin = made_of(run, data, brought, pairs_per_shard)
            manifest = _current_manifest(directory, origin, narrator)
            if manifest is None:
                _begin(directory, origin, narrator)
                work = _Preparation(run, data, brought, directory, narrator, pairs_per_shard)
                manifest = work.build(origin)
    except RegardError:
        raise
    except OSError as error:
        raise DataError(f"cannot prepare data in {directory}: {error}") from error
    return PreparedData(directory, manifest)


def open_or_prepare(
    run: RunConfig,
    directory: str | Path,
    *,
    begun: bool,
    given: Callable[[], Given] | None = None,
    progress: bool = False,
) -> PreparedData:
    """What is prepared already, where that must do; else `prepare`.

    It must do once training has begun, which needs its corpus no more, and where the corpus came through stdin, which
    is spent. Damaged data is prepared again. Raises DataError where data from stdin was prepared by other settings.
    """
    directory = Path(directory)
    if begun or (reads_stdin(run.data) and (directory / MANIFEST).exists()):
        try:
            prepared = PreparedData.open(directory)
        except DataError as error:
            Narrator(bar=False).say(f"WARNING: {error}: preparing again")
        else:
            if not begun:
                _require_same_settings(prepared, run, None if given is None else given())
            return prepared
    return prepare(run, directory, given=given, progress=progress)


def _require_same_settings(prepared: PreparedData, run: RunConfig, given: Given | None) -> None:
    changed = changed_settings(prepared.manifest["made_of"], run, given)
    if changed:
        raise DataError(
            f"{prepared.directory} was prepared from stdin by another {', '.join(changed)}: set it back, or pipe the "
            "corpus into `regard prepare` again"
        )


def _current_manifest(directory: Path, origin: dict[str, Any], narrator: Narrator) -> dict[str, Any] | None:
    """The manifest of an earlier preparation that is whole and made of the same; else None, and why is said."""
    try:
        manifest = read_manifest(directory)
    except DataError as error:
        narrator.say(f"{error}; preparing again")
        return None
    if manifest is None:
        return None
    changed = differences(manifest["made_of"], origin)
    if changed:
        narrator.say(f"{directory}: changed since it was prepared: {', '.join(changed)}; preparing again")
        return None
    damaged = list(damaged_files(directory, manifest["files"]))
    if damaged:
        narrator.say(f"{directory}: missing or damaged: {', '.join(damaged)}; preparing again")
        return None
    narrator.say(f"{directory}: prepared already, nothing to do")
    return manifest


def _begin(directory: Path, origin: dict[str, Any], narrator: Narrator) -> None:
    """Keep what an interrupted preparation of the same inputs left; clear everything else that prepare wrote."""
    begun = json.dumps(origin, sort_keys=True).encode()
    unfinished = directory / _UNFINISHED
    if not (directory / MANIFEST).exists() and unfinished.exists() and unfinished.read_bytes() == begun:
        narrator.say(f"{directory}: going on with an interrupted preparation")
        return
    for name in (MANIFEST, _UNFINISHED, _SURVEY, *_COMPANIONS):
        (directory / name).unlink(missing_ok=True)
    for split in SPLITS:
        for file in directory.glob(f"{split}-[0-9][0-9][0-9][0-9][0-9]*.*"):
            file.unlink()
    write_file(unfinished, begun)


@dataclass
class _Preparation:
    """One preparation that has work to do."""

    run: RunConfig
    data: DataConfig
    given: Given | None
    directory: Path
    narrator: Narrator
    pairs_per_shard: int
    objective: Objective = field(init=False)
    corpora: dict[str, list[Located]] = field(default_factory=dict)  # what a builder gave, by split
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.objective = objective_of(self.run)
        if self.given is not None:
            self.objective = self.objective.with_given(self.given)

    def build(self, origin: dict[str, Any]) -> dict[str, Any]:
        """Make everything; the manifest, written last, is returned."""
        if self.data.builder is not None:
            self._run_builder(self.data.builder)
        found = self._resume_survey() or self._survey()
        self.objective = self.objective.with_names(found.names)
        tokenizer = NO_TOKENIZER if self.objective.layout is None else Tokenizer.load(self.directory)
        splits: dict[str, Any] = {}
        saved = [name for name in _COMPANIONS if (self.directory / name).is_file()]
        files = dict(zip(saved, hash_files(str(self.directory / name) for name in saved), strict=True))
        for split in SPLITS:
            if split == "train" or self._names(split) or (split == "validation" and found.validation):
                splits[split], written = self._encode(split, found, tokenizer)
                files |= written
        manifest = {
            "format": FORMAT,
            "regard": __version__,
            "made_of": origin,
            "notes": self.notes,
            "names": found.names,
            "tokenizer": _described(tokenizer),
            "splits": splits,
            "files": files,
        }
        write_file(self.directory / MANIFEST, (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())
        for split in splits:
            for record in self.directory.glob(f"{split}-[0-9][0-9][0-9][0-9][0-9]*.json"):
                record.unlink()
        (self.directory / _UNFINISHED).unlink()
        (self.directory / _SURVEY).unlink()
        return manifest

    def _run_builder(self, name: str) -> None:
        from regard.corpora import BUILDERS, build

        tasks = BUILDERS[name].tasks if name in BUILDERS else ()
        if tasks and self.run.task not in tasks:
            raise ConfigError(f"data.builder = {name!r} is for {' or '.join(tasks)}, but task is {self.run.task!r}")
        built = build(name, None, self.narrator.say)
        for split, items in (("train", built.train), ("validation", built.validation), ("test", built.test)):
            places = (Place(f"{name} {split}", number) for number in count(1))
            records = map(self.objective.built, items)
            self.corpora[split] = [Located(record, place) for record, place in zip(records, places, strict=False)]
        self._note(f"{name}: {built.source}")
        self._note(f"{name}: " + ", ".join(f"{what} {number:,}" for what, number in built.counts.items()))

    def _names(self, split: str) -> bool:
        """Whether the run names data for a split."""
        return bool(self.corpora.get(split) or getattr(self.data, split))

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.narrator.say(text)

    def _resume_survey(self) -> Survey | None:
        file = self.directory / _SURVEY
        if not file.exists():
            return None
        state = json.loads(file.read_bytes())
        self.notes = state["notes"]
        return Survey.from_json(state["survey"], self.objective.record)

    def _survey(self) -> Survey:
        """The first pass, where there is something to learn from it; leaves the tokenizer in the directory."""
        config = self.run.tokenizer
        split_validation = not self._names("validation")
        found = Survey()
        reads = self.objective.layout is not None
        learns = reads and config.path is None and self.given is None
        sample = TextSample(SAMPLE_PAIRS, SAMPLE_COST) if learns else None
        if sample is not None or split_validation or self.objective.named:
            report = DropReport()
            with self.narrator.counting("reading") as advance:
                stream = _counted(self._examples("train", report), advance)
                found = survey(stream, sample, split_validation=split_validation)
            if not found.pairs:
                raise _empty("train", report)
        if split_validation:
            self._note(
                f"validation: {len(found.validation):,} of {found.pairs:,} {self.objective.noun} are split off by a "
                f"hash of their {self.objective.split_by}, since the run file names no validation data"
            )
        if reads:
            tokenizer = self._train_tokenizer(sample, found) if sample is not None else self._given_tokenizer()
            tokenizer.save(self.directory)
        if self.objective.processor is not None:
            self.objective.processor.save(self.directory)
        state = {"survey": found.to_json(), "notes": self.notes}
        write_file(self.directory / _SURVEY, json.dumps(state).encode())
        return found

    def _train_tokenizer(self, sample: TextSample, found: Survey) -> Tokenizer:
        part = "all" if len(sample) == found.pairs else f"{len(sample):,}, chosen by hash, of"
        self._note(
            f"tokenizer: {self.run.tokenizer.algorithm}, trained on {part} {found.pairs:,} {self.objective.noun}"
        )
        tags = self.objective.tags(found.names)
        assert self.objective.layout is not None
        return train_tokenizer(sample.lines(found.below), self.run.tokenizer, self.objective.layout, tags)

    def _given_tokenizer(self) -> Tokenizer:
        path = self.run.tokenizer.path
        if path is not None:
            tokenizer, place = Tokenizer.load(path), f"tokenizer.path: {path}"
        else:
            assert isinstance(self.given, Tokenizer)
            tokenizer, place = self.given, f"model.from: the tokenizer of {self.run.model.from_}"
        self.objective.refuse_tokenizer(tokenizer, place)
        return tokenizer

    def _examples(self, split: str, report: DropReport) -> Iterator[Located]:
        """The usable records of a split, as the run file names them."""
        named = getattr(self.data, split)
        for located in iter(self.corpora[split]) if self.corpora else self._read(named, report):
            self.objective.refuse_record(located)
            yield located

    def _read(self, corpora: Sequence[CorpusConfig], report: DropReport) -> Iterator[Located]:
        """The records of the corpora, with their numbers."""
        for number, corpus in enumerate(corpora):
            for located in self.objective.read([corpus], report):
                yield located._replace(corpus=number)

    def _pairs(self, split: str, found: Survey, report: DropReport) -> Iterator[Located]:
        """What the shards of a split are made of: validation is split off, weights are applied."""
        if split == "validation" and found.validation:
            yield from found.validation
            return
        yield from limited(self._kept(split, found, report), self.data.limit if split == "train" else None, report)

    def _kept(self, split: str, found: Survey, report: DropReport) -> Iterator[Located]:
        for located in self._examples(split, report):
            if not located.copies:
                report.add("left out by the weight of its corpus", located.place)
            elif split != "train" or not in_validation(located.example.key, found.below):
                yield located

    def _encode(self, split: str, found: Survey, tokenizer: Tokenizer) -> tuple[dict[str, Any], dict[str, str]]:
        """Write the shards of a split; -> its entry in the manifest, and the hashes of its files."""
        report, changed = DropReport(), DropReport()
        finished: list[ShardRecord] = []
        total = found.pairs - len(found.validation) if split == "train" and found.pairs else None
        with self.narrator.counting(split, total) as advance:
            jobs = self._jobs(split, self._pairs(split, found, report), finished, advance)
            workers = self.data.workers or _default_workers()
            for record in encode_shards(jobs, self.directory, tokenizer, self.objective, workers):
                finished.append(record)
                advance(record.read)
        finished.sort(key=lambda record: record.name)
        for record in finished:
            report.merge(record.dropped)
            changed.merge(record.changed)
        columns = enumerate(self.objective.columns)
        entry = {
            "pairs": sum(record.rows for record in finished),
            **{f"{name}_tokens": sum(record.tokens[place] for record in finished) for place, name in columns},
            "corpora": [
                sum(record.corpora.get(str(number), 0) for record in finished)
                for number in range(max(1, len(getattr(self.data, split))))
            ],
            "dropped": asdict(report),
            "changed": asdict(changed),
            "shards": [record.name for record in finished if record.rows],
        }
        if not entry["pairs"]:
            raise _empty(split, report)
        self._describe(split, entry, report, changed)
        return entry, {name: digest for record in finished for name, digest in record.files.items()}

    def _jobs(
        self, split: str, pairs: Iterator[Located], finished: list[ShardRecord], advance: Advance
    ) -> Iterator[Job]:
        """The shards that are still to be written; those that an interrupted run completed go to `finished`."""
        most = min(self.pairs_per_shard, self.objective.most_rows or self.pairs_per_shard)
        for number, part in enumerate(in_parts(pairs, most, CHARACTERS_PER_SHARD)):
            name = f"{split}-{number:05d}"
            record = ShardRecord.load(self.directory, name)
            if record is not None and not any(damaged_files(self.directory, record.files)):
                finished.append(record)
                advance(record.read)
            else:
                yield Job(name, part, keep_texts=split != "train")

    def _describe(self, split: str, entry: dict[str, Any], report: DropReport, changed: DropReport) -> None:
        rows = self.objective.rows_are or self.objective.noun
        counted = [f"{entry[f'{column}_tokens']:,} {column}" for column in self.objective.counted]
        tokens = f", {' and '.join(counted)} tokens" if counted else ""
        self.narrator.say(f"{split}: {entry['pairs']:,} {rows}{tokens}")
        for lines in (report.text(), changed.text("changed")):
            if lines:
                self.narrator.say("\n".join(f"{split}: {line}" for line in lines.splitlines()))


def _described(tokenizer: Tokenizer) -> dict[str, Any]:
    """What the manifest says of the tokenizer; nothing of data without texts."""
    if tokenizer is NO_TOKENIZER:
        return {}
    return {"vocab_size": tokenizer.vocab_size, "content_hash": tokenizer.content_hash}


def _empty(split: str, report: DropReport) -> DataError:
    dropped = "; ".join(report.text().splitlines()) or "there are no lines in it"
    return DataError(f"the {split} corpus is empty: {dropped}")


def _counted(pairs: Iterator[Located], advance: Advance) -> Iterator[Located]:
    while part := list(islice(pairs, _TICK)):
        yield from part
        advance(len(part))


def _default_workers() -> int:
    """Processors that this process may use, as far as memory allows."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_WORKERS)
