"""What a run recorded of itself, in one place: for its page, its model card, and the table of the recipes."""

import json
import logging
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from regard.config import RunConfig, load_run
from regard.data.shards import SPLITS, read_manifest
from regard.features.processor_config import FILE as PROCESSOR
from regard.features.processors import Processor, read_processor
from regard.interop.described import described
from regard.interop.directory import REGARD, read_json
from regard.interop.opening import open_checkpoint
from regard.models.catalog import family
from regard.specs import ModelSpec
from regard.tasks.judging.records import EvaluationRecord, path_in, read_scores
from regard.tasks.locate import model_directory, weights_mark

log = logging.getLogger(__name__)


class RunFacts(NamedTuple):
    """seconds: of training, summed over resumes; tokens: real ones seen, of pairs those of the targets; both None where
    the log does not say. dropped: by split, how many examples of its files were left out, and why. notes: what
    preparing the data said, the builder's source and licence among it. scores: on validation, of the model written.
    evaluations: by split. mask: how the tokenizer writes a place to be filled. processor: of images or recordings."""

    run: RunConfig
    spec: ModelSpec
    parameters: int
    dtype: str | None
    step: int | None
    tokens: int | None
    seconds: float | None
    reason: str | None
    examples: dict[str, int]
    dropped: dict[str, dict[str, int]]
    notes: tuple[str, ...]
    data_hash: str | None
    versions: Mapping[str, str]
    scores: Mapping[str, Any]
    evaluations: dict[str, EvaluationRecord]
    mask: str = "[MASK]"
    processor: Processor | None = None


def facts_of(directory: Path) -> RunFacts:
    """Read a run directory. Raises CheckpointError where it has no model."""
    place = model_directory(directory)
    known = described(open_checkpoint(place))
    rules = family(known.spec.family).rules(known.spec)
    said, logged = read_json(place, REGARD), _logged(directory / "metrics.jsonl")
    manifest = read_manifest(directory / "data") or {}
    return RunFacts(
        run=load_run(directory / "run.toml"),
        spec=known.spec,
        parameters=sum(prod(rule.shape) for rule in rules),
        dtype=said.get("dtype"),
        step=said.get("step", logged.get("step")),
        tokens=said.get("tokens", logged.get("tokens")),
        seconds=logged.get("seconds"),
        reason=logged.get("reason"),
        examples={name: split["pairs"] for name, split in manifest.get("splits", {}).items()},
        dropped={
            name: counts for name, split in manifest.get("splits", {}).items() if (counts := split["dropped"]["counts"])
        },
        notes=tuple(manifest.get("notes", ())),
        data_hash=said.get("data_hash"),
        versions=said.get("versions", {}),
        scores=said.get("score") or {},
        evaluations=dict(_evaluations(directory, weights_mark(place))),
        mask=_mask(read_json(place, "tokenizer_config.json")),
        processor=read_processor(sensed) if (sensed := read_json(place, PROCESSOR)) else None,
    )


def _evaluations(directory: Path, mark: str) -> Iterator[tuple[str, EvaluationRecord]]:
    """By split, those of the weights of this mark: training may have gone on since."""
    for split in SPLITS:
        path = path_in(directory, split)
        if not path.is_file():
            continue
        record = read_scores(path)
        if record.weights in (None, mark):
            yield split, record
        else:
            log.warning("%s is of other weights than the model's: left out; evaluate again", path)


def _mask(said: Mapping[str, Any]) -> str:
    """Old files have the token as an object."""
    token = said.get("mask_token") or "[MASK]"
    return str(token["content"] if isinstance(token, Mapping) else token)


def _logged(path: Path) -> dict[str, Any]:
    """The newest word of metrics.jsonl on steps, tokens and seconds, and why the run ended."""
    found: dict[str, Any] = {}
    for line in path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # torn by a kill
        if isinstance(record, dict) and record.get("kind") in ("train", "final"):
            kept = ("step", "tokens", "seconds", "reason")
            found |= {name: record[name] for name in kept if record.get(name) is not None}
    return found
