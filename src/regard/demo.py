"""`regard demo`: a whole run in minutes, from raw text to a scored translator and a page that shows its attention."""

import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from regard.commands.engine import import_tensorflow
from regard.commands.evaluate import evaluate_with_progress, held_out
from regard.commands.lines import load_task
from regard.commands.score_tables import direction, print_scores
from regard.commands.text import program, warn_of_unfinished
from regard.commands.translate import one_line
from regard.config import RunConfig, load_run, to_toml
from regard.data.shards import PreparedData, write_file
from regard.errors import ConfigError
from regard.explain.attention import AttentionExample, cross_attention
from regard.explain.curves import Curves
from regard.explain.report import Item, Report, Table, write_report
from regard.interop.directory import REGARD, read_json
from regard.metrics.translation import sentence_chrf
from regard.tasks.evaluate import DirectionScore
from regard.tasks.translate import Translator

RUN_FILE = Path(__file__).with_name("demo.toml")
RESULTS = "demo.json"
_PER_DIRECTION = 2
_SHOWN_ERRORS = 12
_SHOWN_ATTENTION = 3

Results = dict[str, Any]  # what demo.json holds: plain values, so that a later start prints the same


def run_demo(directory: Path, overrides: Sequence[str] = (), seed: int | None = None) -> None:
    """Prepare, train, evaluate, print and write the page; a finished demo is printed again at once."""
    run = load_run(RUN_FILE, [*overrides, *([] if seed is None else [f"seed={seed}"])])
    results = _finished(directory, run, asked=bool(overrides) or seed is not None)
    if results is None:
        results = _make(directory, run, _command(directory, overrides, seed))
    else:
        print(f"regard: {directory} is finished; to start over, remove it or give another --output", file=sys.stderr)
    _print(results, directory)


def _finished(directory: Path, run: RunConfig, asked: bool) -> Results | None:
    path = directory / RESULTS
    if not path.is_file():
        return None
    results: Results = json.loads(path.read_text("utf-8"))
    if asked and results["run"] != to_toml(run):
        raise ConfigError(f"{directory} holds a finished demo of another run: remove it, or give another --output")
    return results


def _command(directory: Path, overrides: Sequence[str], seed: int | None) -> str:
    """What goes on with this very demo."""
    chosen = [part for override in overrides for part in ("--set", override)]
    seeded = [] if seed is None else ["--seed", str(seed)]
    return shlex.join([program(), "demo", "-o", str(directory), *seeded, *chosen])


def _make(directory: Path, run: RunConfig, command: str) -> Results:
    import_tensorflow()
    from regard.training.trainer import train

    trained = train(run, directory, command=command)
    translator = load_task(str(trained.model), "translate")
    data = PreparedData.open(directory / "data")
    scores = evaluate_with_progress(translator, held_out(data, "test"))
    warn_of_unfinished(sum(entry.unfinished for entry in scores), sum(len(entry.sources) for entry in scores))
    errors = _errors(scores)
    results: Results = {
        "run": to_toml(run),
        "steps": trained.step,
        "seconds": trained.seconds,
        "scores": [entry.record() for entry in scores],
        "translations": _first_of_each(scores),
        "error_kinds": dict(Counter(error["kind"] for error in errors).most_common()),
        "errors": errors[:_SHOWN_ERRORS],
    }
    _record_scores(trained.model, results["scores"])
    _write_page(directory, run, data, results, translator)
    write_file(directory / RESULTS, json.dumps(results, ensure_ascii=False, indent=1).encode())
    return results


def _first_of_each(scores: Iterable[DirectionScore]) -> list[dict[str, Any]]:
    """The first test examples of each direction: chosen before anybody saw what becomes of them."""
    return [_translation(entry, place) for entry in scores for place in range(min(_PER_DIRECTION, len(entry.sources)))]


def _errors(scores: Iterable[DirectionScore]) -> list[dict[str, Any]]:
    """Every output that is not its reference, lowest chrF first."""
    wrong = [
        _translation(entry, place)
        for entry in scores
        for place, (output, reference) in enumerate(zip(entry.hypotheses, entry.references, strict=True))
        if output.strip() != reference.strip()
    ]
    return sorted(wrong, key=lambda error: (error["chrf"], error["source"], error["target_lang"]))


def _translation(entry: DirectionScore, place: int) -> dict[str, Any]:
    output, reference = entry.hypotheses[place].strip(), entry.references[place].strip()
    return {
        "source_lang": entry.source_lang,
        "target_lang": entry.target_lang,
        "source": entry.sources[place],
        "reference": reference,
        "output": output,
        "right": output == reference,
        "chrf": sentence_chrf(output, reference),
        "kind": _kind_of_error(output, reference),
    }


def _kind_of_error(output: str, reference: str) -> str:
    """What differs: a figure, the words, or only what stands between them."""
    if output == reference:
        return "none"
    if re.findall(r"\d", output) != re.findall(r"\d", reference):
        return "other digits"
    return "other words" if re.findall(r"\w+", output) != re.findall(r"\w+", reference) else "other punctuation"


def _record_scores(model: Path, scores: Sequence[Mapping[str, Any]]) -> None:
    """The test's scores into the model's own regard.json, where `regard inspect` finds them."""
    record = read_json(model, REGARD)
    record["scores"] = {
        **(record.get("scores") or {}),
        "test": {
            direction(entry): {name: round(entry[name], 2) for name in ("exact_match", "bleu", "chrf")}
            for entry in scores
        },
    }
    write_file(model / REGARD, (json.dumps(record, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode())


def _print(results: Results, directory: Path) -> None:
    print_scores(results["scores"])
    print("\nTwelve translations, the first of each direction in the test data:")
    for entry in results["translations"]:
        _print_translation(entry)
    counted = ", ".join(f"{count} with {kind}" for kind, count in results["error_kinds"].items())
    print(f"\nErrors on the test data: {counted or 'none'}." + (" The worst by chrF:" if counted else ""))
    for entry in results["errors"]:
        _print_translation(entry)
    print(f"\nModel: {directory / 'model'}")
    print(f"Page with curves and attention: {directory / 'report.html'}")
    command = shlex.join([program(), "translate", str(directory)])
    print(f'Try it: {command} "July 3, 2021" --target-lang de')


def _print_translation(entry: Mapping[str, Any]) -> None:
    wanted = "" if entry["right"] else f"   (right: {entry['reference']})"
    print(f"  {direction(entry)}   {one_line(entry['source'])}  =>  {one_line(entry['output'])}{one_line(wanted)}")


def _write_page(directory: Path, run: RunConfig, data: PreparedData, results: Results, translator: Translator) -> None:
    exact = [entry["exact_match"] for entry in results["scores"]]
    spec = translator.engine.spec
    assert spec.encoder is not None
    page = Report(
        title="Regard's demo: a Transformer learns to translate",
        summary=(
            "One small Transformer translates dates, times, durations, numbers, money, quantities and names between "
            "English, German and Chinese, in all six directions. The test values occur nowhere in its training data."
        ),
        headline={
            "exact match, mean of six directions, %": sum(exact) / len(exact),
            "exact match, worst direction, %": min(exact),
            "minutes of training": results["seconds"] / 60,
        },
        facts={
            "Model": {
                "width": spec.text.width,
                "heads": spec.encoder.layer.heads,
                "vocabulary": spec.text.vocab_size,
            },
            "Data": {split: len(data.split(split)) for split in ("train", "validation", "test")},
            "Run": {"steps": results["steps"], "seconds": results["seconds"], "seed": run.seed},
        },
        curves=Curves.from_metrics(directory / "metrics.jsonl"),
        scores=[_score_table(results["scores"])],
        items=[_item(entry) for entry in results["translations"]],
        worst=[_item(entry) for entry in results["errors"]],
        attention=_attention(translator, results["translations"]),
        items_note="The first two test examples of each direction.",
    )
    write_report(directory / "report.html", page)


def _score_table(records: Iterable[Mapping[str, Any]]) -> Table:
    rows = [(direction(entry), entry["count"], entry["exact_match"], entry["bleu"], entry["chrf"]) for entry in records]
    return Table("Held-out test values", ("direction", "examples", "exact match, %", "BLEU", "chrF"), rows)


def _item(entry: Mapping[str, Any]) -> Item:
    return Item(
        source=entry["source"],
        reference=entry["reference"],
        output=entry["output"],
        right=entry["right"],
        source_lang=entry["source_lang"],
        target_lang=entry["target_lang"],
        remark="" if entry["right"] else f"{entry['kind']}, chrF {entry['chrf']:.0f}",
    )


def _attention(translator: Translator, entries: Sequence[Mapping[str, Any]]) -> list[AttentionExample]:
    """Three of the translations, of different directions, and where the decoder looked while it wrote them."""
    chosen = entries[:: max(len(entries) // _SHOWN_ATTENTION, 1)][:_SHOWN_ATTENTION]
    return [_attention_of(translator, entry["source"], entry["target_lang"]) for entry in chosen]


def _attention_of(translator: Translator, source: str, target_lang: str) -> AttentionExample:
    written = translator(source, target_lang=target_lang).token_ids
    return cross_attention(translator.engine, translator.tokenizer, translator.source_ids(source, target_lang), written)
