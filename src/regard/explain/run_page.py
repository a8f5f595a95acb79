"""RUN/report.html: the page of a run, of what it recorded and of how it was evaluated."""

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from regard.config.tasks import learnt_from
from regard.data.objectives.files import opened, shown_name
from regard.errors import InputError
from regard.explain.card import network_words, use_of
from regard.explain.curves import Curves
from regard.explain.report import Cell, Item, Report, Table, write_report
from regard.explain.run_attention import attention_of
from regard.explain.run_facts import RunFacts, facts_of
from regard.explain.run_samples import NOTE as SAMPLES_NOTE
from regard.explain.run_samples import samples_of
from regard.explain.words import words_of
from regard.features.rgb import read_image
from regard.metrics.catalog import METRICS
from regard.tasks.judging.answers import threshold_note
from regard.tasks.judging.images import IMAGE
from regard.tasks.judging.judgement import ALL, Judgement
from regard.tasks.judging.records import EvaluationRecord
from regard.tasks.judging.sounds import SOUND

PAGE = "report.html"
_ITEMS = 12
_WORST = 12
_HEADLINES = 3
_THUMBNAIL = 112  # pixels a side, at most


def write_run_page(directory: Path, record: EvaluationRecord, task: Any) -> Path:
    """Write the page of an evaluated run; the loaded task shows where its model looked.

    Raises CheckpointError, DataError where the run has no model or no metrics.jsonl.
    """
    facts = facts_of(directory)
    items = unselected(record.judgements)
    page = Report(
        title=f"{directory.resolve().name}: {use_of(facts).noun.lower()}",
        summary=_summary(facts, record),
        headline=headline(facts, record),
        facts=_facts(facts),
        curves=Curves.from_metrics(directory / "metrics.jsonl"),
        scores=[_scores(record)],
        items=[_item(judgement) for judgement in items],
        worst=[_item(judgement) for judgement in worst(record.judgements)],
        attention=list(attention_of(facts.run.task, task, items)),
        items_note=f"{len(items)} of {record.count:,}, at equal distances through the {record.split} split.",
        samples=samples_of(facts.run.task, task, items),
        samples_note=SAMPLES_NOTE,
        words=words_of(facts.run),
    )
    return write_report(directory / PAGE, page)


def unselected(judgements: Sequence[Judgement], count: int = _ITEMS) -> list[Judgement]:
    """Some of them, by their places alone: at equal distances, the first among them."""
    chosen = min(count, len(judgements))
    return [judgements[place * len(judgements) // chosen] for place in range(chosen)]


def worst(judgements: Sequence[Judgement], count: int = _WORST) -> list[Judgement]:
    """Those of the lowest quality that are not right."""
    wrong = [judgement for judgement in judgements if not judgement.right]
    return sorted(wrong, key=lambda judgement: judgement.quality)[:count]


def _summary(facts: RunFacts, record: EvaluationRecord) -> str:
    data = facts.run.data.builder
    learnt = f" on {data}" if data else ""
    start = f", from {facts.run.model.from_}" if facts.run.model.from_ else ""
    return (
        f"{use_of(facts).noun}: {network_words(facts.spec)}, trained{learnt}{start}, and scored on "
        f"{record.count:,} examples of its {record.split} split."
    )


def headline(facts: RunFacts, record: EvaluationRecord) -> dict[str, Cell]:
    """The first scores over all examples, or of the largest of several groups the first score of each; and the time."""
    groups = {group["name"]: group["scores"] for group in record.groups}
    if ALL in groups:
        shown = [(name, ALL) for name in list(groups[ALL])[:_HEADLINES]]
    else:
        largest = sorted(record.groups, key=lambda group: -group["examples"])[:_HEADLINES]
        shown = [(next(iter(group["scores"])), group["name"]) for group in largest]
    found: dict[str, Cell] = {}
    for metric, group in shown:
        title = METRICS[metric].title + ("" if group == ALL else f", {group}")
        found[title] = METRICS[metric].text(groups[group][metric]["value"])
    if facts.seconds is not None:
        found["minutes of training"] = facts.seconds / 60
    return found


def _facts(facts: RunFacts) -> dict[str, dict[str, Cell]]:
    run: dict[str, Cell] = {"steps": facts.step, learnt_from(facts.run.task): facts.tokens, "seed": facts.run.seed}
    if facts.reason:
        run["ended"] = facts.reason
    model: dict[str, Cell] = {"network": network_words(facts.spec), "parameters": facts.parameters}
    if facts.spec.embedding is not None:
        model["vocabulary"] = facts.spec.text.vocab_size
    if facts.dtype:
        model["products in"] = facts.dtype
    return {"Model": model, "Data": dict(facts.examples), "Run": run}


def _scores(record: EvaluationRecord) -> Table:
    several = len(record.groups) > 1
    rows: list[list[Cell]] = []
    for group in record.groups:
        for name, scored in group["scores"].items():
            texts = METRICS[name].text(scored["value"]), METRICS[name].interval_text(scored["interval"])
            rows.append([*([group["name"]] if several else []), METRICS[name].title, *texts, scored["examples"]])
    columns = [*(["group"] if several else []), "metric", "score", "95 %", "examples"]
    notes = [f"{name}: {signature}" for name, signature in record.signatures.items()]
    if (threshold := threshold_note(record.settings)) is not None:
        notes.insert(0, threshold)
    notes.insert(0, f"Intervals are of {record.resamples:,} bootstrap samples of the examples.")
    return Table(f"The {record.split} split", columns, rows, " · ".join(notes))


def _item(judgement: Judgement) -> Item:
    first, *others = judgement.inputs.values()
    image = judgement.inputs.get(IMAGE)
    return Item(
        source=shown_name(first) if judgement.inputs.keys() & {IMAGE, SOUND} else first,
        context="\n".join(others),
        reference=judgement.reference,
        output=judgement.output,
        right=judgement.right,
        source_lang=judgement.languages[0],
        target_lang=judgement.languages[1],
        remark=judgement.remark,
        picture="" if image is None else thumbnail(image),
    )


def thumbnail(image: str) -> str:
    """An image that an example names, as a small PNG within a data: URI; "" where it is no longer there."""
    try:
        small = read_image(opened(image))
    except InputError:
        return ""
    content = BytesIO()
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    small.save(content, "PNG", optimize=True)
    return "data:image/png;base64," + b64encode(content.getvalue()).decode("ascii")
