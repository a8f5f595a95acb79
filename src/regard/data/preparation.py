"""The two passes of `prepare`: the first trains the tokenizer and splits validation off, the second writes shards."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from regard import __version__
from regard.config import CorpusConfig, DataConfig, RunConfig
from regard.data.built import NOTHING_BUILT, Built, built_by
from regard.data.earlier import COMPANIONS, SURVEY, UNFINISHED, clear_cut_short
from regard.data.encode import Job, ShardRecord, encode_shards, in_parts
from regard.data.given import Given
from regard.data.objectives.catalog import objective_of
from regard.data.objectives.objective import Objective
from regard.data.processes import available_cores
from regard.data.progress import Advance, Narrator
from regard.data.sampling import SAMPLE_COST, SAMPLE_PAIRS, Survey, TextSample, in_validation, limited, survey
from regard.data.shards import FORMAT, MANIFEST, NO_TOKENIZER, SPLITS, damaged_files, write_file
from regard.data.sources import DropReport, Located, hash_files
from regard.errors import DataError
from regard.features.tokenizer import Tokenizer
from regard.features.tokenizer_layouts import train_tokenizer

CHARACTERS_PER_SHARD = 8_000_000  # long texts make a shard of fewer pairs
MAX_WORKERS = 8  # unless data.workers says more: each takes 0.1 to 0.2 GB

_TICK = 4096  # pairs between two looks at the progress bar


class Share(NamedTuple):
    """The shards whose number, divided by `workers`, leaves `worker`."""

    worker: int
    workers: int


_ALL = Share(0, 1)


@dataclass
class Preparation:
    """One preparation that has work to do: two passes over the corpora, into one directory."""

    run: RunConfig
    data: DataConfig
    given: Given | None
    directory: Path
    narrator: Narrator
    pairs_per_shard: int
    objective: Objective = field(init=False)
    built: Built = NOTHING_BUILT
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.objective = objective_of(self.run)
        if self.given is not None:
            self.objective = self.objective.with_given(self.given)

    def build(self, origin: dict[str, Any], workers: int) -> dict[str, Any]:
        """Make everything; the manifest, written last, is returned."""
        self._run_builder()
        found = self._resume_survey() or self._survey()
        tokenizer = self._take_up(found)
        if workers > 1:  # what the others write meanwhile, the second time finds
            self._write(found, tokenizer, Share(0, workers))
        splits: dict[str, Any] = {}
        saved = [name for name in COMPANIONS if (self.directory / name).is_file()]
        files = dict(zip(saved, hash_files(str(self.directory / name) for name in saved), strict=True))
        for split in self._splits(found):
            splits[split], written = self._encode(split, found, tokenizer)
            files |= written
        manifest = {
            "format": FORMAT,
            "regard": __version__,
            "made_of": origin,
            "notes": self.notes,
            "parts": self.built.parts,
            "names": found.names,
            "tokenizer": _described(tokenizer),
            "splits": splits,
            "files": files,
        }
        write_file(self.directory / MANIFEST, (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())
        self._clear_records()
        (self.directory / UNFINISHED).unlink()
        (self.directory / SURVEY).unlink()
        clear_cut_short(self.directory)
        return manifest

    def write_share(self, share: Share) -> int:
        """Write the shards of one share, which worker 0 completes; -> how many."""
        self._run_builder()
        found = self._resume_survey()
        if found is None:  # worker 0 has completed all
            return 0
        try:
            written = self._write(found, self._take_up(found), share)
        except DataError:
            if not (self.directory / MANIFEST).exists():
                raise
            written = []  # worker 0 has cleared what was half written here
        if (self.directory / MANIFEST).exists():
            self._clear_records()
        return len(written)

    def _clear_records(self) -> None:
        """Remove the records of shards, which the manifest has now. Worker 0 and a late one may do so at once."""
        for split in SPLITS:
            for record in self.directory.glob(f"{split}-[0-9][0-9][0-9][0-9][0-9]*.json"):
                record.unlink(missing_ok=True)

    def _run_builder(self) -> None:
        if self.data.builder is not None:
            self.built = built_by(self.data.builder, self.run.task, self.objective, self.narrator.say)
            for note in self.built.notes:
                self._note(note)

    def _take_up(self, found: Survey) -> Tokenizer:
        """Go on from the first pass; -> the tokenizer that it left."""
        self.objective = self.objective.with_names(found.names)
        return NO_TOKENIZER if self.objective.layout is None else Tokenizer.load(self.directory)

    def _splits(self, found: Survey) -> list[str]:
        return [
            split
            for split in SPLITS
            if split == "train" or self._names(split) or (split == "validation" and found.validation)
        ]

    def _write(self, found: Survey, tokenizer: Tokenizer, share: Share) -> list[ShardRecord]:
        reads = [self._records(split, found, tokenizer, DropReport(), share) for split in self._splits(found)]
        return [record for records in reads for record in records]

    def _names(self, split: str) -> bool:
        """Whether the run names data for a split."""
        return bool(self.built.splits.get(split) or getattr(self.data, split))

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.narrator.say(text)

    def _resume_survey(self) -> Survey | None:
        try:
            state = json.loads((self.directory / SURVEY).read_bytes())
        except FileNotFoundError:
            return None
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
                stream = _counted(self._weighed("train", report), advance)
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
            self.objective.equipped(tokenizer).save(self.directory)
        if self.objective.processor is not None:
            self.objective.processor.save(self.directory)
        state = {"survey": found.to_json(), "notes": self.notes}
        write_file(self.directory / SURVEY, json.dumps(state).encode())
        return found

    def _train_tokenizer(self, sample: TextSample, found: Survey) -> Tokenizer:
        part = "all" if len(sample) == found.pairs else f"{len(sample):,}, chosen by hash, of"
        read = f"the texts of {part} {found.pairs:,} {self.objective.noun}"
        self._note(f"tokenizer: {self.run.tokenizer.algorithm}, trained on {read}")
        tags = self.objective.tags(found.names)
        assert self.objective.layout is not None
        return train_tokenizer(sample.lines(found.below), self.run.tokenizer, self.objective.layout, tags)

    def _given_tokenizer(self) -> Tokenizer:
        path = self.run.tokenizer.path
        if path is not None:
            tokenizer, place = Tokenizer.load(path), f"tokenizer.path: {path}"
        else:
            assert self.given is not None
            assert self.given.tokenizer is not None
            tokenizer, place = self.given.tokenizer, f"model.from: the tokenizer of {self.run.model.from_}"
        self.objective.refuse_tokenizer(tokenizer, place)
        return tokenizer

    def _examples(self, split: str, report: DropReport) -> Iterator[Located]:
        """The usable records of a split, as the run file names them."""
        named = getattr(self.data, split)
        for located in iter(self.built.splits[split]) if self.built.splits else self._read(named, report):
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
        for located in self._weighed(split, report):
            if split != "train" or not in_validation(located.example.key, found.below):
                yield located

    def _weighed(self, split: str, report: DropReport) -> Iterator[Located]:
        for located in self._examples(split, report):
            if located.copies:
                yield located
            else:
                report.add("left out by the weight of its corpus", located.place)

    def _encode(self, split: str, found: Survey, tokenizer: Tokenizer) -> tuple[dict[str, Any], dict[str, str]]:
        """Write the shards of a split; -> its entry in the manifest, and the hashes of its files."""
        report, changed = DropReport(), DropReport()
        finished = self._records(split, found, tokenizer, report)
        for record in finished:
            report.merge(record.dropped)
            changed.merge(record.changed)
        columns = enumerate(self.objective.columns)
        corpora = self.built.parts if split == "train" and self.built.parts else getattr(self.data, split)
        entry = {
            "pairs": sum(record.rows for record in finished),
            **{f"{name}_tokens": sum(record.tokens[place] for record in finished) for place, name in columns},
            "corpora": [
                sum(record.corpora.get(str(number), 0) for record in finished) for number in range(max(1, len(corpora)))
            ],
            "dropped": asdict(report),
            "changed": asdict(changed),
            "shards": [record.name for record in finished if record.rows],
        }
        if not entry["pairs"]:
            raise _empty(split, report)
        self._describe(split, entry, report, changed)
        return entry, {name: digest for record in finished for name, digest in record.files.items()}

    def _records(
        self, split: str, found: Survey, tokenizer: Tokenizer, report: DropReport, share: Share = _ALL
    ) -> list[ShardRecord]:
        """Of a share of the shards, which are written where they are not there yet. `report` is of the rest."""
        finished: list[ShardRecord] = []
        total = found.pairs - len(found.validation) if split == "train" and found.pairs else None
        what = split if share == _ALL else f"{split}, share {share.worker + 1} of {share.workers}"
        with self.narrator.counting(what, total) as advance:
            jobs = self._jobs(split, self._pairs(split, found, report), finished, advance, share)
            workers = self.data.workers or _default_workers()
            for record in encode_shards(jobs, self.directory, tokenizer, self.objective, workers):
                finished.append(record)
                advance(record.read)
        return sorted(finished, key=lambda record: record.name)

    def _jobs(
        self, split: str, pairs: Iterator[Located], finished: list[ShardRecord], advance: Advance, share: Share
    ) -> Iterator[Job]:
        """The shards that are still to be written; those that are complete go to `finished`."""
        most = min(self.pairs_per_shard, self.objective.most_rows or self.pairs_per_shard)
        for number, part in enumerate(in_parts(pairs, most, CHARACTERS_PER_SHARD)):
            name = f"{split}-{number:05d}"
            if number % share.workers != share.worker:
                advance(len(part))
                continue
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
    return min(available_cores(), MAX_WORKERS)
