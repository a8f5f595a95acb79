"""An evaluation on disk: the scores as JSON, and every example's judgement beside them, a line each."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from regard import __version__
from regard.data.shards import write_file
from regard.errors import DataError, InputError
from regard.metrics.resampling import RESAMPLES, SEED
from regard.tasks.judging.judgement import Judgement
from regard.tasks.judging.scoring import GroupScores

FORMAT = 1


@dataclass(frozen=True)
class EvaluationRecord:
    """What an evaluation says of itself. data: the content hash of the prepared data, None for other examples;
    examples: SHA-256 of what went in and what should come out; tokenizer: the content hash of the model's; weights:
    what tells the model's from others (`tasks.locate.weights_mark`), which earlier records do not say."""

    task: str
    split: str
    model: str
    examples: str
    data: str | None
    tokenizer: str | None
    settings: dict[str, Any]
    groups: list[dict[str, Any]]  # of GroupScores.record
    signatures: dict[str, str]
    pooled: bool
    seconds: float
    resamples: int = RESAMPLES
    seed: int = SEED
    weights: str | None = None
    regard: str = __version__
    format: int = FORMAT
    judgements: list[Judgement] = field(default_factory=list, repr=False)

    @property
    def count(self) -> int:
        return len(self.judgements)


def records_of(groups: Sequence[GroupScores]) -> list[dict[str, Any]]:
    return [group.record() for group in groups]


def hash_of(judgements: Sequence[Judgement]) -> str:
    """Equal for equal test sets, in equal order."""
    digest = hashlib.sha256()
    for judgement in judgements:
        content = [dict(judgement.inputs), judgement.reference, judgement.group]
        digest.update(json.dumps(content, ensure_ascii=True).encode() + b"\n")
    return digest.hexdigest()


def path_in(run: Path, split: str) -> Path:
    """Where a run keeps the evaluation of a split."""
    return run / f"evaluation-{split}.json"


def write_record(path: Path, record: EvaluationRecord) -> None:
    """The judgements first, so that whoever finds the scores finds them, too. Raises DataError where that fails."""
    lines = (json.dumps(judgement._asdict(), ensure_ascii=False) + "\n" for judgement in record.judgements)
    write_file(path.with_suffix(".jsonl"), "".join(lines).encode("utf-8", "surrogatepass"))
    values = {name: value for name, value in vars(record).items() if name != "judgements"}
    write_file(path, (json.dumps(values, ensure_ascii=False, indent=1) + "\n").encode("utf-8", "surrogatepass"))


def read_record(path: Path) -> EvaluationRecord:
    """With its judgements. Raises InputError where there is none, DataError where it is damaged or of another kind."""
    record = read_scores(path)
    lines = path.with_suffix(".jsonl")
    try:
        judgements = [_judgement(json.loads(line)) for line in lines.read_text("utf-8").split("\n") if line]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{lines} is damaged ({error}): evaluate again") from error
    if hash_of(judgements) != record.examples:
        raise DataError(f"{lines} does not belong to {path.name}: evaluate again")
    return replace(record, judgements=judgements)


def read_scores(path: Path) -> EvaluationRecord:
    """As `read_record`, but without the judgements."""
    if not path.is_file():
        raise InputError(f"there is no evaluation {path}: `regard evaluate` writes it")
    try:
        values = json.loads(path.read_text("utf-8"))
        if values["format"] != FORMAT:
            raise DataError(f"{path} is of format {values['format']}, not {FORMAT}: evaluate again")
        for group in values["groups"]:
            for scored in group["scores"].values():  # earlier records have no count of a metric's own
                scored.setdefault("examples", group["examples"])
        return EvaluationRecord(**values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is damaged ({error}): evaluate again") from error


def _judgement(values: dict[str, Any]) -> Judgement:
    return Judgement(**{**values, "languages": tuple(values["languages"])})
